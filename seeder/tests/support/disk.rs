//! A disk that can be filled: a small file system of its own where the test may mount one, else a reserve.

use super::Device;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the ballast on a shared disk takes; half of it is what the reserve lacks, so that other tests do not matter.
const SHARED_BALLAST: u64 = 1 << 30;
/// The reserve on a disk of its own.
const RESERVE: &str = "256KiB";

/// The disk under a device's `data_dir`, with something on it that may be removed.
pub struct Disk {
    dir: PathBuf,
    is_own: bool,
}

impl Disk {
    /// A disk of `bytes` for a device that does not run yet; not mounted (and then only [`Self::leave`] tells the
    /// device that there is no room) where that is not allowed.
    pub fn under(device: &Device, bytes: u64) -> Self {
        let dir = device.dir.join("data");
        let key = std::fs::read(dir.join("identity.key")).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "tmpfs"]).arg(&dir);
        let is_own = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if is_own {
            let mut options = File::options();
            let mut file =
                options.create(true).write(true).mode(0o600).open(dir.join("identity.key")).unwrap();
            file.write_all(&key).unwrap();
            device.configure("[log]", &format!("[store]\nreserve_free = \"{RESERVE}\"\n[log]"));
        }
        Self { dir, is_own }
    }

    /// Whether it can really be full.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Fills it but for `free` bytes, before the device starts.
    pub fn leave(&self, device: &Device, free: u64) {
        if self.is_own {
            return self.grow(self.available().saturating_sub(free));
        }
        self.grow(SHARED_BALLAST);
        let reserve = self.available() + SHARED_BALLAST / 2;
        device.configure("[log]", &format!("[store]\nreserve_free = \"{reserve}B\"\n[log]"));
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        for chunk in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; chunk]).is_ok() {}
        }
    }

    /// Removes the ballast.
    pub fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    fn grow(&self, bytes: u64) {
        let file = File::create(self.ballast()).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
    }

    fn available(&self) -> u64 {
        available(&self.dir)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_own {
            // Lazily: the device may still be running.
            let unmounted = Command::new("umount").arg("-l").arg(&self.dir).status();
            assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()));
        }
    }
}

fn available(dir: &Path) -> u64 {
    let disk = rustix::fs::statvfs(dir).unwrap();
    disk.f_bavail * disk.f_frsize
}

//! A device on a file system of its own, in a file: what is copied of the file when the daemon has ended is what a power
//! cut leaves, for only what the file system wrote to its disk by then is in it.
//!
//! Nothing is synced before the copy; the copy's own mount replays the journal, as after a real cut.

use super::support::ok;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Room for a device and what it writes.
const BYTES: u64 = 96 << 20;

/// A file system in a file, mounted.
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Mounts an image at a new directory beside it.
    pub fn new(image: &Path) -> Result<Self, String> {
        let at = image.with_extension("mounted");
        fs::create_dir_all(&at).unwrap();
        run(tool("mount").args(["-t", "ext4", "-o", "loop"]).args([image, &at]))?;
        Ok(Self { at })
    }

    /// The device in it.
    pub fn device(&self) -> PathBuf {
        self.at.join("device")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A program that has just ended may keep it busy for a moment: it goes when that is over.
        let _ = run(tool("umount").arg("--lazy").arg(&self.at));
    }
}

/// An image that holds a device. `Err`: this machine does not let one be made or mounted.
pub fn make(image: &Path, device: &Path) -> Result<(), String> {
    File::create(image).unwrap().set_len(BYTES).unwrap();
    run(tool("mkfs.ext4").args(["-q", "-F"]).arg(image))?;
    let mounted = Mounted::new(image)?;
    super::story::copy(device, &mounted.device());
    ok(&mut tool("sync"));
    run(tool("umount").arg(&mounted.at))
}

/// Copies an image as it is at this moment.
pub fn copy(from: &Path, to: &Path) {
    ok(Command::new("cp").arg("--sparse=always").args([from, to]));
}

/// A tool of the system; some are only on the path of root's shells.
fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("env");
    command.arg(format!("PATH={path}:/usr/sbin:/sbin")).arg(name);
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let Output { status, stderr, .. } = command.output().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&stderr).trim()))
}

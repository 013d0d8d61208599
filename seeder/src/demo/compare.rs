//! Byte-for-byte comparison of what was published with what each device has installed.

use super::process::Device;
use super::{installed_at, storage};
use crate::failure::{Failure, Kind};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Compares the artifact with every device's copy; the number of files of the artifact.
pub(super) fn all(artifact: &Path, devices: &[Device]) -> Result<usize, Failure> {
    let files = files_of(artifact)?;
    for device in devices {
        for file in &files {
            let join =
                |base: &Path| if file.as_os_str().is_empty() { base.to_owned() } else { base.join(file) };
            let (original, copy) = (join(artifact), join(&installed_at(device)));
            if !is_same(&original, &copy).map_err(storage)? {
                return Err(device.failure(&format!("{} differs from what was published", copy.display())));
            }
        }
    }
    Ok(files.len())
}

/// How many files the artifact has.
pub(super) fn count(artifact: &Path) -> Result<usize, Failure> {
    Ok(files_of(artifact)?.len())
}

fn files_of(artifact: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in WalkDir::new(artifact) {
        let entry = entry.map_err(|e| Failure::new(Kind::Storage, e))?;
        if entry.file_type().is_file() {
            files.push(entry.path().strip_prefix(artifact).unwrap_or(Path::new("")).to_owned());
        }
    }
    Ok(files)
}

fn is_same(a: &Path, b: &Path) -> std::io::Result<bool> {
    let (mut a, mut b) = (std::fs::File::open(a)?, std::fs::File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut buffer_a, mut buffer_b) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let n = a.read(&mut buffer_a)?;
        if n == 0 {
            return Ok(true);
        }
        b.read_exact(&mut buffer_b[..n])?;
        if buffer_a[..n] != buffer_b[..n] {
            return Ok(false);
        }
    }
}

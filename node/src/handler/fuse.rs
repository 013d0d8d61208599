//! The points of an install at which power may fail: before each change of the disk. A test lets it fail at the n-th, or
//! has all changes recorded to see what a disk may have kept of them.

/// Something is about to change that has no name beside the destination.
pub(super) fn point() -> std::io::Result<()> {
    change("other", ["", ""])
}

/// In the daemon nothing happens here.
#[cfg(not(test))]
pub(super) fn change(_verb: &'static str, _names: [&str; 2]) -> std::io::Result<()> {
    Ok(())
}

/// What has this name in a directory is durable, with all that is in it.
#[cfg(not(test))]
pub(super) fn synced(_dir: Option<&std::path::Path>, _name: &str) {}

#[cfg(test)]
pub(super) use blown::{Change, change, on, points_passed, record, recorded, synced};

#[cfg(test)]
mod blown {
    use std::cell::{Cell, RefCell};
    use std::path::{Path, PathBuf};

    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
        static PASSED: Cell<u32> = const { Cell::new(0) };
        static RECORD: RefCell<Option<(PathBuf, Vec<Change>)>> = const { RefCell::new(None) };
    }

    /// What was done to the destination's directory.
    #[derive(Debug, Clone)]
    pub struct Change {
        /// A method of `Place`, or `synced`.
        pub verb: &'static str,
        /// What it was about.
        pub names: [String; 2],
        /// Of `synced`: a copy of what was made durable.
        pub copy: Option<PathBuf>,
    }

    /// Power is on, and fails after so many points.
    pub fn on(points: u32) {
        LEFT.set(points);
        PASSED.set(0);
    }

    /// Points passed since power came on.
    pub fn points_passed() -> u32 {
        PASSED.get()
    }

    /// Fails for good once power has failed: what would be tidied up after an error is not.
    pub fn change(verb: &'static str, names: [&str; 2]) -> std::io::Result<()> {
        let left = LEFT.get().checked_sub(1).ok_or_else(|| std::io::Error::other("power failed"))?;
        LEFT.set(left);
        PASSED.set(PASSED.get() + 1);
        RECORD.with_borrow_mut(|record| {
            if let Some((_, changes)) = record {
                changes.push(Change { verb, names: names.map(str::to_owned), copy: None });
            }
        });
        Ok(())
    }

    /// Changes are recorded from now on; copies are made in this directory.
    pub fn record(copies: &Path) {
        RECORD.set(Some((copies.to_owned(), Vec::new())));
    }

    /// All that was recorded.
    pub fn recorded() -> Vec<Change> {
        RECORD.take().map(|(_, changes)| changes).unwrap_or_default()
    }

    /// Copies what was made durable, if changes are recorded.
    pub fn synced(dir: Option<&Path>, name: &str) {
        RECORD.with_borrow_mut(|record| {
            if let (Some((copies, changes)), Some(dir)) = (record, dir) {
                let copy = copies.join(changes.len().to_string());
                let copied =
                    std::process::Command::new("cp").arg("-a").arg(dir.join(name)).arg(&copy).status();
                assert!(copied.unwrap().success());
                changes.push(Change {
                    verb: "synced",
                    names: [name.into(), String::new()],
                    copy: Some(copy),
                });
            }
        });
    }
}

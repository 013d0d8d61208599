//! The points of an install at which power may fail: before each change of the disk.

/// In the daemon nothing happens here; a test lets the power fail at its n-th point.
#[cfg(not(test))]
pub(super) fn point() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use blown::{on, point, points_passed};

#[cfg(test)]
mod blown {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
        static PASSED: Cell<u32> = const { Cell::new(0) };
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
    pub fn point() -> std::io::Result<()> {
        let left = LEFT.get().checked_sub(1).ok_or_else(|| std::io::Error::other("power failed"))?;
        LEFT.set(left);
        PASSED.set(PASSED.get() + 1);
        Ok(())
    }
}

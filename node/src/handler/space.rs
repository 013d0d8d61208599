//! Room on the disk that files take.

/// What file systems commonly give out at a time.
const UNIT: u64 = 4096;

/// What a file of so many bytes takes; the name of an empty one costs something, too.
pub(super) fn of_file(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(UNIT).saturating_mul(UNIT)
}

//! How much of the artifact a device holds, by the blocks that the files of its store take.
//!
//! That is what the simulator counts too: every verified range, at any moment, also of a device that has just come or has
//! died, and while there is no seeder that could tell. It costs the device nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// In which `st_blocks` counts, whatever the file system.
const BLOCK_BYTES: u64 = 512;

/// Bytes of content below a device's `data_dir`, at most `all`: a block may be larger than what is in it, and a tree has
/// a list of its files beside them.
pub(super) fn held_bytes(data_dir: &Path, all: u64) -> u64 {
    // What is not there yet holds nothing.
    let contents = entries(&data_dir.join("store"));
    let files = contents.flat_map(|content| entries(&content.join("data")));
    let held = files.filter(|file| file.extension().is_some_and(|ending| ending == "data"));
    let blocks = held.filter_map(|file| Some(fs::metadata(file).ok()?.blocks()));
    all.min(blocks.sum::<u64>() * BLOCK_BYTES)
}

fn entries(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn only_what_was_written_of_a_content_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(held_bytes(dir.path(), 1 << 20), 0);
        let data = dir.path().join("store/ab/data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("ab.obao4"), vec![1; 65_536]).unwrap();
        let content = fs::File::create(data.join("ab.data")).unwrap();
        content.write_all_at(&[1; 65_536], 0).unwrap();
        content.write_all_at(&[1; 65_536], 512 << 10).unwrap();
        content.sync_all().unwrap();
        assert_eq!(held_bytes(dir.path(), 1 << 20), 131_072);
        assert_eq!(held_bytes(dir.path(), 100_000), 100_000);
    }
}

//! The artifact of a run: random bytes that are the same in every run of the same plan.

use crate::plan::{Artifact, ArtifactKind};
use anyhow::Context;
use samara_protocol::rng::Prng;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Files of a tree are in directories of this many.
const FILES_A_DIRECTORY: usize = 100;

/// Writes the artifact below `dir` and returns its path.
pub fn create(artifact: &Artifact, dir: &Path) -> anyhow::Result<PathBuf> {
    let mut rng = Prng::new(artifact.bytes.0 ^ artifact.files as u64);
    let root = dir.join("artifact");
    match artifact.kind {
        ArtifactKind::File => write(&root, artifact.bytes.0, &mut rng)?,
        ArtifactKind::Tree => {
            for (index, size) in sizes(artifact.bytes.0, artifact.files, &mut rng).into_iter().enumerate() {
                let folder = root.join(format!("folder-{:03}", index / FILES_A_DIRECTORY));
                fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
                write(&folder.join(format!("file-{index:05}")), size, &mut rng)?;
            }
        }
    }
    Ok(root)
}

/// Sizes between half and one and a half of the mean, all at least 1, that add up to `total`.
fn sizes(total: u64, files: usize, rng: &mut Prng) -> Vec<u64> {
    let mean = total / files as u64;
    let mut left = total;
    let mut sizes = Vec::with_capacity(files);
    for after in (0..files as u64).rev() {
        let wanted =
            mean / 2 + rng.below(usize::try_from(mean).unwrap_or(usize::MAX).saturating_add(1)) as u64;
        let size = if after == 0 { left } else { wanted.clamp(1, left - after) };
        left -= size;
        sizes.push(size);
    }
    sizes
}

fn write(path: &Path, bytes: u64, rng: &mut Prng) -> anyhow::Result<()> {
    let fault = || format!("cannot write {}", path.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).with_context(fault)?);
    let mut left = bytes;
    while left > 0 {
        let word = rng.next_u64().to_le_bytes();
        let take = left.min(word.len() as u64);
        out.write_all(&word[..take as usize]).with_context(fault)?;
        left -= take;
    }
    out.flush().with_context(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Size;

    #[test]
    fn the_files_of_a_tree_add_up_to_its_size() {
        for (total, files) in [(64 << 20, 2000), (5, 5), (7, 3), (1, 1)] {
            let sizes = sizes(total, files, &mut Prng::new(1));
            assert_eq!(sizes.iter().sum::<u64>(), total);
            assert_eq!(sizes.len(), files);
            assert!(sizes.iter().all(|size| *size > 0));
        }
    }

    #[test]
    fn the_same_plan_makes_the_same_bytes() {
        let artifact = Artifact { kind: ArtifactKind::File, bytes: Size(100_003), files: 1 };
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = fs::read(create(&artifact, a.path()).unwrap()).unwrap();
        assert_eq!(first.len(), 100_003);
        assert_eq!(first, fs::read(create(&artifact, b.path()).unwrap()).unwrap());
    }
}

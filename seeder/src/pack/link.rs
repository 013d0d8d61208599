//! What a symlink's target on disk becomes in a file list: the same place, in the one form that devices take.

use super::PackError;
use super::walk::utf8;
use samara_protocol::artifact::{PathFault, safe_link};
use std::path::{Component, Path, PathBuf};

/// The target of `link`, which lies below `root`, without `.`, empty and trailing components; refuses one that leaves
/// the tree and one that devices would refuse.
pub(super) fn target(root: &Path, link: &Path, to: &Path) -> Result<String, PackError> {
    if !stays_inside(root, link, to) {
        return Err(PackError::Escape { path: link.to_owned(), to: to.to_owned() });
    }
    let refused = |reason: String| PackError::Link { path: link.to_owned(), to: to.to_owned(), reason };
    let written = utf8(to, link)?;
    let parts: Vec<&str> = written.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let plain = parts.join("/");
    let inside = utf8(link.strip_prefix(root).unwrap_or(link), link)?;
    match safe_link(&inside, &plain) {
        Ok(()) => Ok(plain),
        Err(PathFault::Empty) => {
            Err(refused("is the directory of the link itself; leave the link out".into()))
        }
        Err(PathFault::Escapes) => Err(refused(
            "has '..' after a name; write it with '..' at its beginning only, or leave the link out".into(),
        )),
        Err(fault) => Err(refused(format!("{fault}; change it or leave the link out"))),
    }
}

// Both as written (a dangling link must not lead out on a device where the target exists) and as resolved here
// (`..` behind another symlink may lead elsewhere than it reads).
fn stays_inside(root: &Path, link: &Path, to: &Path) -> bool {
    let Ok(link_inside) = link.strip_prefix(root) else { return false };
    let mut depth = link_inside.components().count().saturating_sub(1);
    for component in to.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    let resolved: PathBuf = link.parent().unwrap_or(root).join(to);
    resolved.canonicalize().map_or(true, |real| real.starts_with(root))
}

#[cfg(test)]
mod tests {
    use super::super::walk;
    use super::super::walk::FoundKind;
    use std::os::unix::fs::symlink;

    /// What the link `place` to `to` becomes, or the refusal's words.
    fn packed(place: &str, to: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/c"), b"c").unwrap();
        symlink(to, dir.path().join(place)).unwrap();
        let found = walk(dir.path()).map_err(|e| e.to_string())?;
        let link = found.into_iter().find(|f| f.path == place).unwrap();
        let FoundKind::Symlink { to } = link.kind else { panic!("{place} is no link") };
        Ok(to)
    }

    #[test]
    fn a_target_that_is_only_written_otherwise_is_packed_in_its_plain_form() {
        for (to, plain) in [
            ("./a", "a"),
            ("a/", "a"),
            ("a//b", "a/b"),
            ("./a/./b/.//c", "a/b/c"),
            ("a/b/c", "a/b/c"),
            ("nowhere/", "nowhere"),
        ] {
            assert_eq!(packed("l", to).as_deref(), Ok(plain), "{to}");
        }
        assert_eq!(packed("a/l", "./../a/b/").as_deref(), Ok("../a/b"));
        assert_eq!(packed("a/l", "..").as_deref(), Ok(".."));
    }

    #[test]
    fn a_refusal_names_the_link_its_target_and_the_remedy() {
        let long = format!("{}x", "a/".repeat(520));
        for (place, to, reason) in [
            ("l", "./", "leave the link out"),
            ("a/l", "b/../b/c", "'..' at its beginning only"),
            ("l", "a\nb", "a control character"),
            ("l", long.as_str(), "too long"),
        ] {
            let said = packed(place, to).unwrap_err();
            let shown = format!("{to:?}");
            assert!(said.contains(place) && said.contains(&shown) && said.contains(reason), "{said}");
        }
    }
}

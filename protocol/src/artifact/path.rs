//! Paths that cannot leave the place they belong to.

use crate::text::is_plain;
use std::fmt;

/// The longest path.
const PATH_MAX: usize = 1024;
/// The longest component: the longest name that file systems know.
const COMPONENT_MAX: usize = 255;
/// In the name of everything that a device keeps beside a destination; no component of a path has it.
pub const RESERVED: &str = ".samara";
/// The longest last component of a destination: beside it lies `NAME.samara-HASH`, HASH in 64 digits.
pub const DESTINATION_NAME_MAX: usize = COMPONENT_MAX - ".samara-".len() - 64;

/// What is wrong with a path or entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the sentences below say it
pub enum PathFault {
    Empty,
    Absolute,
    Escapes,
    Component,
    TooLong,
    LongName,
    Control,
    Reserved,
    Duplicate,
    Unsorted,
    UnderLeaf,
    Mode,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::Absolute => "is absolute; it must be relative",
            Self::Escapes => "leaves the directory that it belongs to",
            Self::Component => "has an empty component, or the component '.'",
            Self::TooLong => "is too long",
            Self::LongName => {
                "ends in a name that is too long: at most 183 bytes, for what is kept beside it"
            }
            Self::Control => "has a control character, such as a newline, a NUL byte or one that turns the direction of writing",
            Self::Reserved => "has a name that Samara keeps for itself (.samara)",
            Self::Duplicate => "stands twice",
            Self::Unsorted => "is out of order",
            Self::UnderLeaf => "lies under a file or a symbolic link",
            Self::Mode => "has mode bits beyond 0777",
        })
    }
}

/// D6: whether a path is relative, normal, stays below where it starts and is none of Samara's own.
pub fn safe_path(path: &str) -> Result<(), PathFault> {
    check_text(path)?;
    for component in path.split('/') {
        match component {
            ".." => return Err(PathFault::Escapes),
            "" | "." => return Err(PathFault::Component),
            _ if component.len() > COMPONENT_MAX => return Err(PathFault::TooLong),
            _ if component.contains(RESERVED) => return Err(PathFault::Reserved),
            _ => {}
        }
    }
    Ok(())
}

/// D6, D8: whether a safe path can be a destination: there is room for a suffix after its last component.
pub fn safe_destination(path: &str) -> Result<(), PathFault> {
    safe_path(path)?;
    match path.rsplit('/').next() {
        Some(name) if name.len() > DESTINATION_NAME_MAX => Err(PathFault::LongName),
        _ => Ok(()),
    }
}

/// F2: whether a link at the safe path `from` leads to something inside the tree.
///
/// `..` may stand at the beginning only: there it climbs real directories (nothing lies under a link), while after a
/// component that is itself a link it could climb out of the tree.
pub fn safe_link(from: &str, to: &str) -> Result<(), PathFault> {
    check_text(to)?;
    let mut depth = from.split('/').count() - 1;
    let mut climbing = true;
    for component in to.split('/') {
        match component {
            ".." if climbing => depth = depth.checked_sub(1).ok_or(PathFault::Escapes)?,
            ".." => return Err(PathFault::Escapes),
            "" | "." => return Err(PathFault::Component),
            _ => climbing = false,
        }
    }
    Ok(())
}

/// The proper parents of a safe path, nearest last.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

fn check_text(path: &str) -> Result<(), PathFault> {
    match path {
        "" => Err(PathFault::Empty),
        _ if path.starts_with('/') => Err(PathFault::Absolute),
        _ if path.len() > PATH_MAX => Err(PathFault::TooLong),
        _ if !path.chars().all(is_plain) => Err(PathFault::Control),
        _ => Ok(()),
    }
}

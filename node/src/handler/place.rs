//! A destination: the directory it lies in, opened without following one link, and each change made there.
//!
//! A change is one call here, and one [`fuse`] point: what a crash leaves between two of them is tested.

use super::{InstallError, fuse};
use crate::durable;
use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _, Permissions, PermissionsExt as _,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use samara_protocol::artifact::{DESTINATION_NAME_MAX, safe_destination};
use samara_protocol::document::BlobRef;
use samara_protocol::id::ContentHash;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// Suffix of what is being written.
pub(super) const PART: &str = ".samara-part";
/// Suffix of what is whole and waits to be switched in.
pub(super) const NEW: &str = ".samara-new";
/// Suffix of what was in place before an activation that is not committed.
pub(super) const KEPT: &str = ".samara-kept";
/// Suffix of what was there before.
pub(super) const PREVIOUS: &str = ".samara-previous";
/// Suffix of the mark that what runs a program must be restarted.
pub(super) const RESTART: &str = ".samara-restart";
/// Suffix of the name of the release whose version gave way, though committed, to the one in place.
pub(super) const BACK: &str = ".samara-back";
/// With what all names of Samara's own beside a destination begin.
pub(super) const OWN: &str = ".samara";
/// Suffixes of a version, followed by its hash. Versions of one hash can lie beside each other: the previous one, as its
/// program left it, and the one before an activation stay until neither name stands for them.
const VERSIONS: [&str; 3] = [".samara-", ".samara+", ".samara="];
// The longest name that file systems know holds a destination's with the longest suffix.
const _: () = assert!(DESTINATION_NAME_MAX + VERSIONS[0].len() + 64 == 255);

/// A name in an open directory below the install root.
pub(super) struct Place {
    dir: Dir,
    name: String,
    shown: PathBuf,
}

/// What to do about a directory that is missing on the way.
#[derive(Clone, Copy)]
enum Missing {
    Stop,
    Make,
}

impl Place {
    /// Refuses a destination that cannot be used, and changes nothing. `None`: its directory does not exist yet.
    pub(super) fn look(root: &Path, destination: &str) -> Result<Option<Self>, InstallError> {
        let place = Self::find(root, destination)?;
        if let Some(place) = &place {
            place.refuse_occupied()?;
        }
        Ok(place)
    }

    /// Opens a destination, whatever is there. `None`: its directory does not exist.
    pub(super) fn find(root: &Path, destination: &str) -> Result<Option<Self>, InstallError> {
        safe_destination(destination)
            .map_err(|fault| InstallError::Destination { path: destination.into(), fault })?;
        Self::walk(root, destination, Missing::Stop)
    }

    /// Opens a destination that [`Place::look`] did not refuse; what is missing on the way is made, durably.
    pub(super) fn make(root: &Path, destination: &str) -> Result<Self, InstallError> {
        let gone = || InstallError::Disk { path: root.join(destination), source: ErrorKind::NotFound.into() };
        Self::walk(root, destination, Missing::Make)?.ok_or_else(gone)
    }

    fn walk(root: &Path, destination: &str, missing: Missing) -> Result<Option<Self>, InstallError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| InstallError::Disk { path, source }
        };
        if let Missing::Make = missing {
            fuse::point().and_then(|()| durable::create_dirs(root)).map_err(at(root))?;
        }
        let mut dir = match Dir::open_ambient_dir(root, ambient_authority()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(at(root))?,
        };
        let mut shown = root.to_owned();
        let (way, name) = destination.rsplit_once('/').unwrap_or(("", destination));
        for component in way.split('/').filter(|component| !component.is_empty()) {
            shown.push(component);
            dir = match (open_dir(&dir, component), missing) {
                (Ok(inner), _) => inner,
                (Err(Errno::NOENT), Missing::Stop) => return Ok(None),
                (Err(Errno::NOENT), Missing::Make) => make_dir(&dir, component).map_err(at(&shown))?,
                (Err(Errno::NOTDIR | Errno::LOOP), _) => return Err(InstallError::Way { path: shown }),
                (Err(error), _) => return Err(at(&shown)(error.into())),
            };
        }
        shown.push(name);
        Ok(Some(Self { dir, name: name.into(), shown }))
    }

    /// What somebody else put at the destination is never replaced, but for a file: nothing is lost, it is kept.
    fn refuse_occupied(&self) -> Result<(), InstallError> {
        let Ok(meta) = self.dir.symlink_metadata(&self.name) else { return Ok(()) };
        let what = match meta.file_type() {
            kind if kind.is_file() || self.version_in_place().is_some() => return Ok(()),
            kind if kind.is_symlink() => "a symbolic link",
            kind if kind.is_dir() => "a directory",
            _ => "a special file",
        };
        Err(InstallError::Occupied { path: self.shown.clone(), what })
    }

    /// The path as people know it.
    pub(super) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Names the destination in an error of the disk.
    pub(super) fn disk(&self) -> impl Fn(io::Error) -> InstallError + use<> {
        let path = self.shown.clone();
        move |source| InstallError::Disk { path: path.clone(), source }
    }

    /// Name of the destination itself.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Name of something beside the destination.
    pub(super) fn beside(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.name)
    }

    /// A name for a version that no version has; the third is free when the previous one and the one in place have
    /// the others.
    pub(super) fn version_unused(&self, hash: ContentHash) -> String {
        let names = VERSIONS.map(|suffix| format!("{}{suffix}{hash}", self.name));
        let [.., last] = &names;
        names.iter().find(|name| !self.exists(name)).unwrap_or(last).clone()
    }

    /// Whether that is the name of a version of this hash.
    pub(super) fn is_version_of(&self, name: &str, hash: ContentHash) -> bool {
        self.hash_of(name) == Some(hash)
    }

    fn hash_of(&self, version: &str) -> Option<ContentHash> {
        let suffix = version.strip_prefix(self.name.as_str())?;
        VERSIONS.iter().find_map(|mark| suffix.strip_prefix(mark)?.parse().ok())
    }

    /// The version that the destination links to.
    pub(super) fn version_in_place(&self) -> Option<String> {
        self.version_at(&self.name)
    }

    /// The version that a name links to: of a tree all of it, of a program the file in it.
    pub(super) fn version_at(&self, name: &str) -> Option<String> {
        let to = self.link_at(name)?;
        let version = to.strip_suffix(&self.name).and_then(|to| to.strip_suffix('/')).unwrap_or(&to);
        self.hash_of(version).map(|_| version.to_owned())
    }

    /// What a link of that name leads to.
    pub(super) fn link_at(&self, name: &str) -> Option<String> {
        self.dir.read_link_contents(name).ok()?.into_os_string().into_string().ok()
    }

    /// Everything of Samara's own beside the destination.
    pub(super) fn own_names(&self) -> io::Result<Vec<String>> {
        let prefix = self.beside(OWN);
        let names = self.dir.entries()?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        let names: Vec<Option<String>> = names.collect::<io::Result<_>>()?;
        Ok(names.into_iter().flatten().filter(|name| name.starts_with(&prefix)).collect())
    }

    /// Whether there is something of that name, a link included.
    pub(super) fn exists(&self, name: &str) -> bool {
        self.dir.symlink_metadata(name).is_ok()
    }

    /// Whether there is a directory of that name.
    pub(super) fn is_dir(&self, name: &str) -> bool {
        self.dir.symlink_metadata(name).is_ok_and(|meta| meta.is_dir())
    }

    /// Whether two names stand for one file or link.
    pub(super) fn is_same(&self, one: &str, other: &str) -> bool {
        let id = |name: &str| self.dir.symlink_metadata(name).map(|meta| (meta.dev(), meta.ino())).ok();
        id(one).is_some_and(|one| id(other) == Some(one))
    }

    /// The regular file at the destination with its permissions, if there is one that can be read.
    pub(super) fn file_in_place(&self) -> Option<(File, u32)> {
        let meta = self.dir.symlink_metadata(&self.name).ok()?;
        if meta.is_file() { self.open_file(&self.name) } else { None }
    }

    /// Whether a path leads to a regular file with these permissions and bytes, all of which are read. One that cannot
    /// be read is not the right one.
    pub(super) fn is_file_of(&self, path: &str, mode: u32, data: &BlobRef) -> bool {
        let Some((mut file, mode_there)) = self.open_file(path) else { return false };
        if mode_there != mode || !file.metadata().is_ok_and(|meta| meta.len() == data.size) {
            return false;
        }
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut file, &mut hasher).is_ok() && hasher.finalize().as_bytes() == &data.content.0
    }

    /// All of a regular file, or an error if it has more bytes than it may.
    pub(super) fn read(&self, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let (file, _) = self.open_file(name).ok_or(ErrorKind::NotFound)?;
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn open_file(&self, path: &str) -> Option<(File, u32)> {
        // Without waiting for who else has a pipe open.
        let mut options = OpenOptions::new();
        let file =
            self.dir.open_with(path, options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32)).ok()?;
        let meta = file.metadata().ok().filter(Metadata::is_file)?;
        Some((file.into_std(), meta.permissions().mode() & 0o7777))
    }

    pub(super) fn create_file(&self, name: &str) -> io::Result<File> {
        fuse::change("create", [name, ""])?;
        create_file(&self.dir, name)
    }

    pub(super) fn create_dir(&self, name: &str) -> io::Result<Dir> {
        fuse::change("create", [name, ""])?;
        self.dir.create_dir(name)?;
        self.dir.open_dir(name)
    }

    pub(super) fn symlink(&self, to: &str, name: &str) -> io::Result<()> {
        fuse::change("symlink", [to, name])?;
        self.dir.symlink(to, name)
    }

    /// A second name for a file, or for a link itself.
    pub(super) fn link(&self, name: &str, second: &str) -> io::Result<()> {
        fuse::change("link", [name, second])?;
        self.dir.hard_link(name, &self.dir, second)
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fuse::change("rename", [from, to])?;
        self.dir.rename(from, &self.dir, to)
    }

    /// Removes something, whatever it is, if it is there.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let meta = match self.dir.symlink_metadata(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            meta => meta?,
        };
        fuse::change("remove", [name, ""])?;
        if !meta.is_dir() {
            return self.dir.remove_file(name);
        }
        match self.dir.remove_dir_all(name) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                open_up(&self.dir, name)?;
                self.dir.remove_dir_all(name)
            }
            removed => removed,
        }
    }

    /// Makes a new file durable, but not its name.
    pub(super) fn sync_file(&self, file: &File, name: &str) -> io::Result<()> {
        file.sync_all()?;
        self.is_synced(name);
        Ok(())
    }

    /// All that is in a new directory of this name is durable.
    pub(super) fn is_synced(&self, name: &str) {
        fuse::synced(self.shown.parent(), name);
    }

    /// Makes the changes so far durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        fuse::change("sync", ["", ""])?;
        sync_dir(&self.dir)
    }
}

/// Makes what was created and renamed in a directory, and its permissions, durable.
pub(super) fn sync_dir(dir: &Dir) -> io::Result<()> {
    dir.open(".")?.sync_all()
}

/// A new file in an open directory.
pub(super) fn create_file(dir: &Dir, path: &str) -> io::Result<File> {
    Ok(dir.open_with(path, OpenOptions::new().write(true).create_new(true))?.into_std())
}

fn open_dir(dir: &Dir, component: &str) -> Result<Dir, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, component, flags, Mode::empty()).map(|fd| Dir::from_std_file(fd.into()))
}

fn make_dir(dir: &Dir, component: &str) -> io::Result<Dir> {
    fuse::point()?;
    dir.create_dir(component)?;
    sync_dir(dir)?;
    Ok(open_dir(dir, component)?)
}

/// Gives the owner back the right to empty a tree's directories: a release may have made them read-only.
fn open_up(dir: &Dir, name: &str) -> io::Result<()> {
    dir.set_permissions(name, Permissions::from_mode(0o700))?;
    let inner = dir.open_dir(name)?;
    for entry in inner.entries()? {
        let entry = entry?;
        if let (true, Some(name)) = (entry.file_type()?.is_dir(), entry.file_name().to_str()) {
            open_up(&inner, name)?;
        }
    }
    Ok(())
}

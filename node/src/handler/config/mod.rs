//! A configuration: replaced by the one that comes or merged with it, accepted by a command of the device before it is
//! in its place, the one before kept.

mod json;
mod merge;

use super::error::last_words;
use super::place::{NEW, PART, Place};
use super::{Handler, InstallError, Site, read_verified, single, space, switch};
use crate::hook;
use crate::process::{self, Ending, Program};
use samara_protocol::document::{Artifact, CommandLine, Merge};
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::time::Duration;

/// Both configurations are read into memory.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// Permissions of a configuration whose artifact says none, where none is in place.
const CONFIG_MODE: u32 = 0o644;
/// Stands in a command for the path of the new configuration.
const FILE: &str = "{file}";

pub(super) struct ConfigHandler;

impl Handler for ConfigHandler {
    fn check(&self, _: &Site, artifact: &Artifact) -> Result<(), InstallError> {
        let size = single(artifact)?.size;
        if size > CONFIG_BYTES_MAX {
            let why = format!("it has {size} bytes, at most {CONFIG_BYTES_MAX}");
            return Err(InstallError::Config { path: artifact.destination.clone().into(), why });
        }
        Ok(())
    }

    fn bytes_needed(&self, _: &Site, artifact: &Artifact) -> u64 {
        let there = if merge_of(artifact) == Merge::Replace { 0 } else { CONFIG_BYTES_MAX };
        space::of_file(artifact.installed.size + there)
    }

    /// What would not change by being merged once more. Of an activation that is not committed the names on disk tell:
    /// the program may have written into its configuration meanwhile, and the bytes of the release may not be at hand.
    fn is_in_place(&self, site: &Site, place: &Place, artifact: &Artifact) -> bool {
        if switch::is_kept(place) {
            return switch::is_switched(place) && !switch::is_staged(place);
        }
        let Ok(Some((there, mode))) = read_there(place) else { return false };
        artifact.mode.is_none_or(|wanted| wanted == mode)
            && wanted(site, place, artifact).is_ok_and(|wanted| wanted == there)
    }

    fn is_always_switched(&self) -> bool {
        true
    }

    fn stage(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<u64, InstallError> {
        let disk = place.disk();
        let wanted = wanted(site, place, artifact)?;
        let there = place.file_in_place();
        let mode = artifact.mode.or(there.as_ref().map(|(_, mode)| *mode)).unwrap_or(CONFIG_MODE);
        let part = place.beside(PART);
        let mut file = place.create_file(&part).map_err(&disk)?;
        file.write_all(&wanted)
            .and_then(|()| there.map_or(Ok(()), |(there, _)| keep_owner(&there, &file)))
            .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
            .and_then(|()| place.sync_file(&file, &part))
            .map_err(&disk)?;
        drop(file);
        if let Some(command) = artifact.config.as_ref().and_then(|config| config.validate.as_ref()) {
            validate(site, artifact, place, command)?;
        }
        place.rename(&part, &place.beside(NEW)).and_then(|()| place.sync()).map_err(&disk)?;
        Ok(wanted.len() as u64)
    }

    /// What the program wrote into its configuration since it was staged is merged as well.
    fn activate(&self, site: &Site, artifact: &Artifact, place: &Place) -> Result<(), InstallError> {
        let is_merged = merge_of(artifact) != Merge::Replace;
        if is_merged && switch::is_staged(place) {
            let staged = place.read(&place.beside(NEW), CONFIG_BYTES_MAX * 2).map_err(place.disk())?;
            if wanted(site, place, artifact)? != staged {
                place.remove(&place.beside(NEW)).map_err(place.disk())?;
                place.remove(&place.beside(PART)).map_err(place.disk())?;
                self.stage(site, artifact, place)?;
            }
        }
        self.switch(site, artifact, place)
    }
}

fn merge_of(artifact: &Artifact) -> Merge {
    artifact.config.as_ref().map(|config| config.merge).unwrap_or_default()
}

/// What shall be in place: the configuration of the release, merged into that which is there if it says so.
fn wanted(site: &Site, place: &Place, artifact: &Artifact) -> Result<Vec<u8>, InstallError> {
    let coming = read_verified(site, single(artifact)?)?;
    let there = match (merge_of(artifact), read_there(place)?) {
        (Merge::Replace, _) | (Merge::Toml, None) => return Ok(coming),
        (Merge::Json, None) => b"{}".to_vec(),
        (_, Some((there, _))) => there,
    };
    merge::merge(merge_of(artifact), &there, &coming).map_err(|why| refused(place, why))
}

/// The configuration in place with its permissions.
fn read_there(place: &Place) -> Result<Option<(Vec<u8>, u32)>, InstallError> {
    let Some((file, mode)) = place.file_in_place() else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(place.disk())?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(refused(place, format!("that which is there has more than {CONFIG_BYTES_MAX} bytes")));
    }
    Ok(Some((bytes, mode)))
}

/// The program that reads its configuration may be another user. A daemon that may not give files away leaves it.
fn keep_owner(there: &File, new: &File) -> std::io::Result<()> {
    let (owner, own) = (there.metadata()?, new.metadata()?);
    if (owner.uid(), owner.gid()) == (own.uid(), own.gid()) {
        return Ok(());
    }
    match fchown(new, Some(owner.uid()), Some(owner.gid())) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

fn refused(place: &Place, why: String) -> InstallError {
    InstallError::Config { path: place.shown().into(), why }
}

/// The device's own command looks at the new file where it lies, before it counts.
fn validate(site: &Site, artifact: &Artifact, place: &Place, line: &CommandLine) -> Result<(), InstallError> {
    let file = place.shown().with_file_name(place.beside(PART));
    let words = line.command.iter().map(|word| word.replace(FILE, &file.display().to_string()));
    let words: Vec<String> = words.collect();
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    let variables = hook::variables(site, &artifact.name, "validate");
    let timeout = Duration::from_secs(line.timeout_seconds);
    let path = site.root.join(program);
    let ran = process::run(&Program { path: &path, args, variables: &variables, timeout })
        .map_err(|source| InstallError::Program { name: artifact.name.clone(), path, source })?;
    match ran.ending {
        Ending::Exited(0) => Ok(()),
        ending => {
            let why = format!("{program} {ending}{}", last_words(&ran.output));
            Err(InstallError::Refused { path: place.shown().into(), why })
        }
    }
}

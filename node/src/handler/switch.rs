//! The switch from one version to the next and back, the same for all kinds.
//!
//! ```text
//!                DEST  new  kept  previous
//! staged          B     C    -       A
//! activate
//!   1. link       B     C    B       A       a second name: the old version cannot be lost
//!   2. rename     C     -    B       A       the switch: DEST always names a whole version
//! commit
//!   3. rename     C     -    -       B
//! undo, instead of 3
//!   3. rename     B     -    -       A       exactly what was there
//! ```
//! A committed version goes by the same steps: what was there before it is staged under a second name, and between 2 and 3
//! `back` is written, which names the release that went. Where nothing was there before, the version gets its second name,
//! and then DEST and that name are removed.
//!
//! Where nothing was in place, `kept` is a link to [`NOTHING`], and undo removes DEST. What a crash leaves says itself
//! how far it came: without `kept` nothing is under way; `kept` that is what is in place stands before 2; any other
//! `kept` after it.

use super::place::{BACK, KEPT, NEW, PART, PREVIOUS, Place, RESTART};
use samara_protocol::id::DocumentId;
use std::io::{self, Write as _};

/// What `kept` links to where nothing was in place.
const NOTHING: &str = ".samara-nothing";
/// `back` holds the id of a release.
const BACK_BYTES_MAX: u64 = 64;

/// Whether something whole waits to be activated.
pub(super) fn is_staged(place: &Place) -> bool {
    place.exists(&place.beside(NEW))
}

/// Whether an activation was begun that is neither committed nor undone.
pub(super) fn is_kept(place: &Place) -> bool {
    place.exists(&place.beside(KEPT))
}

/// Whether it came as far as the switch.
pub(super) fn is_switched(place: &Place) -> bool {
    let kept = place.beside(KEPT);
    if keeps_nothing(place) {
        place.exists(place.name())
    } else {
        is_kept(place) && !place.is_same(&kept, place.name())
    }
}

/// Gives what is in place its second name, durably: an activation is begun.
pub(super) fn keep(place: &Place) -> io::Result<()> {
    let kept = place.beside(KEPT);
    if !place.exists(&kept) {
        if place.exists(place.name()) {
            place.link(place.name(), &kept)?;
        } else {
            place.symlink(NOTHING, &kept)?;
        }
    }
    place.sync()
}

/// Puts what is staged into its place.
pub(super) fn activate(place: &Place) -> io::Result<()> {
    keep(place)?;
    place.rename(&place.beside(NEW), place.name())?;
    place.sync()
}

/// Puts the previous version into the place of the committed one of a release, which becomes the previous version; where
/// there is none and none `is_wanted` it leaves nothing in place. It may be repeated when it is done. One that was cut
/// before `back` names the release must be undone first.
pub(super) fn give_back(place: &Place, release: DocumentId, is_wanted: bool) -> io::Result<()> {
    let is_restored = is_wanted || has_previous(place);
    if is_given_back(place, release) || !is_restored && !place.exists(place.name()) {
        return forget(place);
    }
    give_way(place, is_restored)?;
    if is_restored {
        // The versions do not tell which of them is to be in place.
        let back = place.beside(BACK);
        place.remove(&back)?;
        let mut file = place.create_file(&back)?;
        file.write_all(release.to_string().as_bytes())?;
        place.sync_file(&file, &back)?;
        place.sync()?;
    }
    forget(place)
}

/// Whether the version of a release gave way to the previous one, but for the last steps.
pub(super) fn is_given_back(place: &Place, release: DocumentId) -> bool {
    place.read(&place.beside(BACK), BACK_BYTES_MAX).is_ok_and(|name| name == release.to_string().as_bytes())
}

/// Whether there was something before the last commit.
pub(super) fn has_previous(place: &Place) -> bool {
    place.exists(&place.beside(PREVIOUS))
}

/// The first half: the previous version is in place, or nothing. [`undo`] takes it back.
pub(super) fn give_way(place: &Place, is_restored: bool) -> io::Result<()> {
    if is_restored {
        place.link(&place.beside(PREVIOUS), &place.beside(NEW))?;
        place.sync()?;
        return activate(place);
    }
    keep(place)?;
    place.remove(place.name())?;
    place.sync()
}

/// The second half: there is no way back.
pub(super) fn forget(place: &Place) -> io::Result<()> {
    if place.exists(place.name()) {
        return commit(place);
    }
    place.remove(&place.beside(KEPT))?;
    place.sync()?;
    forget_unnamed(place)
}

/// Puts back what was in place before the activation, and removes all that was staged.
pub(super) fn undo(place: &Place) -> io::Result<()> {
    place.remove(&place.beside(BACK))?;
    place.remove(&place.beside(NEW))?;
    place.remove(&place.beside(PART))?;
    let kept = place.beside(KEPT);
    if keeps_nothing(place) {
        place.remove(place.name())?;
        // Durable before the mark goes: without it what is in place would seem to be committed.
        place.sync()?;
    } else if place.exists(&kept) {
        place.rename(&kept, place.name())?;
    }
    // A rename between two names of one file does nothing.
    place.remove(&kept)?;
    place.sync()?;
    forget_unnamed(place)
}

/// What was in place before the activation becomes the previous version.
pub(super) fn commit(place: &Place) -> io::Result<()> {
    let kept = place.beside(KEPT);
    if place.exists(&kept) && !keeps_nothing(place) && !place.is_same(&kept, place.name()) {
        place.rename(&kept, &place.beside(PREVIOUS))?;
    }
    // A rename between two names of one file does nothing; somebody may have linked the previous version back.
    place.remove(&kept)?;
    place.sync()?;
    forget_unnamed(place)
}

fn keeps_nothing(place: &Place) -> bool {
    place.link_at(&place.beside(KEPT)).is_some_and(|to| to == NOTHING)
}

/// Removes the versions that no name stands for.
fn forget_unnamed(place: &Place) -> io::Result<()> {
    let named = [NEW, KEPT, PREVIOUS, RESTART, BACK].map(|suffix| place.beside(suffix));
    let links = named.iter().map(String::as_str).chain([place.name()]);
    let used: Vec<String> = links.filter_map(|name| place.version_at(name)).collect();
    let names = place.own_names()?;
    let old: Vec<_> = names.iter().filter(|name| !named.contains(name) && !used.contains(name)).collect();
    for name in &old {
        place.remove(name)?;
    }
    if old.is_empty() { Ok(()) } else { place.sync() }
}

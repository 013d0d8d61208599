//! The switch from one version to the next, the same for a file and for the link to a tree.
//!
//! ```text
//!              DEST  kept  previous
//! before        B     -       A
//! 1. link       B     B       A       a second name: the old version cannot be lost
//! 2. rename     C     B       A       the switch: DEST always names a whole version
//! 3. rename     C     -       B
//! ```
//! What a crash leaves says itself how far it came: `kept` is what is in place (before 2) or it is not (after 2).

use super::place::{KEPT, NEW, PREVIOUS, Place};
use std::io;

/// Ends what a crash has cut: nothing is half-written, and the previous version is what was there before.
pub(super) fn settle(place: &Place) -> io::Result<()> {
    place.remove(&place.beside(NEW))?;
    let kept = place.beside(KEPT);
    if place.is_same(&kept, place.name()) {
        place.remove(&kept)
    } else if place.exists(&kept) {
        keep_as_previous(place)
    } else {
        Ok(())
    }
}

/// Puts what was written as `new` into its place.
pub(super) fn switch(place: &Place) -> io::Result<()> {
    let is_replaced = place.exists(place.name());
    if is_replaced {
        place.link(place.name(), &place.beside(KEPT))?;
        place.sync()?;
    }
    place.rename(&place.beside(NEW), place.name())?;
    place.sync()?;
    if is_replaced { keep_as_previous(place) } else { Ok(()) }
}

fn keep_as_previous(place: &Place) -> io::Result<()> {
    let kept = place.beside(KEPT);
    place.rename(&kept, &place.beside(PREVIOUS))?;
    // A rename between two names of one file does nothing; somebody may have linked the previous version back.
    place.remove(&kept)?;
    place.sync()
}

/// Removes the tree's versions that are neither in place nor the previous one.
pub(super) fn forget_older(place: &Place) -> io::Result<()> {
    let previous = place.beside(PREVIOUS);
    let kept = [Some(previous.clone()), place.version_at(&previous), place.version_in_place()];
    let names = place.own_names()?;
    let old: Vec<_> = names.iter().filter(|name| !kept.iter().flatten().any(|kept| kept == *name)).collect();
    for name in &old {
        place.remove(name)?;
    }
    if old.is_empty() { Ok(()) } else { place.sync() }
}

//! What becomes of each release on offer: whether devices still take it, all are done with it, or it suits none.
//!
//! Two things say that a site is done with a release: the mesh, when enough devices hold every byte and document, and
//! the devices themselves, when each has said that the release is installed or is not for it. The second counts where
//! a release has something for one device only, so that its bytes never come to a second one.

use super::devices::{Device, Devices};
use samara_protocol::id::DocumentId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Reports of an earlier run may be out of date, and a device that knows better says so soon after it is met: so long
/// must all agree before they are believed, and so long is a word of them waited for when the bytes are held already.
const BELIEVED_AFTER: Duration = Duration::from_secs(5);

/// A release on offer, as devices speak of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: DocumentId,
    /// For people.
    pub(super) name: String,
    /// Its product and version, where no other known release has both.
    pub(super) version: Option<(String, String)>,
}

/// What becomes of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// No enrolled device takes it so far.
    Open,
    /// Some device takes it, or has it.
    Taken,
    /// All devices say that it is not for them, but not for long enough yet.
    Doubtful,
    /// Every device has it or has no use for it, and at least one has it.
    Done,
    /// It is for none of so many devices; one of them said why.
    Unsuited { devices: usize, reason: String },
}

/// The fates of all releases on offer.
#[derive(Debug, Default)]
pub(super) struct Fates {
    each: Vec<(Wanted, Fate)>,
    /// Since when all devices say the same of a release, and whether that is that it suits none.
    agreed: BTreeMap<DocumentId, (bool, Instant)>,
    /// Since when the mesh holds everything.
    held_since: Option<Instant>,
    is_held_for_long: bool,
}

impl Fates {
    /// Judges anew; `is_held` is the word of the mesh. Returns the releases that suit no device from now on.
    pub(super) fn judge(
        &mut self,
        wanted: Vec<Wanted>,
        devices: &Devices,
        is_held: bool,
        now: Instant,
    ) -> Vec<(Wanted, Fate)> {
        let is_believed = |since: Instant| now.duration_since(since) >= BELIEVED_AFTER;
        self.held_since = is_held.then(|| self.held_since.unwrap_or(now));
        self.is_held_for_long = self.held_since.is_some_and(is_believed);
        let before = std::mem::take(&mut self.agreed);
        let was_unsuited = self.unsuited().map(|(wanted, _)| wanted.id).collect::<Vec<_>>();
        let mut each = Vec::new();
        for wanted in wanted {
            let fate = Self::fate(&wanted, devices, |is_unsuited| {
                let same = before.get(&wanted.id).filter(|(agreed, _)| *agreed == is_unsuited);
                let since = same.map_or(now, |(_, since)| *since);
                self.agreed.insert(wanted.id, (is_unsuited, since));
                is_believed(since)
            });
            each.push((wanted, fate));
        }
        self.each = each;
        self.unsuited().filter(|(wanted, _)| !was_unsuited.contains(&wanted.id)).cloned().collect()
    }

    /// `is_believed` is asked where all devices agree, and told whether on that it suits none of them.
    fn fate(wanted: &Wanted, devices: &Devices, mut is_believed: impl FnMut(bool) -> bool) -> Fate {
        let enrolled = || devices.enrolled();
        let all = enrolled().count();
        let has = enrolled().filter(|device| device.has(wanted)).count();
        let mut reasons = enrolled().filter_map(|device| device.why_unsuited(wanted));
        let reason = reasons.next();
        let unsuited = reason.iter().count() + reasons.count();
        match reason {
            _ if all == 0 || !devices.is_any_met() => Fate::Open,
            Some(reason) if unsuited == all => match is_believed(true) {
                true => Fate::Unsuited { devices: all, reason: reason.to_owned() },
                false => Fate::Doubtful,
            },
            _ if has > 0 && has + unsuited == all && is_believed(false) => Fate::Done,
            _ if enrolled().any(|device| device.takes(wanted)) => Fate::Taken,
            _ => Fate::Open,
        }
    }

    /// Whether the site can finish without this laptop.
    pub(super) fn is_safe(&self) -> bool {
        let suits_some = |fate: &Fate| !matches!(fate, Fate::Doubtful | Fate::Unsuited { .. });
        let fates = || self.each.iter().map(|(_, fate)| fate);
        let is_done = !self.each.is_empty() && fates().all(|fate| *fate == Fate::Done);
        is_done || (self.held_since.is_some() && fates().all(suits_some))
    }

    /// Whether there is nothing left to wait for.
    pub(super) fn is_over(&self) -> bool {
        let is_over = |fate: &Fate| match fate {
            Fate::Done | Fate::Unsuited { .. } => true,
            Fate::Taken => self.held_since.is_some(),
            // A device that takes what it holds already says so soon.
            Fate::Open => self.is_held_for_long,
            Fate::Doubtful => false,
        };
        !self.each.is_empty() && self.each.iter().all(|(_, fate)| is_over(fate))
    }

    /// The releases that suit no device.
    pub(super) fn unsuited(&self) -> impl Iterator<Item = &(Wanted, Fate)> {
        self.each.iter().filter(|(_, fate)| matches!(fate, Fate::Unsuited { .. }))
    }

    /// Whether a device has said of every release that it is there or not for it.
    pub(super) fn is_complete(&self, device: &Device) -> bool {
        let is_final =
            |(wanted, _): &(Wanted, Fate)| device.has(wanted) || device.why_unsuited(wanted).is_some();
        !self.each.is_empty() && self.each.iter().all(is_final)
    }
}

/// For people: why a release has no taker.
pub(super) fn no_taker(wanted: &Wanted, devices: usize, reason: &str) -> String {
    format!("no device takes {}: all {devices} say not_applicable ({reason})", wanted.name)
}

#[cfg(test)]
mod tests {
    use super::super::devices::tests::{devices, report};
    use super::*;

    const ONE: u8 = 1;
    const TWO: u8 = 2;

    fn wanted(release: u8) -> Wanted {
        Wanted {
            id: DocumentId([release; 32]),
            name: format!("pump {release}"),
            version: Some(("pump".into(), release.to_string())),
        }
    }

    /// Two devices that are here and enrolled, what they said, and what that makes of releases after so many seconds.
    struct Story {
        devices: Devices,
        fates: Fates,
        start: Instant,
    }

    impl Story {
        fn new(said: &[(u8, u8, &str)]) -> Self {
            let mut story =
                Self { devices: devices(&[7, 8]), fates: Fates::default(), start: Instant::now() };
            story.say(said);
            story
        }

        fn say(&mut self, said: &[(u8, u8, &str)]) {
            said.iter().for_each(|(device, release, state)| {
                self.devices.on_report(&report(*device, state, *release));
            });
        }

        fn judge(&mut self, releases: &[u8], is_held: bool, seconds: u64) -> Vec<Fate> {
            let now = self.start + Duration::from_secs(seconds);
            let wanted = releases.iter().map(|release| wanted(*release)).collect();
            self.fates.judge(wanted, &self.devices, is_held, now);
            self.fates.each.iter().map(|(_, fate)| fate.clone()).collect()
        }

        /// Whether it is safe to leave, and over.
        fn end(&self) -> (bool, bool) {
            (self.fates.is_safe(), self.fates.is_over())
        }
    }

    fn unsuited() -> Fate {
        Fate::Unsuited { devices: 2, reason: "it is for valve".into() }
    }

    #[test]
    fn a_release_suits_nobody_when_every_device_has_said_so_for_some_time() {
        let mut story = Story::new(&[(7, ONE, "not_applicable")]);
        assert_eq!(story.judge(&[ONE], false, 0), [Fate::Open], "device 8 said nothing");
        story.say(&[(8, ONE, "not_applicable")]);
        assert_eq!(story.judge(&[ONE], false, 1), [Fate::Doubtful], "it may be out of date");
        assert_eq!(story.judge(&[ONE], false, 6), [unsuited()]);
        assert_eq!(story.end(), (false, true));
        story.say(&[(8, ONE, "downloading")]);
        assert_eq!(story.judge(&[ONE], false, 7), [Fate::Taken]);
        assert_eq!(story.judge(&[], false, 99), [], "nothing is offered");
        assert_eq!(story.end(), (false, false));
    }

    #[test]
    fn a_release_for_one_device_is_done_when_that_one_has_it_and_the_others_have_no_use_for_it() {
        let mut story = Story::new(&[(7, ONE, "installed"), (8, ONE, "not_applicable")]);
        assert_eq!(story.judge(&[ONE], false, 0), [Fate::Taken]);
        assert_eq!(story.end(), (false, false));
        assert_eq!(story.judge(&[ONE], false, 5), [Fate::Done]);
        assert_eq!(story.end(), (true, true));
    }

    #[test]
    fn a_release_that_suits_nobody_neither_holds_up_the_others_nor_ends_before_them() {
        let said = [(7, ONE, "not_applicable"), (8, ONE, "not_applicable"), (7, TWO, "installed")];
        let mut story = Story::new(&said);
        story.judge(&[ONE, TWO], false, 0);
        assert_eq!(story.judge(&[ONE, TWO], false, 6), [unsuited(), Fate::Taken]);
        assert_eq!(story.end(), (false, false));
        story.say(&[(8, TWO, "installed")]);
        story.judge(&[ONE, TWO], false, 7);
        assert_eq!(story.judge(&[ONE, TWO], false, 12), [unsuited(), Fate::Done]);
        assert_eq!(story.end(), (false, true));
    }

    #[test]
    fn what_the_site_holds_already_is_no_good_end_while_nobody_takes_it() {
        let mut story = Story::new(&[]);
        assert_eq!(story.judge(&[ONE], true, 0), [Fate::Open]);
        assert_eq!(story.end(), (true, false), "a word of the devices is waited for");
        story.say(&[(7, ONE, "not_applicable"), (8, ONE, "not_applicable")]);
        assert_eq!(story.judge(&[ONE], true, 4), [Fate::Doubtful]);
        assert_eq!(story.end(), (false, false));
        assert_eq!(story.judge(&[ONE], true, 9), [unsuited()]);
        assert_eq!(story.end(), (false, true));
        let mut silent = Story::new(&[]);
        silent.judge(&[ONE], true, 0);
        silent.judge(&[ONE], true, 5);
        assert_eq!(silent.end(), (true, true), "the word of the mesh is enough at last");
        silent.say(&[(7, ONE, "downloading")]);
        let mut taken = Story::new(&[(7, ONE, "downloading")]);
        taken.judge(&[ONE], true, 0);
        assert_eq!(taken.end(), (true, true));
    }

    #[test]
    fn a_device_that_spoke_last_of_another_release_is_known_by_the_versions_that_it_has() {
        let mut story = Story::new(&[(8, ONE, "not_applicable")]);
        let last = report(7, "not_applicable", TWO);
        let versions = [("pump".to_owned(), "1".to_owned())].into();
        story.devices.on_report(&samara_protocol::document::Report { versions, ..last });
        story.judge(&[ONE], false, 0);
        assert_eq!(story.judge(&[ONE], false, 5), [Fate::Done]);
        assert!(story.devices.enrolled().all(|device| story.fates.is_complete(device)));
        let mut told = Story::new(&[(8, ONE, "installed")]);
        let word = samara_protocol::document::ReleaseWord {
            state: "not_applicable".into(),
            reason: "it is for valve".into(),
        };
        let others = [(DocumentId([ONE; 32]), word)].into();
        let last = report(7, "installed", TWO);
        told.devices.on_report(&samara_protocol::document::Report { others, ..last });
        told.judge(&[ONE], false, 0);
        assert_eq!(
            told.judge(&[ONE], false, 5),
            [Fate::Done],
            "its last report names the other release, too"
        );
        let unnamed = Wanted { version: None, ..wanted(ONE) };
        let now = story.start + Duration::from_secs(6);
        story.fates.judge(vec![unnamed], &story.devices, false, now);
        assert_eq!(story.fates.each[0].1, Fate::Open, "two releases have that version");
    }
}

//! T15 to T19, T6: which release a device shall have, whatever came first.

use super::*;
use crate::document::ReleaseState;
use crate::trust::SecurityFloors;
use crate::trust::tests::order::{Device, cases, documents};
use crate::trust::tests::*;
use proptest::prelude::*;

fn facts() -> Facts {
    Facts {
        hardware: "a".into(),
        architecture: "x86_64".into(),
        product: "pump".into(),
        agent: "0.1.0".into(),
        protocol: 1,
        floors: SecurityFloors::default(),
        in_place: BTreeMap::new(),
        under_way: BTreeSet::new(),
        bad: BTreeMap::new(),
    }
}

fn collected<'a>(documents: impl IntoIterator<Item = &'a VerifiedDocument>) -> SiteDocuments {
    let mut site = SiteDocuments::default();
    documents.into_iter().cloned().for_each(|document| site.insert(document));
    site
}

/// Releases 1 and 2 of one channel, each named by a Rollout in a state; and what is decided of them.
fn decided(states: [RolloutState; 2], more: &[VerifiedDocument]) -> [Option<Decision>; 2] {
    let (mut trust, mut documents) = (trust(), Vec::new());
    let mut ids = Vec::new();
    for (number, state) in (1..).zip(states) {
        let release = accept(&mut trust, &release(number), &[RELEASE]);
        let rollout_id = crate::id::RolloutId([number as u8; 16]);
        let named = Rollout { rollout_id, release: release.id(), ..rollout(1, state) };
        documents.extend([accept(&mut trust, &named, &[ROLLOUT]), release.clone()]);
        ids.push(release.id());
    }
    let decisions = collected(documents.iter().chain(more)).decide(&facts());
    [0, 1].map(|i| decisions.get(&ids[i]).cloned())
}

#[test]
fn of_several_active_rollouts_of_a_channel_the_highest_release_number_decides() {
    use RolloutState::{Active, Paused};
    let is_install = |decision: &Option<Decision>| matches!(decision, Some(Decision::Install { .. }));
    let both = decided([Active, Active], &[]);
    assert_eq!((&both[0], is_install(&both[1])), (&Some(Decision::Superseded), true));
    let older = decided([Active, Paused], &[]);
    assert_eq!((is_install(&older[0]), &older[1]), (true, &Some(Decision::Held(Paused))));
}

#[test]
fn two_channels_that_claim_one_destination_do_not_fight_for_it() {
    // T16
    let mut trust = trust();
    let mut documents = Vec::new();
    let mut ids = Vec::new();
    for (number, channel) in [(1, "stable"), (2, "beta")] {
        let release = Release { channel: channel.into(), ..release(number) };
        let release = accept(&mut trust, &release, &[RELEASE]);
        let rollout_id = crate::id::RolloutId([number as u8; 16]);
        let named = Rollout { rollout_id, release: release.id(), ..rollout(1, RolloutState::Active) };
        documents.extend([accept(&mut trust, &named, &[ROLLOUT]), release.clone()]);
        ids.push(release.id());
    }
    for documents in [documents.clone(), documents.into_iter().rev().collect()] {
        let decisions = collected(&documents).decide(&facts());
        assert!(matches!(&decisions[&ids[0]], Decision::NotApplicable(why) if why.contains("belongs to")));
        assert!(matches!(decisions[&ids[1]], Decision::Install { .. }));
    }
}

/// A site with an active Rollout of each release; and their ids.
fn site_with(releases: &[Release]) -> (SiteDocuments, Vec<DocumentId>) {
    let (mut trust, mut documents, mut ids) = (trust(), Vec::new(), Vec::new());
    for (n, release) in releases.iter().enumerate() {
        let release = accept(&mut trust, release, &[RELEASE]);
        let rollout_id = crate::id::RolloutId([n as u8; 16]);
        let named = Rollout { rollout_id, release: release.id(), ..rollout(1, RolloutState::Active) };
        documents.push(accept(&mut trust, &named, &[ROLLOUT]));
        ids.push(release.id());
        documents.push(release);
    }
    (collected(&documents), ids)
}

#[test]
fn a_release_below_the_security_floor_is_not_applicable_and_takes_nothing_from_others() {
    // T18
    let low = Release { security_counter: 2, ..release(9) };
    let (site, ids) = site_with(&[Release { security_counter: 3, ..release(8) }, low]);
    let mut facts = facts();
    let decided = |facts: &Facts| {
        let mut decisions = site.decide(facts);
        [&ids[0], &ids[1]].map(|id| decisions.remove(id).unwrap())
    };
    let is_install = |decision: &Decision| matches!(decision, Decision::Install { .. });
    let before = decided(&facts);
    assert!(is_install(&before[1]) && before[0] == Decision::Superseded);
    facts.floors.raise(&site.releases[&ids[0]]);
    let why = "its security counter 2 is below 3, the floor that an installed release has set";
    let after = decided(&facts);
    assert_eq!(after[1], Decision::NotApplicable(why.into()));
    assert!(is_install(&after[0]), "the floor itself is allowed");
}

#[test]
fn a_destination_inside_or_around_what_is_in_place_waits_until_that_is_gone() {
    // T16
    for (place, wanted) in [("bin", "bin/app"), ("bin/app/x", "bin/app")] {
        let beta = Release { channel: "beta".into(), ..release(2) };
        let mut stable = release(1);
        stable.artifacts[0].destination = place.into();
        let (site, ids) = site_with(&[stable, beta]);
        let mut facts = facts();
        assert!(matches!(site.decide(&facts)[&ids[1]], Decision::Install { .. }), "by its number");
        facts.in_place.insert(place.into(), ids[0]);
        let decisions = site.decide(&facts);
        let why = format!(
            "{wanted} overlaps {place}, where pump 1 (stable) is in place: withdraw that and remove {place}"
        );
        assert_eq!(decisions[&ids[1]], Decision::NotApplicable(why));
        assert!(matches!(decisions[&ids[0]], Decision::Install { .. }), "it stays wanted");
        facts.in_place = [(place.into(), DocumentId([9; 32]))].into();
        let why = site.decide(&facts).remove(&ids[1]);
        assert!(matches!(why, Some(Decision::NotApplicable(why)) if why.contains("an earlier release")));
        facts.in_place = [(wanted.into(), ids[0]), ("bin2".into(), ids[0])].into();
        assert!(matches!(site.decide(&facts)[&ids[1]], Decision::Install { .. }));
    }
}

#[test]
fn a_release_that_a_device_cannot_use_is_not_applicable_and_says_why() {
    // T17
    let decision = |change: &dyn Fn(&mut Release)| {
        let (mut trust, mut changed) = (trust(), release(1));
        change(&mut changed);
        let release = accept(&mut trust, &changed, &[RELEASE]);
        let named = Rollout { release: release.id(), ..rollout(1, RolloutState::Active) };
        let rollout = accept(&mut trust, &named, &[ROLLOUT]);
        match collected(&[release.clone(), rollout]).decide(&facts()).remove(&release.id()) {
            Some(Decision::NotApplicable(why)) => why,
            Some(Decision::Install { .. }) => String::new(),
            other => panic!("{other:?}"),
        }
    };
    let agent = |min: &str| {
        let min = Some(min.to_owned());
        decision(&|release| release.compatibility.min_agent.clone_from(&min))
    };
    for min in ["0.0.9", "0.1.0-rc.1", "0.1.0", "0.1.0+later"] {
        assert_eq!(agent(min), "", "{min}");
    }
    assert_eq!(agent("0.9.0"), "it needs samara-node 0.9.0 or later; this is 0.1.0");
    for min in ["0.1.1-rc.1", "0.10.0", "1.0.0"] {
        assert!(agent(min).contains(min), "{min}");
    }
    let protocol = |min| decision(&|release| release.min_protocol = min);
    assert_eq!((protocol(0).as_str(), protocol(1).as_str()), ("", ""));
    assert_eq!(protocol(2), "it needs mesh protocol 2 or later; this device speaks 1");
    let product = decision(&|release| release.product = "door".into());
    assert_eq!(product, "it is for door, this device is a pump");
    let hardware = decision(&|release| release.compatibility.hardware = vec!["b".into()]);
    assert_eq!(hardware, "it is not for hardware a");
    let architecture = decision(&|release| release.compatibility.architecture = vec!["arm".into()]);
    assert_eq!(architecture, "it is not for architecture x86_64");
    let artifacts = decision(&|release| release.artifacts[0].when.hardware = vec!["b".into()]);
    assert_eq!(artifacts, "none of its artifacts is for this device");
}

#[test]
fn a_device_that_speaks_no_protocol_of_its_site_installs_nothing_until_a_trust_root_asks_for_less() {
    // T19
    let mut trust = trust();
    let release = accept(&mut trust, &release(1), &[RELEASE]);
    let named = Rollout { release: release.id(), ..rollout(1, RolloutState::Active) };
    let mut documents = vec![release.clone(), accept(&mut trust, &named, &[ROLLOUT])];
    let mut decided = |min| {
        let root = next(&trust, |root| root.min_protocol = min);
        documents.push(accept(&mut trust, &root, &[ROOT]));
        let mut both = [documents.clone(), documents.iter().rev().cloned().collect()]
            .map(|documents| collected(&documents).decide(&facts()).remove(&release.id()));
        assert_eq!(both[0], both[1], "the order of arrival decides nothing");
        both[0].take().unwrap()
    };
    assert!(matches!(decided(1), Decision::Install { .. }));
    let why = "the site needs mesh protocol 2 or later; this device speaks 1".into();
    assert_eq!(decided(2), Decision::NotApplicable(why));
    assert!(matches!(decided(0), Decision::Install { .. }));
}

#[test]
fn a_document_that_is_believed_no_longer_decides_nothing() {
    let mut trust = trust();
    let release = accept(&mut trust, &release(1), &[RELEASE]);
    let named = Rollout { release: release.id(), ..rollout(1, RolloutState::Active) };
    let rollout = accept(&mut trust, &named, &[ROLLOUT]);
    let withdrawal = accept(&mut trust, &withdrawal(None, None, release.id()), &[RELEASE]);
    let all = [release.clone(), rollout.clone(), withdrawal.clone()];
    let decided = |removed: &VerifiedDocument| {
        let mut site = collected(&all);
        site.remove(removed.id());
        site.decide(&facts()).remove(&release.id())
    };
    assert_eq!((decided(&release), decided(&rollout)), (None, None));
    assert!(matches!(decided(&withdrawal), Some(Decision::Install { .. })));
}

#[test]
fn a_withdrawal_for_a_product_takes_back_releases_of_that_product_only() {
    let states = [RolloutState::Active, RolloutState::Paused];
    let one = envelope(&release(1), &[]).id();
    for (product, withdrawn) in [(None, true), (Some("pump"), true), (Some("door"), false)] {
        let withdrawal = accept(&mut trust(), &withdrawal(None, product, one), &[RELEASE]);
        let is_withdrawn = matches!(decided(states, &[withdrawal])[0], Some(Decision::Withdrawn { .. }));
        assert_eq!(is_withdrawn, withdrawn, "{product:?}");
    }
}

/// Releases 1 to 3 of one channel; what is decided when these Rollouts, in the order of their releases, name them.
struct Channel {
    trust: crate::trust::Trust,
    documents: Vec<VerifiedDocument>,
    ids: Vec<DocumentId>,
    facts: Facts,
}

impl Channel {
    fn new() -> Self {
        let (mut trust, mut documents) = (trust(), Vec::new());
        let versioned = |n: u64| Release { version: format!("{n}.0.0"), ..release(n) };
        documents.extend((1..=3).map(|n| accept(&mut trust, &versioned(n), &[RELEASE])));
        let ids = documents.iter().map(VerifiedDocument::id).collect();
        let mut channel = Self { trust, documents, ids, facts: facts() };
        (1..=3).for_each(|n| channel.say(n, 1, |_| ()));
        channel
    }

    /// And a release of another product that asks for a range of versions of this one.
    fn with_app(range: &str) -> Self {
        let mut channel = Self::new();
        let components = [("pump".to_owned(), range.to_owned())].into();
        let mut app = release(7);
        (app.product, app.compatibility.components) = ("app".into(), components);
        app.artifacts[0].destination = "other".into();
        let app = accept(&mut channel.trust, &app, &[RELEASE]);
        channel.ids.push(app.id());
        channel.documents.push(app);
        channel.say(4, 1, |_| ());
        channel.facts.product.clear();
        channel
    }

    /// A sequence of the Rollout of a release.
    fn say(&mut self, number: usize, sequence: u64, change: impl FnOnce(&mut Rollout)) {
        let rollout_id = crate::id::RolloutId([number as u8; 16]);
        let release = self.ids[number - 1];
        let mut named = Rollout { rollout_id, release, ..rollout(sequence, RolloutState::Active) };
        change(&mut named);
        self.documents.push(accept(&mut self.trust, &named, &[ROLLOUT]));
    }

    fn has(&mut self, number: usize) {
        self.facts.in_place = [("bin/app".to_owned(), self.ids[number - 1])].into();
    }

    fn decided(&self) -> Vec<Option<Decision>> {
        let mut both = [self.documents.clone(), self.documents.iter().rev().cloned().collect()]
            .map(|documents| collected(&documents).decide(&self.facts));
        assert_eq!(both[0], both[1], "the order of arrival decides nothing");
        self.ids.iter().map(|id| both[0].remove(id)).collect()
    }

    /// The number of the one release that is wanted, if one is.
    fn wanted(&self) -> Option<usize> {
        let is_install = |decision: &Option<Decision>| matches!(decision, Some(Decision::Install { .. }));
        let decided = self.decided();
        assert!(decided.iter().filter(|decision| is_install(decision)).count() < 2, "{decided:?}");
        decided.iter().position(is_install).map(|at| at + 1)
    }

    fn is_bad(&mut self, number: usize) {
        let id = self.ids[number - 1];
        let seen = collected(&self.documents).seen_of(id);
        let why = "exit code 1".to_owned();
        let (phase, code) = ("testing".into(), "health".into());
        let mark = BadMark { state: ReleaseState::RolledBack, why, exit: Some(1), phase, code, seen };
        self.facts.bad.insert(id, mark);
    }
}

#[test]
fn a_rollout_that_rolls_back_wants_the_earlier_release_and_none_between_but_a_later_one_counts_again() {
    // T20
    let mut channel = Channel::new();
    channel.has(3);
    let to = channel.ids[0];
    channel.say(3, 2, |rollout| rollout.rollback_to = Some(to));
    assert_eq!(channel.wanted(), Some(1));
    let decided = channel.decided();
    assert_eq!(decided[1..], [Some(Decision::Superseded), Some(Decision::Superseded)]);
    let offered = collected(&channel.documents).active_releases();
    assert_eq!(offered.iter().map(Verified::id).collect::<Vec<_>>(), [to]);
    let later = accept(&mut channel.trust, &release(4), &[RELEASE]);
    channel.ids.push(later.id());
    channel.documents.push(later);
    channel.say(4, 1, |_| ());
    assert_eq!(channel.wanted(), Some(4));
}

#[test]
fn no_way_leads_back_below_the_security_floor() {
    // T18, T20
    let mut channel = Channel::new();
    let VerifiedDocument::Release(high) =
        accept(&mut channel.trust, &Release { security_counter: 2, ..release(9) }, &[RELEASE])
    else {
        panic!()
    };
    channel.facts.floors.raise(&high);
    let to = channel.ids[0];
    channel.say(3, 2, |rollout| rollout.rollback_to = Some(to));
    assert!(matches!(channel.decided()[0], Some(Decision::NotApplicable(_))));
    assert_eq!(channel.wanted(), None);
}

#[test]
fn a_pause_or_an_end_takes_nothing_away_from_a_device_that_has_the_release() {
    for state in [RolloutState::Paused, RolloutState::Aborted] {
        let mut channel = Channel::new();
        channel.say(3, 2, |rollout| rollout.state = state);
        assert_eq!(channel.wanted(), Some(2), "another device has what is active");
        channel.has(3);
        assert_eq!(channel.wanted(), None);
        channel.facts.in_place.clear();
        channel.facts.under_way.insert(channel.ids[2]);
        assert_eq!(channel.wanted(), None);
        let held = channel.decided().swap_remove(2).unwrap();
        assert!(matches!(held, Decision::Prepare { .. } | Decision::Held(RolloutState::Aborted)), "{held:?}");
    }
}

#[test]
fn a_release_that_went_bad_is_tried_again_only_when_a_later_rollout_says_so() {
    // T21
    let mut channel = Channel::new();
    channel.is_bad(3);
    assert_eq!(channel.wanted(), Some(2), "what was there before stays wanted");
    assert!(matches!(&channel.decided()[2], Some(Decision::Bad(mark)) if mark.why == "exit code 1"));
    channel.say(3, 2, |_| ());
    assert_eq!(channel.wanted(), Some(2), "it does not say retry");
    channel.say(3, 3, |rollout| (rollout.retry, rollout.attempts_max) = (true, 2));
    assert_eq!(channel.wanted(), Some(3));
    assert!(matches!(channel.decided()[2], Some(Decision::Install { attempts_max: 2, .. })));
    channel.is_bad(3);
    assert_eq!(channel.wanted(), Some(2), "that Rollout had its try");
    // Another Rollout of the same release that came since.
    let id = channel.ids[2];
    channel.say(2, 2, |rollout| (rollout.release, rollout.retry) = (id, true));
    assert_eq!(channel.wanted(), Some(3));
    // It is no concern when a later one is wanted anyway.
    channel.is_bad(1);
    assert_eq!(channel.decided()[0], Some(Decision::Superseded));
}

#[test]
fn a_release_whose_components_are_not_installed_in_its_range_is_rejected_and_says_which() {
    // T22
    let decided = |range: &str, in_place: bool| {
        let mut channel = Channel::with_app(range);
        if in_place {
            channel.has(2);
        }
        match channel.decided().pop().unwrap() {
            Some(Decision::Rejected(why)) => why,
            Some(Decision::Install { .. }) => String::new(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(decided(">=1.2, <3", true), "");
    assert_eq!(decided(">=2.1", true), "it needs pump >=2.1; 2.0.0 is installed");
    assert_eq!(decided(">=1", false), "it needs pump >=1, which is not installed");
}

/// What a later release has no use for stays where it is, and counted as installed.
#[test]
fn of_what_is_installed_only_the_newest_of_a_channel_meets_what_another_release_asks_for() {
    // T22
    let mut channel = Channel::with_app("<2");
    let (first, second) = (channel.ids[0], channel.ids[1]);
    channel.facts.in_place = [("bin/app".to_owned(), second), ("etc/extra".to_owned(), first)].into();
    let why = "it needs pump <2; 2.0.0 is installed".to_owned();
    assert_eq!(channel.decided().pop().unwrap(), Some(Decision::Rejected(why)));
}

/// What a release asks of its predecessor is no longer so once it is in place: a device that asked again went back to
/// the predecessor, from there forward once more, and so on.
#[test]
fn a_release_that_was_let_in_by_what_it_replaced_stays() {
    // T22
    let mut channel = Channel::new();
    let components = [("pump".to_owned(), "<3".to_owned())].into();
    let mut next = Release { version: "4.0.0".into(), ..release(4) };
    next.compatibility.components = components;
    let next = accept(&mut channel.trust, &next, &[RELEASE]);
    channel.ids.push(next.id());
    channel.documents.push(next);
    channel.say(4, 1, |_| ());
    channel.has(2);
    assert_eq!(channel.wanted(), Some(4));
    channel.facts.in_place.clear();
    channel.facts.under_way.insert(channel.ids[3]);
    assert_eq!(channel.wanted(), Some(4), "while it is installed");
    channel.facts.under_way.clear();
    channel.has(4);
    assert_eq!(channel.wanted(), Some(4), "when it is");
    channel.has(3);
    assert!(matches!(channel.decided()[3], Some(Decision::Rejected(_))), "elsewhere it is refused");
}

#[test]
fn nobody_asks_for_a_release_that_was_refused_when_a_later_one_is_wanted() {
    let mut channel = Channel::new();
    let mut next = release(4);
    next.compatibility.components = [("boot".to_owned(), ">=1".to_owned())].into();
    for next in [next, release(5)] {
        let next = accept(&mut channel.trust, &next, &[RELEASE]);
        channel.ids.push(next.id());
        channel.documents.push(next);
    }
    channel.say(4, 1, |_| ());
    assert!(matches!(channel.decided()[3], Some(Decision::Rejected(_))));
    assert_eq!(channel.wanted(), Some(3));
    channel.say(5, 1, |_| ());
    assert_eq!((channel.wanted(), channel.decided().swap_remove(3)), (Some(5), Some(Decision::Superseded)));
}

// T23
#[test]
fn a_paused_release_is_prepared_unless_what_is_wanted_now_would_be_in_its_way() {
    let is_prepared = |channel: &Channel, number: usize| {
        matches!(channel.decided()[number - 1], Some(Decision::Prepare { .. }))
    };
    let mut channel = Channel::new();
    channel.say(3, 2, |rollout| rollout.state = RolloutState::Paused);
    assert_eq!(channel.wanted(), Some(2));
    assert_eq!(channel.decided()[2], Some(Decision::Held(RolloutState::Paused)), "2 is to be placed first");
    channel.has(2);
    assert!(is_prepared(&channel, 3) && channel.wanted() == Some(2));
    channel.facts.under_way.insert(channel.ids[1]);
    assert!(!is_prepared(&channel, 3), "2 is rolled back");
    channel.facts.under_way.clear();
    // Of several the newest.
    channel.say(2, 2, |rollout| rollout.state = RolloutState::Paused);
    channel.facts.in_place.clear();
    assert_eq!(channel.wanted(), Some(1));
    channel.has(1);
    assert!(is_prepared(&channel, 3) && !is_prepared(&channel, 2));
    let offered = |channel: &Channel| {
        let offered = collected(&channel.documents).offered_releases();
        offered.iter().map(Verified::id).collect::<Vec<_>>()
    };
    assert_eq!(offered(&channel), [channel.ids[0], channel.ids[2]]);
    channel.is_bad(3);
    assert!(matches!(channel.decided()[2], Some(Decision::Bad(_))), "a pause does not hide that");
    channel.facts.bad.clear();
    channel.facts.hardware = "other".into();
    channel.say(3, 3, |rollout| rollout.state = RolloutState::Aborted);
    assert_eq!(channel.decided()[2], Some(Decision::Held(RolloutState::Aborted)));
    assert_eq!(offered(&channel), [channel.ids[0], channel.ids[1]]);
    // What is older than what is wanted is not fetched.
    channel.say(1, 2, |rollout| rollout.state = RolloutState::Paused);
    channel.say(3, 4, |_| ());
    channel.has(3);
    assert_eq!(channel.decided()[0], Some(Decision::Superseded));
    assert_eq!(offered(&channel), [channel.ids[2]]);
}

/// What it had written was removed with what went, and when it was switched in it was missing.
// T20, T23
#[test]
fn a_paused_release_waits_while_something_is_taken_away_at_its_destination_or_could_not_be_brought_back() {
    let mut channel = Channel::new();
    let extra = |release: Release, destination: &str| {
        let mut artifact = release.artifacts[0].clone();
        artifact.destination = destination.into();
        artifact
    };
    let mut wider = Release { version: "4.0.0".into(), ..release(4) };
    wider.artifacts.push(extra(release(4), "etc/extra"));
    let mut paused = Release { channel: "beta".into(), ..release(5) };
    paused.artifacts = vec![extra(release(5), "etc/extra")];
    for release in [wider, paused] {
        let release = accept(&mut channel.trust, &release, &[RELEASE]);
        channel.ids.push(release.id());
        channel.documents.push(release);
    }
    let wider = channel.ids[3];
    channel.say(4, 1, |_| ());
    channel.say(5, 1, |rollout| rollout.state = RolloutState::Paused);
    let decided = |channel: &Channel| channel.decided().pop().unwrap().unwrap();
    let is_held = |channel: &Channel| decided(channel) == Decision::Held(RolloutState::Paused);
    assert!(is_held(&channel), "the other one is to be placed first");
    channel.facts.in_place = [("bin/app".into(), wider), ("etc/extra".into(), wider)].into();
    assert!(matches!(decided(&channel), Decision::Prepare { .. }));
    let first = channel.ids[0];
    channel.say(4, 2, |rollout| rollout.rollback_to = Some(first));
    for app in [wider, first] {
        channel.facts.in_place = [("bin/app".into(), app), ("etc/extra".into(), wider)].into();
        assert!(is_held(&channel), "it is about to be taken away");
    }
    channel.has(1);
    assert!(matches!(decided(&channel), Decision::Prepare { .. }), "all is done");
    channel.is_bad(4);
    channel.facts.bad.get_mut(&wider).unwrap().state = ReleaseState::Inconsistent;
    assert!(is_held(&channel), "somebody must look");
}

proptest! {
    #![proptest_config(cases(2))]

    #[test]
    fn every_order_of_arrival_ends_with_the_same_decisions(order in Just(documents()).prop_shuffle()) {
        let (mut one, mut other) = (Device::new(), Device::new());
        documents().iter().for_each(|envelope| one.arrive(envelope));
        order.iter().for_each(|envelope| other.arrive(envelope));
        let expected = collected(one.held.values()).decide(&facts());
        let installs = expected.values().filter(|decision| matches!(decision, Decision::Install { .. })).count();
        prop_assert_eq!(installs, 1);
        prop_assert_eq!(&expected, &collected(other.held.values()).decide(&facts()));
        let offered = |device: &Device| {
            let releases = collected(device.held.values()).active_releases();
            releases.iter().map(Verified::id).collect::<Vec<_>>()
        };
        prop_assert_eq!(offered(&one), offered(&other));
    }

    // What the owner is told comes in order of arrival, older sequences among it.
    #[test]
    fn a_site_that_hears_of_older_rollouts_later_decides_by_the_newest(
        order in Just((1_u64..=4).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let states = [RolloutState::Active, RolloutState::Paused, RolloutState::Aborted, RolloutState::Active];
        let versions = order.iter().zip(order.iter().map(|at| states[*at as usize - 1]));
        let heard: Vec<_> = versions
            .map(|(sequence, state)| accept(&mut trust(), &rollout(*sequence, state), &[ROLLOUT]))
            .collect();
        let site = collected(&heard);
        prop_assert_eq!(site.rollouts.values().map(|rollout| rollout.sequence).collect::<Vec<_>>(), vec![4]);
    }
}

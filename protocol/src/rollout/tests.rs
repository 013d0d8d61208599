//! T15 to T19, T6: which release a device shall have, whatever came first.

use super::*;
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

//! What somebody at the device may take back, and what comes back then.

use super::*;
use samara_protocol::document::{ArtifactKind, ConfigOptions, Merge};

/// A configuration that is merged into what is there.
fn merged(number: u64, text: &str) -> Release {
    let mut release = release_of(number, text.as_bytes());
    release.artifacts[0].kind = ArtifactKind::Config;
    release.artifacts[0].config = Some(ConfigOptions { merge: Merge::Toml, validate: None });
    release
}

impl Bench {
    pub(super) async fn goes_by_hand(&mut self, id: Option<DocumentId>) -> RollBack {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.agent.on_order(Order::RollBack { release: id, answer }).await;
        self.settle().await;
        answered.await.unwrap().unwrap()
    }

    async fn withdraw(&mut self, release: DocumentId) {
        let (releases, reason) = (vec![release], "it leaks".to_owned());
        let withdrawal =
            Withdrawal { site: Some(SITE), product: None, releases, reason, purge: false, crit: vec![] };
        self.hear(&withdrawal, 3).await;
        self.settle().await;
    }
}

/// The configuration of the third changed nothing, so that the one of the first was still what was kept; and what the
/// program had written meanwhile made the second one unknown.
#[tokio::test]
async fn of_a_merged_configuration_the_one_before_comes_back_also_if_the_later_one_changed_nothing() {
    let mut bench = Bench::new().await;
    let mut texts = Vec::new();
    for (number, text) in [(2, "a = 0\n"), (3, "a = 1\nb = 2\n"), (4, "a = 1\n")] {
        bench.publish(number + 2, merged(number.into(), text), |_| ()).await;
        bench.bring(text.as_bytes()).await;
        bench.settle().await;
        texts.push(bench.there());
    }
    assert_eq!(texts, ["a = 0\n", "a = 1\nb = 2\n", "a = 1\nb = 2\n"]);
    std::fs::write(bench.dir.path().join("install/app"), "a = 1\nb = 3\n").unwrap();
    bench.goes_by_hand(None).await;
    assert_eq!(bench.there(), texts[1]);
}

#[tokio::test]
async fn a_release_in_place_whose_rollout_was_ended_or_that_was_withdrawn_goes_by_hand_also_after_a_restart()
{
    for is_withdrawn in [false, true] {
        let (mut bench, next) = Bench::with_next(&[], |_| ()).await;
        bench.settle().await;
        match is_withdrawn {
            true => {
                // The one before is not wanted either, so that nothing takes its place.
                bench.roll_out(3, 2, bench.release, |rollout| rollout.state = RolloutState::Aborted).await;
                bench.withdraw(next).await;
            }
            false => bench.roll_out(4, 2, next, |rollout| rollout.state = RolloutState::Aborted).await,
        }
        let mut bench = bench.restarted().await;
        bench.settle().await;
        assert_eq!(bench.there().as_bytes(), NEXT);
        let begun = bench.goes_by_hand(None).await;
        assert_eq!((begun.release, begun.to), (next, Some(bench.release)));
        assert_eq!(bench.there().as_bytes(), BYTES);
        let state = if is_withdrawn { ReleaseState::Withdrawn } else { ReleaseState::RolledBack };
        assert_eq!(bench.standing_of(&next).0, state);
        let mut bench = bench.restarted().await;
        bench.settle().await;
        assert_eq!(bench.there().as_bytes(), BYTES, "it stays so");
    }
}

/// What a paused release keeps open counted as installed, and a roll back of it took the bytes of its successor away.
#[tokio::test]
async fn what_is_no_longer_in_place_does_not_go_by_hand_while_a_paused_release_stands_ready() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let mut other = Release { channel: "beta".into(), ..release_of(9, b"beside") };
    other.artifacts[0].destination = "beside".into();
    let other = bench.publish(9, other, |rollout| rollout.state = RolloutState::Paused).await;
    bench.bring(b"beside").await;
    bench.settle().await;
    assert_eq!(bench.agent.work[&other].state(), Stands::Staged);
    bench.publish(4, release_of(2, NEXT), |_| ()).await;
    bench.bring(NEXT).await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.standing().0), (NEXT, ReleaseState::Superseded));
    let refused = bench.agent.roll_back(Some(bench.release)).unwrap_err();
    assert!(refused.ends_with("is not installed here"), "{refused}");
}

#[tokio::test]
async fn what_keeps_a_release_from_being_rolled_back_is_said() {
    let (mut bench, next) = Bench::with_next(&[], |_| ()).await;
    bench.settle().await;
    // Somebody tidied up.
    let place = bench.dir.path().join("install/app.samara-previous");
    std::fs::remove_file(&place).unwrap();
    bench.goes_by_hand(None).await;
    assert_eq!(bench.agent.work[&next].state(), Stands::RollingBack);
    let said = bench.agent.explain().text;
    let begin = "pump 2 is rolled back (the version before was wanted at the device), which does not work: ";
    assert!(said.starts_with(begin) && said.contains("app") && said.contains("tried again in"), "{said}");
}

#[tokio::test]
async fn a_release_that_was_withdrawn_and_stays_says_so() {
    let (mut bench, next) = Bench::with_next(&[], |_| ()).await;
    bench.settle().await;
    bench.roll_out(3, 2, bench.release, |rollout| rollout.state = RolloutState::Aborted).await;
    bench.withdraw(next).await;
    let said = bench.agent.explain().text;
    assert_eq!(said, "pump 2 was withdrawn: it leaks; still installed.");
    let mut bench = bench.restarted().await;
    bench.goes_by_hand(None).await;
    let said = bench.agent.explain().text;
    assert_eq!(said, "pump 2 was withdrawn: it leaks.");
}

/// A hook that ends the power would end it at each start.
#[tokio::test]
async fn a_release_whose_pre_check_hook_never_ends_is_refused_until_a_later_rollout_asks_again() {
    let (mut bench, next) = Bench::with_next(&[(HookStep::PreCheck, "#!/bin/sh\n")], |_| ()).await;
    let cut = |bench: &Bench, cuts| {
        let rollout = bench.agent.work[&next].rollout;
        bench.agent.parts.state.keep_pre_checks_cut(next, rollout, cuts).unwrap();
    };
    // The check before it is under way.
    cut(&bench, 6);
    bench.settle().await;
    for _ in 0..2 {
        let (state, why) = bench.standing_of(&next);
        assert!(
            state == ReleaseState::Rejected && why.contains("each time that it was checked (6 times)"),
            "{why}"
        );
        assert_eq!(bench.there().as_bytes(), BYTES);
        bench = bench.restarted().await;
        bench.settle().await;
    }
    bench.roll_out(4, 2, next, |rollout| rollout.retry = true).await;
    bench.settle().await;
    assert_eq!((bench.standing_of(&next).0, bench.there().as_bytes()), (ReleaseState::Installed, NEXT));
    let rollout = bench.agent.work[&next].rollout;
    assert_eq!(bench.agent.parts.state.pre_checks_cut(next, rollout).unwrap(), 0);
}

/// The clock was a year ahead when the first one came, and right again when the other did.
#[tokio::test]
async fn what_goes_by_hand_is_what_was_installed_last_whatever_the_clock_said() {
    let (mut bench, next) = Bench::with_next(&[], |_| ()).await;
    bench.settle().await;
    for (number, bytes) in [(1, b"door 1"), (2, b"door 2")] {
        let mut door = Release { channel: "beta".into(), ..release_of(number, bytes) };
        door.artifacts[0].destination = "door".into();
        bench.publish(number as u8 + 20, door, |_| ()).await;
        bench.bring(bytes).await;
        bench.settle().await;
    }
    bench.agent.rows.get_mut(&next).unwrap().at += 31_536_000;
    let begun = bench.goes_by_hand(None).await;
    assert_ne!(begun.release, next);
    assert_eq!(bench.there().as_bytes(), NEXT);
    let door = std::fs::read(bench.dir.path().join("install/door")).unwrap();
    assert_eq!(door, b"door 1");
}

//! Going back is of a whole release: what only the later one had goes, what was there before it comes back, and what its
//! scripts did is taken back.

use super::*;
use samara_protocol::document::{Artifact, ArtifactKind, Installed, ScriptOptions};

const SCRIPT: &[u8] = b"#!/bin/sh\necho $SAMARA_VERSION >>$SAMARA_ROOT/log\n";
const BACK: &[u8] = b"#!/bin/sh\necho $SAMARA_VERSION back to $SAMARA_VERSION_BEFORE >>$SAMARA_ROOT/log\n";

/// Version 2: beside the file a second one, one where a file of the site's is, and a script.
fn wider() -> Release {
    let mut release = release_of(2, NEXT);
    let file = release.artifacts[0].clone();
    for name in ["extra", "theirs"] {
        release.artifacts.push(Artifact { name: name.into(), destination: name.into(), ..file.clone() });
    }
    let mut script = Artifact {
        name: "migrate".into(),
        kind: ArtifactKind::Script,
        destination: "migrate".into(),
        installed: Installed { hash: blob(SCRIPT).content, size: SCRIPT.len() as u64 },
        script: Some(ScriptOptions { args: vec![], timeout_seconds: 20, undo: Some(blob(BACK)) }),
        ..file
    };
    script.representations[0].data = blob(SCRIPT);
    release.artifacts.push(script);
    release
}

impl Bench {
    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join("install").join(name)).ok()
    }

    /// Version 1 was in place, and now version 2 is.
    async fn widened() -> (Self, DocumentId) {
        let mut bench = Self::new().await;
        bench.install().await;
        std::fs::write(bench.dir.path().join("install/theirs"), "of the site").unwrap();
        let next = bench.publish(4, wider(), |_| ()).await;
        for bytes in [NEXT, SCRIPT, BACK] {
            bench.bring(bytes).await;
        }
        bench.settle().await;
        assert_eq!(bench.standing_of(&next), (ReleaseState::Installed, String::new()));
        assert_eq!(bench.read("log").as_deref(), Some("2\n"));
        (bench, next)
    }

    /// Waits are over until nothing is left to be done.
    async fn end(&mut self) {
        self.settle().await;
        while let Some(work) = self.agent.work.values_mut().find(|work| work.state() == Stands::Failed) {
            work.machine.handle(Timestamp(u64::MAX), Input::Tick);
            self.agent.pump().await;
            self.settle().await;
        }
    }

    fn is_as_version_1_left_it(&self) {
        assert_eq!(self.there().as_bytes(), BYTES);
        assert_eq!(self.read("theirs").as_deref(), Some("of the site"));
        assert_eq!((self.read("extra"), self.read("migrate")), (None, None));
        let journal = self.agent.parts.state.journal().unwrap();
        assert_eq!(journal, [("app".to_owned(), self.release)].into());
        let names = std::fs::read_dir(self.dir.path().join("install")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let half: Vec<_> = names.filter(|name| name.ends_with("-new") || name.ends_with("-kept")).collect();
        assert!(half.is_empty(), "{half:?}");
    }
}

#[tokio::test]
async fn a_roll_back_by_hand_takes_away_what_the_earlier_release_lacks_and_takes_its_script_back() {
    let (mut bench, next) = Bench::widened().await;
    let begun = bench.agent.roll_back(None).unwrap();
    assert_eq!((begun.release, begun.not_undone), (next, vec![]));
    bench.agent.pump().await;
    bench.settle().await;
    assert_eq!(bench.standing_of(&next).0, ReleaseState::RolledBack);
    bench.is_as_version_1_left_it();
    assert_eq!(bench.read("log").as_deref(), Some("2\n2 back to 1\n"));
}

#[tokio::test]
async fn a_rollout_that_rolls_back_takes_away_what_the_earlier_release_lacks_and_takes_its_script_back() {
    let (mut bench, next) = Bench::widened().await;
    let first = bench.release;
    bench.roll_out(4, 2, next, |rollout| rollout.rollback_to = Some(first)).await;
    bench.bring(BYTES).await;
    bench.settle().await;
    assert_eq!((bench.state(), bench.standing_of(&next).0), (Stands::Committed, ReleaseState::Superseded));
    bench.is_as_version_1_left_it();
    assert_eq!(bench.read("log").as_deref(), Some("2\n2 back to 1\n"));
    let row = &bench.agent.parts.state.rows().unwrap()[&first];
    assert_eq!((row.record.attempt, row.surplus.len()), (1, 0));
}

#[tokio::test]
async fn going_back_may_be_cut_after_any_step() {
    for is_by_hand in [true, false] {
        for steps in 0..16 {
            let (mut bench, next) = Bench::widened().await;
            let first = bench.release;
            if is_by_hand {
                bench.agent.roll_back(None).unwrap();
                bench.agent.pump().await;
            } else {
                bench.roll_out(4, 2, next, |rollout| rollout.rollback_to = Some(first)).await;
                bench.bring(BYTES).await;
            }
            bench.run(steps).await;
            let mut bench = bench.restarted().await;
            bench.end().await;
            bench.is_as_version_1_left_it();
            let log = bench.read("log").unwrap();
            assert!(log.ends_with("2 back to 1\n"), "after {steps} steps: {log}");
        }
    }
}

#[tokio::test]
async fn a_way_back_that_fails_leaves_the_later_release_with_all_that_it_did() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let only_once = "#!/bin/sh\n! grep -q back $SAMARA_ROOT/log\n";
    let earlier = bench.publish(4, next_with(&[(HookStep::PostInstall, only_once)]), |_| ()).await;
    bench.bring(NEXT).await;
    bench.bring(only_once.as_bytes()).await;
    bench.settle().await;
    let later = Release { number: 3, version: "3".into(), ..wider() };
    let later = bench.publish(5, later, |_| ()).await;
    for bytes in [NEXT, SCRIPT, BACK] {
        bench.bring(bytes).await;
    }
    bench.settle().await;
    assert_eq!(bench.read("log").as_deref(), Some("3\n"));
    bench.roll_out(5, 2, later, |rollout| rollout.rollback_to = Some(earlier)).await;
    bench.bring(only_once.as_bytes()).await;
    bench.settle().await;
    assert_eq!(bench.standing_of(&earlier).0, ReleaseState::RolledBack);
    assert_eq!(bench.read("log").as_deref(), Some("3\n3 back to 2\n3\n"));
    for name in ["app", "extra", "theirs"] {
        assert_eq!((name, bench.read(name).unwrap().as_bytes()), (name, NEXT));
    }
    let journal = bench.agent.parts.state.journal().unwrap();
    assert_eq!(journal, ["app", "extra", "migrate", "theirs"].map(|name| (name.to_owned(), later)).into());
}

#[tokio::test]
async fn a_script_without_an_undo_is_named_when_its_release_goes_by_hand() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let mut next = wider();
    next.artifacts.last_mut().unwrap().script.as_mut().unwrap().undo = None;
    bench.publish(4, next, |_| ()).await;
    for bytes in [NEXT, SCRIPT] {
        bench.bring(bytes).await;
    }
    bench.settle().await;
    let begun = bench.agent.roll_back(None).unwrap();
    assert_eq!(begun.not_undone, ["migrate"]);
    bench.agent.pump().await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.read("migrate")), (BYTES, None));
    assert_eq!(bench.read("log").as_deref(), Some("2\n"));
}

#[tokio::test]
async fn going_back_needs_the_bytes_of_a_script_only_where_it_has_an_undo_and_keeps_those_whatever_is_offered()
 {
    for has_undo in [true, false] {
        let mut bench = Bench::new().await;
        bench.install().await;
        let first = bench.release;
        let mut next = wider();
        if !has_undo {
            next.artifacts.last_mut().unwrap().script.as_mut().unwrap().undo = None;
        }
        let next = bench.publish(4, next, |_| ()).await;
        for bytes in [NEXT, SCRIPT, BACK] {
            bench.bring(bytes).await;
        }
        bench.settle().await;
        let kept = bench.agent.contents_wanted();
        bench.roll_out(4, 2, next, |rollout| rollout.rollback_to = Some(first)).await;
        let needed: Vec<_> = bench.agent.work[&first].blobs.iter().map(|blob| blob.content).collect();
        for script in [SCRIPT, BACK] {
            let content = blob(script).content;
            assert_eq!(needed.contains(&content), has_undo);
            assert!(!has_undo || kept.contains(&content));
        }
    }
}

#[tokio::test]
async fn a_release_that_never_left_its_place_comes_back_by_what_is_beside_it_going() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let first = bench.release;
    let mut next = release_of(2, NEXT);
    next.artifacts[0] =
        Artifact { name: "extra".into(), destination: "extra".into(), ..next.artifacts[0].clone() };
    let next = bench.publish(4, next, |_| ()).await;
    bench.bring(NEXT).await;
    bench.settle().await;
    assert_eq!((bench.read("app").is_some(), bench.read("extra").is_some()), (true, true));
    bench.roll_out(4, 2, next, |rollout| rollout.rollback_to = Some(first)).await;
    bench.bring(BYTES).await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.read("extra")), (BYTES, None));
    assert_eq!(bench.agent.parts.state.journal().unwrap(), [("app".to_owned(), first)].into());
    assert!(bench.agent.roll_back(None).is_err(), "nothing was there before it");
}

#[tokio::test]
async fn a_roll_back_that_is_decided_in_the_middle_of_an_install_takes_away_all_that_this_brings() {
    for steps in 0..14 {
        let mut bench = Bench::new().await;
        bench.install().await;
        let first = bench.release;
        std::fs::write(bench.dir.path().join("install/theirs"), "of the site").unwrap();
        let next = bench.publish(4, wider(), |_| ()).await;
        for bytes in [NEXT, SCRIPT, BACK] {
            bench.bring(bytes).await;
        }
        bench.run(steps).await;
        bench.roll_out(4, 2, next, |rollout| rollout.rollback_to = Some(first)).await;
        bench.bring(BYTES).await;
        bench.end().await;
        bench.is_as_version_1_left_it();
    }
}

#[tokio::test]
async fn an_undo_and_the_hooks_of_a_roll_back_stay_where_the_copy_of_what_is_in_place_gives_way() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let hook = b"#!/bin/sh\necho before >>$SAMARA_ROOT/log\n";
    let large = vec![2; PIECE_BYTES as usize];
    let mut next = Release {
        hooks: next_with(&[(HookStep::PreRollback, std::str::from_utf8(hook).unwrap())]).hooks,
        ..wider()
    };
    next.artifacts.truncate(1);
    next.artifacts[0] = release_of(2, &large).artifacts[0].clone();
    next.artifacts.push(wider().artifacts.pop().unwrap());
    let there = bench.publish(4, next, |_| ()).await;
    for bytes in [&large[..], SCRIPT, BACK, hook] {
        bench.bring(bytes).await;
    }
    bench.settle().await;
    assert_eq!(bench.read("log").as_deref(), Some("2\n"));
    bench.limit_to(&[&large, SCRIPT, BACK, hook]).await;
    let third = vec![3; PIECE_BYTES as usize];
    let third_id = bench.publish(5, release_of(3, &third), |_| ()).await;
    assert_eq!(
        bench.agent.work[&third_id].state(),
        Stands::Downloading,
        "{:?}",
        bench.standing_of(&third_id)
    );
    let held: BTreeSet<_> = bench.agent.parts.store.contents().await.into_iter().collect();
    assert!(!held.contains(&blob(&large).content));
    assert!([SCRIPT, BACK, hook].iter().all(|bytes| held.contains(&blob(bytes).content)));
    bench.agent.roll_back(Some(there)).unwrap();
    bench.agent.fetch(there).await;
    bench.agent.pump().await;
    bench.settle().await;
    assert_eq!(bench.agent.rows[&there].record.state, Stands::RolledBack);
    assert_eq!(bench.read("log").as_deref(), Some("2\nbefore\n2 back to 1\n"));
}

/// What the site had gone back from was said to be outrun by a later release.
#[tokio::test]
async fn a_release_that_a_rollout_went_back_from_says_so() {
    let (mut bench, next) = Bench::with_next(&[], |_| ()).await;
    bench.settle().await;
    let first = bench.release;
    bench.roll_out(4, 2, next, |rollout| rollout.rollback_to = Some(first)).await;
    assert_eq!(bench.standing_of(&next), (ReleaseState::Installed, String::new()), "it is still there");
    bench.bring(BYTES).await;
    bench.settle().await;
    let why = "the site went back to an earlier release".to_owned();
    assert_eq!(bench.standing_of(&next), (ReleaseState::Superseded, why));
    bench.publish(5, release_of(3, b"last"), |_| ()).await;
    bench.settle().await;
    let why = "a later release is wanted".to_owned();
    assert_eq!(bench.standing_of(&next), (ReleaseState::Superseded, why));
}

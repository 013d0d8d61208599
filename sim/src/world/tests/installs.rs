//! What becomes of a release once it is there: stories of installs that go well, go wrong, and are cut.

use super::*;
use crate::installs::{DeviceInstall, InstallReport};
use samara_protocol::install::State;

/// Eight devices, a tenth of a second to fetch it, and a health check that wants to see it pass for four seconds.
const INSTALL: &str = "[simulated.install]\nstage = \"2s\"\nactivate = \"500ms\"\n\
    hooks = [\"pre_check\", \"pre_install\"]\n\
    [simulated.install.health]\ngrace_seconds = 6\ninterval_seconds = 2\nsoak_seconds = 4\n";

fn site() -> String {
    SMALL.replace("timeout = 120", "timeout = 900").replace("16MiB", "1MiB") + INSTALL
}

fn fault(who: &str, fault: &str, more: &str) -> String {
    format!("[[simulated.install.faults]]\nwho = {who}\nfault = \"{fault}\"\n{more}\n")
}

fn change(when: &str, verb: &str) -> String {
    format!("[[events]]\n{when}\ndo = \"{verb}\"\n")
}

/// Runs a plan that installs something, and says how the installs ended.
fn installed(text: &str, seed: u64) -> InstallReport {
    run(text, seed).installs.unwrap()
}

fn device<'a>(report: &'a InstallReport, name: &str) -> &'a DeviceInstall {
    report.per_device.iter().find(|device| device.device == name).unwrap()
}

#[test]
fn a_release_that_works_is_committed_everywhere_after_it_was_staged_and_tested() {
    let report = installed(&site(), 1);
    assert_eq!((report.devices, report.committed, report.rolled_back), (8, 8, 0));
    // Half a second to fetch it, two to stage it, a half to switch, four of soak.
    let last = report.last_committed_seconds.unwrap();
    assert!((7.0..9.5).contains(&last), "{last}");
    assert!(report.median_committed_seconds <= report.p99_committed_seconds);
}

#[test]
fn without_health_checks_what_could_be_activated_is_committed() {
    let without = site().split("[simulated.install.health]").next().unwrap().to_owned();
    let report = installed(&without, 1);
    assert!(report.committed == 8 && report.last_committed_seconds.unwrap() < 5.0, "{report:?}");
}

#[test]
fn a_release_that_does_not_work_somewhere_is_rolled_back_there_and_remembered_as_bad() {
    let report = installed(&(site() + &fault("[2, 5]", "health", "")), 2);
    assert_eq!((report.committed, report.rolled_back), (6, 2));
    let bad = device(&report, "d2");
    assert_eq!((bad.state, bad.why.as_str()), (Some(State::RolledBack), "check works: it fails"));
    assert_eq!((bad.installs, bad.committed_seconds), (1, None));
}

#[test]
fn a_bad_release_is_tried_again_when_a_later_rollout_says_so_and_not_before() {
    let bad = site() + &fault("[2]", "health", "times = 1");
    let at = |text: &str| device(&installed(text, 3), "d2").clone();
    assert_eq!(at(&bad).installs, 1);
    // A pause and its end are later sequences too, and ask for no other try.
    let paused = bad.clone() + &change("at = 20", "rollout_pause") + &change("at = 25", "rollout_resume");
    assert_eq!((at(&paused).installs, at(&paused).state), (1, Some(State::RolledBack)));
    let again = bad + &change("on = \"first_rolled_back\"\nafter = 30", "rollout_retry");
    assert_eq!((at(&again).installs, at(&again).state), (2, Some(State::Committed)));
    // It restarted meanwhile, and has not forgotten.
    let cut = again + &event("at = 30", "power_cut", "2") + &event("at = 32", "restart", "2");
    assert_eq!((at(&cut).installs, at(&cut).state), (2, Some(State::Committed)));
}

#[test]
fn the_rollout_says_how_often_a_device_tries_before_it_calls_a_release_bad() {
    let twice = site().replace("[simulated.install]", "[simulated.install]\nattempts_max = 2");
    let report = installed(&(twice + &fault("[1]", "health", "times = 1") + &fault("[2]", "health", "")), 4);
    assert_eq!((device(&report, "d1").state, device(&report, "d1").installs), (Some(State::Committed), 2));
    assert_eq!((device(&report, "d2").state, device(&report, "d2").installs), (Some(State::RolledBack), 2));
}

#[test]
fn a_device_whose_hook_puts_it_off_comes_later_and_one_whose_hook_says_no_refuses() {
    let faults = fault("[1]", "retry_later", "step = \"pre_check\"\ntimes = 3")
        + &fault("[2]", "hook", "step = \"pre_check\"");
    let report = installed(&(site() + &faults), 5);
    // Some five, ten and twenty seconds.
    let late = device(&report, "d1").committed_seconds.unwrap();
    assert!((30.0..60.0).contains(&late), "{late}");
    let refused = device(&report, "d2");
    assert_eq!((refused.state, refused.installs), (Some(State::Rejected), 0));
    assert_eq!((report.committed, report.refused, report.rolled_back), (7, 1, 0));
}

#[test]
fn a_device_without_room_waits_and_one_that_is_too_small_refuses_and_fetches_nothing() {
    let done = run(&(site() + &fault("[1]", "space", "times = 4") + &fault("[2]", "space", "")), 6);
    let report = done.installs.unwrap();
    assert!(device(&report, "d1").committed_seconds.is_some_and(|at| at > 20.0), "{report:?}");
    let small = device(&report, "d2");
    assert_eq!(small.state, Some(State::Rejected));
    assert_eq!(small.why, "it needs 1048576 bytes, there is room for 524288 in all");
    // What refuses the release is not waited for.
    assert_eq!((done.report.devices, done.report.verified), (7, 7));
}

#[test]
fn a_step_that_fails_is_undone_and_one_that_cannot_be_undone_at_once_is_tried_until_it_is() {
    let faults = fault("[1]", "activate", "")
        + &fault("[1]", "undo", "times = 3")
        + &fault("[2]", "stage", "times = 2");
    let report = installed(&(site() + &faults), 7);
    assert_eq!(device(&report, "d1").why, "app cannot be switched");
    assert_eq!((report.committed, report.rolled_back), (7, 1));
    assert!(device(&report, "d2").committed_seconds.is_some_and(|at| at > 17.0), "{report:?}");
}

#[test]
fn a_paused_rollout_lets_devices_stage_and_goes_on_where_it_was() {
    let paused = site() + &change("at = 1", "rollout_pause") + &change("at = 60", "rollout_resume");
    let report = installed(&paused, 8);
    assert_eq!(report.committed, 8);
    // It had been staged: switching it and four seconds of soak remained.
    let last = report.last_committed_seconds.unwrap();
    assert!((64.5..66.5).contains(&last), "{last}");
    let never = installed(&(site() + &change("at = 1", "rollout_pause")), 8);
    assert!(never.per_device.iter().all(|device| device.state == Some(State::Staged)), "{never:?}");
}

#[test]
fn an_aborted_rollout_stops_who_has_not_begun_and_takes_nothing_away() {
    let spread = site().replace("stage = \"2s\"", "stage = [\"1s\", \"40s\"]");
    let report = installed(&(spread + &change("on = \"first_committed\"", "rollout_abort")), 9);
    let aborted = report.per_device.iter().filter(|device| device.state == Some(State::Aborted)).count();
    assert!(report.committed >= 1 && aborted >= 3, "{report:?}");
    assert_eq!(report.committed + aborted, 8);
}

#[test]
fn a_rollout_that_ends_twice_is_refused_as_the_operators_tool_does() {
    let twice = site() + &change("at = 1", "rollout_abort") + &change("at = 2", "rollout_resume");
    let plan = Plan::parse(Path::new("x.toml"), &twice).unwrap();
    let faults = World::new(&plan, &Options::new(1)).unwrap().run(|_| ()).faults;
    assert_eq!(faults, ["the rollout is aborted: RolloutResume says nothing to it"]);
}

#[test]
fn a_device_that_dies_at_any_moment_of_an_install_ends_with_one_version_whole() {
    let mut repeated = 0;
    for tenth in 5..95 {
        let (verb, seconds) = (["kill", "power_cut"][tenth % 2], tenth as f64 / 10.0);
        let cut = event(&format!("at = {seconds}"), verb, "[1, 2, 3]")
            + &event(&format!("at = {seconds}\nafter = 3"), "restart", "[1, 2, 3]");
        let report = installed(&(site() + &cut + &fault("[3]", "health", "")), tenth as u64);
        assert_eq!((report.committed, report.rolled_back), (7, 1), "{seconds}: {report:?}");
        repeated += report.installs_repeated;
    }
    assert!(repeated > 0);
}

#[test]
fn a_release_that_brings_the_agent_restarts_it_and_is_tested_by_the_new_one() {
    let agent =
        site().replace("[simulated.install]", "[simulated.install]\nrestarts_agent = true\nrestart = \"3s\"");
    let report = installed(&(agent + &fault("[4]", "health", "")), 10);
    assert_eq!((report.committed, report.rolled_back), (7, 1));
    assert!(report.last_committed_seconds.is_some_and(|last| last > 10.0), "{report:?}");
}

#[test]
fn a_device_that_was_away_while_the_rollout_changed_does_what_the_newest_says() {
    let away = site()
        + &event("at = 60", "join", "3")
        + &change("at = 20", "rollout_pause")
        + &event("at = 30", "leave", "\"seeder\"");
    let report = installed(&away, 11);
    assert_eq!((report.committed, device(&report, "d3").state), (7, Some(State::Staged)));
}

#[test]
fn the_same_seed_installs_the_same_way() {
    let text = site() + "[[simulated.install.faults]]\nshare = \"50%\"\nfault = \"health\"\n";
    let (one, again, other) = (run(&text, 1), run(&text, 1), run(&text, 2));
    assert_eq!((one.digest, &one.installs), (again.digest, &again.installs));
    assert_ne!(one.installs, other.installs);
    assert_eq!(one.installs.unwrap().rolled_back, 4);
}

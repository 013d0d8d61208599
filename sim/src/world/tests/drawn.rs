//! Plans drawn from a seed, with everything that may go wrong at once: no rule is broken, and who lives finishes.

mod install;

use super::*;
use crate::installs::InstallReport;
use samara_protocol::install::State;
use std::fmt::Write as _;

/// Plans of the normal tests; the variable asks for more.
const PLANS: u64 = 300;
const PLANS_VARIABLE: &str = "SAMARA_DRAWN_PLANS";

/// Seeds of plans that once failed, and what they showed.
const ONCE_FAILED: [(u64, &str); 0] = [];

/// A plan: links, an artifact, liars, and a few events, of which some come in pairs.
fn draw(seed: u64) -> String {
    let mut rng = Prng::new(seed);
    let mut pick = |from: &[u64]| from[rng.below(from.len())];
    let devices = pick(&[2, 3, 5, 8, 12]);
    let (up, down, seeder) = (pick(&[5, 20, 100]), pick(&[10, 100]), pick(&[5, 20, 100]));
    let bytes = pick(&[1, 900, 3000]);
    let kind = if pick(&[0, 0, 1]) == 1 { "\"tree\"\nfiles = 20" } else { "\"file\"" };
    let discovery = if pick(&[0, 1]) == 0 { "mdns" } else { "static" };
    let mut plan = format!(
        "timeout = 300\nsettle = {}\n[devices]\ncount = {devices}\nup = \"{up}mbit\"\ndown = \"{down}mbit\"\n\
         [seeder]\nup = \"{seeder}mbit\"\n[artifact]\nkind = {kind}\nbytes = \"{bytes}KiB\"\n\
         [network]\ndiscovery = \"{discovery}\"\n",
        pick(&[0, 1, 5])
    );
    let at = |pick: &mut dyn FnMut(&[u64]) -> u64| match pick(&[0, 1, 2]) {
        0 => format!("at = 0.{}", pick(&[1, 4, 9])),
        1 => format!("at = {}", pick(&[1, 2, 4])),
        _ => format!("at_fraction = 0.{}", pick(&[1, 3, 5, 8])),
    };
    let mut add = |when: &str, after: u64, verb: &str, who: &str| {
        // Writing to a string can't fail.
        let _ = write!(plan, "[[events]]\n{when}\nafter = {after}\ndo = \"{verb}\"\nwho = {who}\n");
    };
    // The last device is left alone, so that somebody always lives.
    for device in 0..devices - 1 {
        let when = at(&mut pick);
        let (after, who) = (pick(&[0, 1, 3, 15]), device.to_string());
        match pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8]) {
            0 => add(&when, 0, "kill", &who),
            1 | 2 => {
                add(&when, 0, "kill", &who);
                add(&when, after, "restart", &who);
            }
            3 => {
                add(&when, 0, "link_down", &who);
                add(&when, after, "link_up", &who);
            }
            4 => {
                add(&when, 0, "power_cut", &who);
                add(&when, after, "restart", &who);
            }
            5 => add(&format!("at = {}", pick(&[1, 4, 20])), after, "join", &who),
            _ => {}
        }
    }
    match pick(&[0, 1, 2, 3]) {
        0 => {
            let when = at(&mut pick);
            add(&when, 0, "kill", "\"seeder\"");
            add(&when, pick(&[1, 5]), "restart", "\"seeder\"");
        }
        1 => add("on = \"safe_to_leave\"", 0, "leave", "\"seeder\""),
        _ => {}
    }
    let (disk, lie) = (pick(&[0, 1, 2]) == 0, pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    if disk {
        plan += "[simulated]\n";
        let _ = writeln!(plan, "disk = \"{}MiB\"", pick(&[1, 50]));
    }
    let lies = ["wrong_bytes", "false_haves", "silence", "flood", "withheld_documents"];
    // A liar and one who dies may be the two holders that a seeder relied on when it left.
    let seeder_leaves = plan.contains("\"leave\"");
    if let Some(lie) = lies.get(lie as usize).filter(|_| !seeder_leaves) {
        let _ = write!(plan, "[[simulated.liars]]\nwho = [0]\nlie = \"{lie}\"\n");
    }
    if discovery == "static" && pick(&[0, 1]) == 0 {
        let (up, down) = (pick(&[5, 50]), pick(&[10, 50]));
        let _ = write!(plan, "[[segments]]\ndevices = [0]\nup = \"{up}mbit\"\ndown = \"{down}mbit\"\n");
    }
    if pick(&[0, 1, 2]) == 0 {
        let (delay, loss, burst) = (pick(&[1, 40]), pick(&[0, 1, 5]), pick(&[1, 4]));
        let burst = if loss > 0 { format!("loss_burst = {burst}\n") } else { String::new() };
        let table = pick(&[0, 1]);
        let table = ["seeder", "devices"][table as usize];
        let _ = write!(
            plan,
            "[{table}.link]\ndelay = \"{delay}ms\"\njitter = \"1ms\"\nloss = \"{loss}%\"\n{burst}"
        );
    }
    plan
}

fn check(seed: u64) -> Option<InstallReport> {
    let text = install::draw(seed, &draw(seed));
    let plan = Plan::parse(Path::new("drawn.toml"), &text).unwrap();
    let done = World::new(&plan, &Options::new(seed)).unwrap().run(|_| ());
    // With too few devices left it is never safe to leave, and a part of all bytes that the dead count in is never reached.
    // Changes of the rollout that come in no order that the operator's tool would take are refused.
    let is_fault = |fault: &&String| {
        !fault.starts_with("an event of the plan never came") && !fault.starts_with("the rollout is ")
    };
    let faults: Vec<&String> = done.faults.iter().filter(is_fault).collect();
    assert_eq!(faults, Vec::<&String>::new(), "seed {seed} of\n{text}");
    let report = done.report;
    assert_eq!(report.verified, report.devices, "seed {seed} of\n{text}\n{}", report.table());
    done.installs
}

#[test]
fn in_every_drawn_plan_no_rule_is_broken_and_who_lives_finishes() {
    let plans = std::env::var(PLANS_VARIABLE).map_or(PLANS, |text| text.parse().unwrap());
    let reports: Vec<InstallReport> = (0..plans).filter_map(check).collect();
    if plans >= PLANS {
        check_variety(&reports);
    }
}

/// What is drawn comes to every end, and is cut in the middle.
fn check_variety(reports: &[InstallReport]) {
    let devices = || reports.iter().flat_map(|report| &report.per_device);
    let states: BTreeSet<State> = devices().filter_map(|device| device.state).collect();
    for end in [State::Committed, State::RolledBack, State::Rejected, State::Aborted, State::Staged] {
        assert!(states.contains(&end), "no drawn install is {end} in the end: {states:?}");
    }
    let cuts = || devices().map(|device| device.cuts);
    assert!(cuts().sum::<u32>() > 50 && cuts().max() > Some(2), "{} cuts", cuts().sum::<u32>());
}

#[test]
fn plans_that_once_failed_do_not_fail_again() {
    ONCE_FAILED.iter().for_each(|(seed, _)| drop(check(*seed)));
}

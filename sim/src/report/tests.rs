//! Pages of real runs: what they say is what the run was, and the same run has the same bytes.

use super::*;
use crate::compare::Comparison;
use crate::outcome::Happening;
use crate::simulate;
use crate::world::Options;
use std::path::Path;

const CHURN: &str = "about = \"<b>A & B</b>\"\ntimeout = 60\nsettle = 1\n[devices]\ncount = 6\nup = \"80mbit\"\n\
    down = \"80mbit\"\n[[devices.overrides]]\nwho = 4\ndown = \"4mbit\"\n[seeder]\nup = \"20mbit\"\n\
    [artifact]\nkind = \"file\"\nbytes = \"4MiB\"\n\
    [[events]]\nat = 0.5\ndo = \"kill\"\nwho = [1, 2]\n[[events]]\nat = 1.5\ndo = \"restart\"\nwho = [1, 2]\n\
    [[events]]\nat = 3\ndo = \"join\"\nwho = 5\n";

fn plan(text: &str) -> Plan {
    Plan::parse(Path::new("odd <name>.toml"), text).unwrap()
}

fn run(plan: &Plan, seed: u64) -> Outcome {
    simulate::run(plan, &Options::new(seed), |_| (), None).unwrap().outcome
}

#[test]
fn the_same_run_has_the_same_bytes() {
    let plan = plan(CHURN);
    let page = |seed| page(&plan, &run(&plan, seed)).unwrap();
    assert_eq!(page(3), page(3));
    assert_ne!(page(3), page(4));
}

#[test]
fn what_a_plan_says_is_shown_and_not_obeyed() {
    let plan = plan(CHURN);
    let page = page(&plan, &run(&plan, 3)).unwrap();
    assert!(!page.contains("<b>A") && !page.contains("odd <name>"), "{page}");
    assert!(page.contains("&lt;b&gt;A &amp; B&lt;/b&gt;") && page.contains("odd &lt;name&gt;"), "{page}");
}

#[test]
fn a_page_shows_every_figure_and_what_repeats_the_run() {
    let plan = plan(CHURN);
    let outcome = run(&plan, 3);
    let page = page(&plan, &outcome).unwrap();
    for title in [
        "Devices complete over time",
        "The seeder's uplink over time",
        "Where the bytes came from",
        "Copies of each piece",
        "The slowest devices, and what held them",
        "samara-sim run 'odd &lt;name&gt;.toml' --seed 3",
    ] {
        assert!(page.contains(title), "{title} is missing from {page}");
    }
    assert_eq!(page.matches("role=\"img\"").count(), 4);
}

#[test]
fn what_is_plotted_is_what_the_report_counts() {
    let outcome = run(&plan(CHURN), 3);
    let report = &outcome.report;
    assert_eq!((report.verified, report.devices), (6, 6));
    let complete = series::complete(report, series::end_of(&outcome));
    assert_eq!(complete.last().map(|dot| dot.1), Some(100.0));
    let last = outcome.curve.last().unwrap();
    assert_eq!(last.complete, report.verified);
    assert_eq!(last.seeder_bytes as f64 / report.artifact_bytes as f64, report.seeder_copies);
    let sent: f64 = series::uplink(&outcome.curve).chunks(2).map(|s| (s[1].0 - s[0].0) * s[0].1 / 8e-6).sum();
    assert!((sent / last.seeder_wire_bytes as f64 - 1.0).abs() < 1e-6, "{sent}");
    let bars = series::sources(report);
    let received: f64 = bars.iter().map(|bar| bar.from_seeder + bar.from_peers).sum();
    let counted: u64 = report.per_device.iter().map(|d| d.bytes_from_seeder + d.bytes_from_peers).sum();
    assert!((received - counted as f64).abs() < 1.0, "{received} {counted}");
}

#[test]
fn every_piece_left_the_seeder_and_all_copies_together_are_those_of_the_report() {
    let outcome = run(&plan(CHURN), 3);
    assert_eq!(outcome.piece_copies.len(), outcome.oracle.pieces as usize);
    let mean = outcome.piece_copies.iter().sum::<f64>() / outcome.piece_copies.len() as f64;
    assert!((mean - outcome.report.seeder_copies).abs() < 1e-9, "{mean} {}", outcome.report.seeder_copies);
    assert!(outcome.piece_copies.iter().all(|copies| *copies >= 1.0));
}

#[test]
fn a_slow_device_is_explained_by_what_happened_to_it() {
    let plan = plan(CHURN);
    let outcome = run(&plan, 3);
    let view = View { plan: &plan, outcome: &outcome };
    let slowest = slowest::slowest(view, 10);
    let reasons = |name: &str| {
        let slow = slowest.iter().find(|slow| slow.device.device == name).unwrap();
        slow.reasons.join("; ")
    };
    assert!(slowest[0].device.device == "d4", "{:?}", slowest[0]);
    assert!(reasons("d4").contains("its downlink of 4mbit alone needs 8.39 s"), "{}", reasons("d4"));
    assert!(reasons("d1").contains("was not running for 1.00 s"), "{}", reasons("d1"));
    assert!(reasons("d5").starts_with("joined at 3.00 s"), "{}", reasons("d5"));
    let events: Vec<Happening> = outcome.marks.iter().map(|mark| mark.event).collect();
    let expected = [Happening::Killed, Happening::Restarted, Happening::Joined];
    assert!(expected.iter().all(|event| events.contains(event)), "{events:?}");
}

#[test]
fn a_device_with_a_link_of_its_own_that_is_dead_is_said_to_be_cut_off() {
    let cut = CHURN.split("[[events]]").next().unwrap().to_owned()
        + "[[events]]\nat = 0.5\ndo = \"link_down\"\nwho = 3\n[[events]]\nat = 2.5\ndo = \"link_up\"\nwho = 3\n";
    let plan = plan(&cut);
    let outcome = run(&plan, 1);
    let slowest = slowest::slowest(View { plan: &plan, outcome: &outcome }, 10);
    let cut = slowest.iter().find(|slow| slow.device.device == "d3").unwrap();
    // Until the link is up again, or until it had what had arrived before.
    assert!(cut.reasons.iter().any(|reason| reason == "its link was down for 2.00 s"), "{cut:?}");
}

#[test]
fn a_run_that_fails_shows_the_sentences_and_the_command_on_its_page() {
    let plan = plan(&(CHURN.to_owned() + "[expect]\nmax_time_ratio = 0.5\n"));
    let outcome = run(&plan, 3);
    let page = page(&plan, &outcome).unwrap();
    assert!(page.contains("the time ratio is ") && page.contains("Repeat it: "), "{page}");
    assert!(page.contains("--seed 3") && page.contains("✗"), "{page}");
}

#[test]
fn an_outcome_without_anything_is_a_page_all_the_same() {
    let plan = plan(CHURN);
    let nothing =
        Outcome::of(samara_protocol::measure::RunReport::new(samara_protocol::measure::Run::default()));
    assert!(page(&plan, &nothing).is_ok());
    assert!(seeds_page(&plan, &[&nothing]).is_ok());
    assert!(comparison_page(&plan, &Comparison::new(nothing.clone(), nothing)).is_ok());
}

#[test]
fn many_seeds_and_a_comparison_have_pages_too() {
    let plan = plan(CHURN);
    let (one, two) = (run(&plan, 1), run(&plan, 2));
    let seeds = seeds_page(&plan, &[&one, &two]).unwrap();
    assert!(seeds.contains("In each of 2 runs the devices are complete after "), "{seeds}");
    let comparison = Comparison::new(one, two);
    let both = comparison_page(&plan, &comparison).unwrap();
    for [name, predicted, measured, _] in comparison.rows() {
        assert!(both.contains(&name) && both.contains(&predicted) && both.contains(&measured), "{name}");
    }
}

#[test]
fn a_summary_fits_eighty_columns_and_names_the_best_that_is_possible() {
    let plan = plan(CHURN);
    let summary = summary(&plan, &run(&plan, 3));
    assert!(summary.lines().skip(1).all(|line| line.chars().count() <= 80), "{summary}");
    assert!(summary.contains("No schedule can be faster than 8.39 s"), "{summary}");
    assert!(summary.contains("\nwhat held the slowest\n  d4: "), "{summary}");
}

/// Two of six do not take to what is installed, and one has no room for it.
const INSTALL: &str = "about = \"x\"\ntimeout = 60\nsettle = 1\n[devices]\ncount = 6\nup = \"80mbit\"\ndown = \"80mbit\"\n\
    [seeder]\nup = \"20mbit\"\n[artifact]\nkind = \"file\"\nbytes = \"2MiB\"\n\
    [simulated.install]\nstage = \"2s\"\n[simulated.install.health]\ngrace_seconds = 0\n\
    [[simulated.install.faults]]\nwho = [1, 2]\nfault = \"health\"\n\
    [[simulated.install.faults]]\nwho = [3]\nfault = \"space\"\n[expect]\nmin_committed = 4\n";

#[test]
fn a_run_that_installs_says_so_in_the_terminal_on_its_page_and_in_json() {
    let plan = plan(INSTALL);
    let outcome = run(&plan, 1);
    let sentence = "3 of 6 devices committed the release, half of them after ";
    let (page, summary) = (page(&plan, &outcome).unwrap(), summary(&plan, &outcome));
    for said in [
        "devices that have committed the release",
        "How the installs ended",
        "check works: it fails",
        sentence,
    ] {
        assert!(page.contains(said), "{said} is not in {page}");
    }
    for said in [
        "committed                 3 of 6",
        "2 rolled back (check works: it fails): d1, d2",
        "1 rejected (it needs ",
    ] {
        assert!(summary.contains(said), "{said} is not in {summary}");
    }
    assert!(summary.lines().skip(1).all(|line| line.chars().count() <= 80), "{summary}");
    let json = serde_json::to_value(&outcome).unwrap();
    assert_eq!((&json["installs"]["committed"], &json["installs"]["rolled_back"]), (&3.into(), &2.into()));
    assert_eq!(json["curve"].as_array().unwrap().last().unwrap()["committed"], 3);
    assert_eq!(outcome.failures, ["3 devices committed the release, expected at least 4"]);
    let seeds = seeds_page(&plan, &[&outcome, &run(&plan, 2)]).unwrap();
    assert!(seeds.contains("last committed") && seeds.contains("3 of 6"), "{seeds}");
}

#[test]
fn a_run_that_installs_nothing_says_nothing_of_installs() {
    let plan = plan(CHURN);
    let outcome = run(&plan, 3);
    let json = serde_json::to_string(&outcome).unwrap();
    let all = json + &page(&plan, &outcome).unwrap() + &summary(&plan, &outcome);
    assert!(!all.contains("install") && !all.contains("committed"), "{all}");
}

//! Plans that are refused, and why; and that the plans of this repository are well-formed.

use super::*;

const GOOD: &str = r#"
[devices]
count = 4
up = "100mbit"
down = "50mbit"
overrides = [{ who = 3, up = "2mbit" }]
[seeder]
up = "20mbit"
[artifact]
kind = "file"
bytes = "8MiB"
[[events]]
on = "safe_to_leave"
after = 2.5
do = "join"
who = [1]
[expect]
max_time_ratio = 1.1
"#;

fn parse(text: &str) -> Result<Plan, PlanError> {
    Plan::parse(Path::new("plans/x.toml"), text)
}

fn refusal(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    parse(&GOOD.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn a_plan_says_who_has_which_link_and_who_comes_late() {
    let plan = parse(GOOD).unwrap();
    assert_eq!(plan.name, "x");
    assert_eq!(plan.link(0), LinkRates { up: 100_000_000, down: 50_000_000 });
    assert_eq!(plan.link(3), LinkRates { up: 2_000_000, down: 50_000_000 });
    assert!(plan.joins_late(1) && !plan.joins_late(0));
    assert_eq!(plan.network.congestion_control, "cubic");
    assert_eq!(plan.expect.all_living_verified, Some(true));
    assert_eq!(plan.lower_bound_seconds(), Some((8_u64 << 20) as f64 * 8.0 / 20e6));
    let expected = Event {
        moment: Moment::On(Milestone::SafeToLeave),
        after: 2.5,
        verb: Verb::Join,
        who: vec![Party::Device(1)],
    };
    assert_eq!(plan.happenings, [expected]);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = refusal("bytes =", "byte =");
    assert!(error.contains("line 11") && error.contains("byte") && error.contains("bytes"), "{error}");
}

#[test]
fn a_wrong_unit_is_named_with_its_line_and_an_example() {
    let error = refusal("\"20mbit\"", "\"20 apples\"");
    assert!(error.contains("line 8") && error.contains("20 apples") && error.contains("20mbit"), "{error}");
}

#[test]
fn an_event_for_a_device_that_does_not_exist_is_named_with_its_line() {
    let error = refusal("who = [1]", "who = [4]");
    assert!(error.contains("line 12") && error.contains("events[0].who"), "{error}");
    assert!(error.contains("device 4, the last is 3"), "{error}");
}

#[test]
fn an_event_has_exactly_one_moment() {
    let error = refusal("after = 2.5", "at = 1.0");
    assert!(error.contains("exactly one of at, at_fraction and on"), "{error}");
}

#[test]
fn numbers_out_of_range_name_their_key() {
    assert!(refusal("count = 4", "count = 0").contains("`devices.count` is 0, expected 1 to 20000"));
    assert!(refusal("who = 3,", "who = 9,").contains("`devices.overrides` names device 9"));
    assert!(refusal("kind = \"file\"", "kind = \"file\"\nfiles = 3").contains("`artifact.files`"));
}

#[test]
fn a_number_that_is_none_and_an_unknown_congestion_control_are_named_with_their_line() {
    for (value, shown) in [("nan", "NaN"), ("inf", "inf"), ("-1.0", "-1"), ("0.0", "0")] {
        let error = refusal("max_time_ratio = 1.1", &format!("max_time_ratio = {value}"));
        let expected = format!("line 18: `expect.max_time_ratio` is {shown}, expected a number above 0");
        assert!(error.contains(&expected), "{error}");
    }
    for key in ["timeout", "settle"] {
        for value in ["nan", "inf", "-1.0"] {
            let error = refusal("\n[devices]", &format!("{key} = {value}\n[devices]"));
            assert!(error.contains(&format!("line 1: `{key}` is ")), "{error}");
        }
    }
    for value in ["nan", "inf"] {
        assert!(refusal("after = 2.5", &format!("after = {value}")).contains("line 12: `events[0].after`"));
    }
    let error = refusal("[artifact]", "[network]\ncongestion_control = \"cubik\"\n[artifact]");
    for words in ["line 10", "`network.congestion_control` is \"cubik\"", "cubic", "reno"] {
        assert!(error.contains(words), "{words:?} is not in {error}");
    }
}

#[test]
fn the_plans_of_this_repository_are_well_formed() {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let names_in = |dir: &Path| {
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = files.filter(|path| path.is_file()).map(|path| name_of(&path)).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(
        names_in(&plans),
        "churn equal-links late-joiner many-files one-slow-device safe-leave seeder-restart site-32 slow-holder smoke \
         weak-uplink"
    );
    assert_eq!(names_in(&plans.join("simulated")), "dying-50 equal-50 liars-50 thousand weak-200 weak-50");
}

fn name_of(path: &Path) -> String {
    let plan = Plan::load(path).unwrap();
    assert!(!plan.about.is_empty(), "{} says nothing about itself", plan.name);
    plan.name
}

#[test]
fn the_example_in_the_documentation_is_a_plan() {
    let document = include_str!("../../../docs/BENCHMARKS.md");
    let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let plan = parse(example).unwrap();
    assert_eq!((plan.devices.count, plan.happenings.len()), (8, 1));
}

#[test]
fn a_fault_is_told_once() {
    let error = anyhow::Error::new(parse("byte = 1").unwrap_err());
    assert_eq!(format!("{error:#}").matches("unknown field").count(), 1, "{error:#}");
}

#[test]
fn what_only_the_simulator_can_do_is_checked_as_well() {
    let with = |text: &str| parse(&format!("{GOOD}[simulated]\n{text}\n"));
    let plan = with("seeder_latency_ms = 30\ndisk = \"20MiB\"\nliars = [2]").unwrap();
    assert!(!plan.is_honest(2) && plan.is_honest(1));
    assert_eq!(plan.simulated.unwrap().disk, Some(Size(20 << 20)));
    for (text, fault) in [
        ("liars = [4]", "`simulated.liars` names device 4, the last is 3"),
        ("device_latency_ms = -1", "`simulated.device_latency_ms` is -1, expected milliseconds up to 10000"),
        (
            "seeder_latency_ms = nan",
            "`simulated.seeder_latency_ms` is NaN, expected milliseconds up to 10000",
        ),
        ("lies = 1", "unknown field `lies`"),
    ] {
        let said = with(text).unwrap_err().to_string();
        assert!(said.contains(fault), "{said}");
    }
}

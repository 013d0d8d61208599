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
    assert_eq!(plan.rates(0), LinkRates { up: 100_000_000, down: 50_000_000 });
    assert_eq!(plan.rates(3), LinkRates { up: 2_000_000, down: 50_000_000 });
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
fn a_link_delays_and_loses_as_its_table_says_and_an_override_replaces_the_table() {
    let table =
        "link = { delay = \"30ms\", jitter = \"5 ms\", loss = \"0.5%\", loss_burst = 4, queue = \"64KiB\" }";
    let text = GOOD.replace("up = \"20mbit\"", &format!("up = \"20mbit\"\n{table}"));
    let plan = parse(&text.replace("up = \"2mbit\"", "link = { loss = \"2%\" }")).unwrap();
    let seeder = plan.link_of(Party::Seeder);
    assert_eq!((seeder.delay.to_string(), seeder.jitter.to_string()), ("30ms".into(), "5ms".into()));
    assert_eq!((seeder.loss_events(), seeder.queue), (0.00125, Queue::Bytes(64 << 10)));
    assert!(plan.link_of(Party::Device(0)).is_perfect() && !seeder.is_perfect());
    assert_eq!(plan.link_of(Party::Device(3)).loss.fraction(), 0.02);
    let words =
        "4 devices, seeder 20mbit + 30ms ± 5ms, 0.5% lost in bursts of 4, devices 100mbit up 50mbit down";
    assert_eq!(plan.links_in_words(), words);
}

#[test]
fn a_link_that_makes_no_sense_is_named_with_its_line_and_what_would() {
    let with = |link: &str| refusal("up = \"20mbit\"", &format!("up = \"20mbit\"\nlink = {{ {link} }}"));
    for (link, fault) in [
        ("delay = \"30\"", "\"30\" is no time, expected as \"30ms\""),
        ("delay = \"11s\"", "line 9: `seeder.link.delay` is 11s, expected at most 10s"),
        ("jitter = \"3ms\"", "line 9: `seeder.link.jitter` is 3ms, expected at most the delay, which is 0ms"),
        ("loss = \"51%\"", "line 9: `seeder.link.loss` is 51%, expected at most 50%"),
        ("loss = \"1\"", "\"1\" is no part, expected as \"1%\""),
        (
            "loss = \"1%\", loss_burst = 0.5",
            "`seeder.link.loss_burst` is 0.5, expected packets from 1 to 1000",
        ),
        ("loss_burst = 2", "`seeder.link.loss_burst` is for a link with loss"),
        ("queue = \"0ms\"", "\"0ms\" is no queue, expected as \"50ms\" or \"64KiB\""),
        ("rate = 1", "unknown field `rate`"),
    ] {
        let said = with(link);
        assert!(said.contains("line 9") || said.contains("at line 9"), "{said}");
        assert!(said.contains(fault), "{said}");
    }
    let said = refusal("up = \"2mbit\"", "link = { loss = \"60%\" }");
    assert!(said.contains("line 6: `devices.overrides[0].link.loss` is 60%"), "{said}");
}

/// With two devices behind a link of 10 Mbit/s.
fn with_segment(discovery: &str, devices: &str) -> Result<Plan, PlanError> {
    let segment = format!("[[segments]]\ndevices = {devices}\nup = \"50mbit\"\ndown = \"10mbit\"\n");
    parse(&format!("{GOOD}[network]\ndiscovery = \"{discovery}\"\n{segment}"))
}

#[test]
fn a_segment_bounds_a_run_by_its_link() {
    let plan = with_segment("static", "[1, 2]").unwrap();
    assert_eq!((plan.segment_of(2), plan.segment_of(3)), (Some(0), None));
    assert_eq!(plan.lower_bound_seconds(), Some((8_u64 << 20) as f64 * 8.0 / 10e6));
}

#[test]
fn a_segment_that_makes_no_sense_is_named_with_its_line_and_what_would() {
    for (discovery, devices, fault) in [
        ("static", "[1, 9]", "line 21: `segments` name device 9, the last is 3"),
        ("static", "[1, 1]", "`segments` name device 1 twice, expected once"),
        ("static", "[]", "`segments` have one without devices"),
        ("mdns", "[1]", "`segments` are there, expected network.discovery = \"static\""),
    ] {
        let said = with_segment(discovery, devices).unwrap_err().to_string();
        assert!(said.contains(fault), "{said}");
    }
}

#[test]
fn where_no_link_has_a_rate_no_bound_is_known() {
    let unshaped = |up: &str| {
        let text = format!(
            "[devices]\ncount = 2\nup = \"{up}\"\ndown = \"unlimited\"\n[seeder]\nup = \"unlimited\"\n\
             [artifact]\nkind = \"file\"\nbytes = \"1MiB\"\n"
        );
        Plan::parse(Path::new("x.toml"), &text).unwrap()
    };
    assert_eq!(unshaped("unlimited").lower_bound(), None);
    assert_eq!(unshaped("unlimited").pipeline_seconds(128 << 10), None);
    assert!(unshaped("8mbit").lower_bound().is_some());
    assert!(unshaped("unlimited").links_in_words().ends_with("devices unlimited up unlimited down"));
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
        "churn equal-links four-neighbours late-joiner lte-uplink many-files one-slow-device safe-leave seeder-restart site-32 \
         slow-holder smoke two-halls unshaped weak-uplink"
    );
    assert_eq!(
        names_in(&plans.join("simulated")),
        "bad-release dying-50 equal-1000 equal-50 liars-50 slow-50 ten-thousand thousand weak-200 weak-50"
    );
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
    let plan = with("disk = \"20MiB\"\n[[simulated.liars]]\nwho = [2]\nlie = \"silence\"").unwrap();
    assert_eq!((plan.lie(2), plan.lie(1)), (Some(Lie::Silence), None));
    assert_eq!(plan.simulated.unwrap().disk, Some(Size(20 << 20)));
    for (text, fault) in [
        ("[[simulated.liars]]\nwho = [4]", "`simulated.liars` names device 4, the last is 3"),
        ("[[simulated.liars]]\nwho = [1]\nlie = \"envy\"", "unknown variant `envy`"),
        ("request = \"100KiB\"", "`simulated.request` must be 128KiB"),
        ("lies = 1", "unknown field `lies`"),
    ] {
        let said = with(text).unwrap_err().to_string();
        assert!(said.contains(fault), "{said}");
    }
}

/// With something to install.
fn with_install(text: &str) -> Result<Plan, PlanError> {
    parse(&format!("{GOOD}[simulated.install]\n{text}\n"))
}

#[test]
fn an_install_takes_as_long_as_its_table_says_and_goes_wrong_where_it_says() {
    let text = "stage = [\"2s\", \"8s\"]\nhooks = [\"pre_check\"]\n[simulated.install.health]\nsoak_seconds = 4\n\
        [[simulated.install.faults]]\nshare = \"50%\"\nfault = \"health\"\n\
        [[simulated.install.faults]]\nwho = [3]\nfault = \"retry_later\"\nstep = \"pre_check\"\ntimes = 2\n\
        [[events]]\non = \"first_rolled_back\"\ndo = \"rollout_pause\"";
    let plan = with_install(text).unwrap();
    let install = plan.install().unwrap();
    let mut rng = samara_protocol::rng::Prng::new(1);
    let drawn: Vec<u64> = (0..100).map(|_| install.stage.drawn(&mut rng).as_secs()).collect();
    assert!(
        drawn.iter().all(|seconds| (2..=8).contains(seconds)) && drawn.contains(&2) && drawn.contains(&7)
    );
    // As a Release document that does not say: five minutes of grace.
    assert_eq!(install.health.map(|health| (health.grace_seconds, health.soak_seconds)), Some((300, 4)));
    let sick = |seed| install.faults[0].devices(0, 4, seed);
    assert_eq!((sick(1).len(), sick(1)), (2, sick(1)));
    assert!((2..20).any(|seed| sick(seed) != sick(1)));
    assert_eq!(install.faults[1].devices(1, 4, 9), [3].into());
    assert_eq!(plan.happenings[1].who, []);
}

#[test]
fn an_install_that_makes_no_sense_is_named_with_its_line_and_what_would() {
    let fault = |text: &str| format!("[[simulated.install.faults]]\n{text}");
    for (text, said) in [
        ("stage = \"2\"", "expected a time as \"30ms\", or the least and the most as [\"2s\", \"8s\"]"),
        (
            "stage = [\"8s\", \"2s\"]",
            "line 20: `simulated.install.stage` is [8s, 2s], expected the least before",
        ),
        ("undo = \"3601s\"", "line 20: `simulated.install.undo` is 3601s, expected at most 3600s"),
        ("hooks = [\"before\"]", "unknown variant `before`"),
        ("attempts_max = 0", "line 20: `simulated.install.attempts_max` is 0, expected 1 to 100"),
        (
            "[simulated.install.health]\nattempts = 0",
            "`simulated.install.health.attempts` is 0, expected 1 to 100",
        ),
        ("[simulated.install.health]\nchecks = 1", "unknown field `checks`"),
        ("places = 1", "unknown field `places`"),
    ] {
        let error = with_install(text).unwrap_err().to_string();
        assert!(error.contains(said), "{said:?} is not in {error}");
    }
    for (text, said) in [
        ("fault = \"activate\"", "faults[0].who` expected exactly one of who and share"),
        ("who = [1]\nshare = \"1%\"\nfault = \"activate\"", "expected exactly one of who and share"),
        (
            "who = [4]\nfault = \"activate\"",
            "line 21: `simulated.install.faults[0].who` names device 4, the last is 3",
        ),
        ("who = [1]\nfault = \"activate\"\ntimes = 0", "faults[0].times` is 0, expected at least 1"),
        (
            "who = [1]\nfault = \"undo\"",
            "times` is missing: it would be tried again for longer than a run may last",
        ),
        ("who = [1]\nfault = \"hook\"", "faults[0].step` is missing, expected the hook's, as \"pre_check\""),
        ("who = [1]\nfault = \"hook\"\nstep = \"pre_check\"", "expected one of simulated.install.hooks: []"),
        ("who = [1]\nfault = \"space\"\nstep = \"pre_check\"", "step` is \"pre_check\", expected none"),
        ("who = [1]\nfault = \"health\"", "expected a table simulated.install.health beside it"),
        ("who = [1]\nfault = \"envy\"", "unknown variant `envy`"),
    ] {
        let error = with_install(&fault(text)).unwrap_err().to_string();
        assert!(error.contains(said), "{said:?} is not in {error}");
    }
}

#[test]
fn what_is_about_installs_needs_a_table_of_them() {
    let needs = "expected a table simulated.install: nothing is installed without";
    for (text, key) in [
        ("[[events]]\nat = 1\ndo = \"rollout_pause\"", "line 19: `events[1].do` changes the rollout"),
        (
            "[[events]]\non = \"first_committed\"\ndo = \"kill\"\nwho = 1",
            "`events[1].on` waits for an install",
        ),
        ("min_committed = 3", "line 19: `expect.min_committed` is there"),
    ] {
        let error = parse(&format!("{GOOD}{text}\n")).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(needs), "{error}");
    }
    for (text, said) in [
        (
            "[[events]]\nat = 1\ndo = \"rollout_pause\"\nwho = 1",
            "who` expected none: a rollout is the whole site's",
        ),
        ("[[events]]\nat = 1\ndo = \"kill\"", "who` is missing, expected \"seeder\" or numbers"),
        (
            "restarts_agent = true",
            "`simulated.install.restarts_agent` is true, expected an artifact of kind \"file\"",
        ),
    ] {
        let tree = GOOD.replace("\"file\"", "\"tree\"");
        let error = parse(&format!("{tree}[simulated.install]\n{text}\n")).unwrap_err().to_string();
        assert!(error.contains(said), "{said:?} is not in {error}");
    }
}

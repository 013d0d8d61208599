//! What every second drawn plan installs: how long it takes, what goes wrong, who is cut in the middle of it, and what the
//! operator does meanwhile.

use super::*;

struct Dice(Prng);

impl Dice {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.0.below(from.len())]
    }
}

/// A plan with an install, or as it was.
pub(super) fn draw(seed: u64, without: &str) -> String {
    let mut dice = Dice(Prng::new(seed ^ 0x1457_a11e));
    if dice.pick(&[true, false]) {
        return without.to_owned();
    }
    // Waits for another try last up to ten minutes.
    let plan = without.replace("timeout = 300", "timeout = 3600");
    // Who gives a release up shares it no longer: a seeder that relied on such must not leave.
    let seeder_leaves = without.contains("\"leave\"");
    let is_tested = dice.pick(&[false, true, true]);
    let install = table(&mut dice, is_tested, without.contains("\"tree\""));
    let faults = faults(&mut dice, is_tested, seeder_leaves);
    plan + &install + &faults + &cuts(&mut dice, without) + &changes(&mut dice, seeder_leaves)
}

fn table(dice: &mut Dice, is_tested: bool, is_tree: bool) -> String {
    let (stage, most, record) = (dice.pick(&[0, 1, 3]), dice.pick(&[3, 3, 30]), dice.pick(&[0, 5, 900]));
    let (activate, attempts) = (dice.pick(&[0, 1000, 5000]), dice.pick(&[1, 1, 2, 3]));
    let restarts_agent = !is_tree && dice.pick(&[false, false, true]);
    let mut text = format!(
        "[simulated.install]\nstage = [\"{stage}s\", \"{most}s\"]\nactivate = \"{activate}ms\"\n\
         undo = [\"1ms\", \"5s\"]\ncommit = \"2s\"\nhook = \"1s\"\nrecord = \"{record}ms\"\nattempts_max = {attempts}\n\
         restarts_agent = {restarts_agent}\nhooks = [\"pre_check\", \"pre_install\", \"post_install\", \
         \"pre_rollback\", \"post_rollback\"]\n"
    );
    if is_tested {
        let (grace, interval) = (dice.pick(&[0, 5, 20]), dice.pick(&[1, 3]));
        let (soak, attempts) = (dice.pick(&[0, 4]), dice.pick(&[1, 2]));
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "[simulated.install.health]\ngrace_seconds = {grace}\ninterval_seconds = {interval}\n\
             soak_seconds = {soak}\nattempts = {attempts}\n"
        );
    }
    text
}

/// Each kind at most once: waits grow with every failure.
fn faults(dice: &mut Dice, is_tested: bool, seeder_leaves: bool) -> String {
    let mut text = String::new();
    for kind in ["space", "stage", "activate", "undo", "hook", "retry_later", "health"] {
        let gives_up = matches!(kind, "activate" | "hook" | "health");
        if dice.pick(&[true, true, false]) || gives_up && seeder_leaves || kind == "health" && !is_tested {
            continue;
        }
        let (share, times) = (dice.pick(&[20, 50, 100]), dice.pick(&[1, 2, 3]));
        let _ = write!(text, "[[simulated.install.faults]]\nshare = \"{share}%\"\nfault = \"{kind}\"\n");
        if matches!(kind, "hook" | "retry_later") {
            let step = dice.pick(&["pre_check", "pre_install", "post_install", "pre_rollback"]);
            let step = if seeder_leaves { "pre_check" } else { step };
            let _ = writeln!(text, "step = \"{step}\"");
        }
        let may_last = (gives_up || kind == "space") && !seeder_leaves;
        if !(may_last && dice.pick(&[true, false])) {
            let _ = writeln!(text, "times = {times}");
        }
    }
    text
}

/// Ends of processes, often in the middle of something; who is away comes back.
fn cuts(dice: &mut Dice, without: &str) -> String {
    let mut text = String::new();
    let count = without.split("count = ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let is_free = |device: &u64| !without.contains(&format!("who = {device}\n"));
    for device in (0..count.parse().unwrap()).filter(is_free) {
        let mut at = 0;
        for _ in 0..dice.pick(&[0, 0, 2, 6, 15]) {
            at += dice.pick(&[1, 2, 3, 4, 12]);
            let (verb, part, away) =
                (dice.pick(&["kill", "leave"]), dice.pick(&[0, 1, 5, 7]), dice.pick(&[0, 1, 4]));
            let _ = write!(
                text,
                "[[events]]\nat = {at}.{part}\ndo = \"{verb}\"\nwho = {device}\n\
                 [[events]]\nat = {at}.{part}\nafter = {away}\ndo = \"restart\"\nwho = {device}\n"
            );
            at += away;
        }
    }
    text
}

fn changes(dice: &mut Dice, seeder_leaves: bool) -> String {
    let changes: &[&str] = dice.pick(&[
        &[][..],
        &["rollout_pause", "rollout_resume"],
        &["rollout_retry", "rollout_retry"],
        &["rollout_retry", "rollout_pause", "rollout_resume", "rollout_retry"],
        &["rollout_abort"],
        &["rollout_pause", "rollout_abort"],
    ]);
    let moments = ["at = 1", "at = 6", "on = \"first_committed\"", "on = \"first_rolled_back\""];
    let (moment, mut after, mut text) = (dice.pick(&moments), 0, String::new());
    for change in changes.iter().filter(|change| !(seeder_leaves && **change == "rollout_abort")) {
        after += dice.pick(&[0, 1, 5, 30]);
        let _ = write!(text, "[[events]]\n{moment}\nafter = {after}\ndo = \"{change}\"\n");
    }
    text
}

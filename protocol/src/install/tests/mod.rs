//! The machine in a world of dice and power cuts, its single rules, and the document that shows its table.

mod document;
mod rules;
mod world;

use super::*;
use crate::document::HookStep;
use crate::time::Timestamp;
use std::time::Duration;

/// Two artifacts, a hook at each step, a minute of grace.
fn plan() -> Plan {
    use HookStep::*;
    let steps = [PreCheck, PreInstall, PostInstall, PreRollback, PostRollback];
    let test = Test {
        grace: Duration::from_secs(60),
        interval: Duration::from_secs(5),
        soak: Duration::from_secs(20),
        attempts: 2,
    };
    let hooks = steps.map(|step| (step, 1)).into();
    Plan { artifacts: 2, hooks, test: Some(test), ..Plan::default() }
}

fn wanted(attempts_max: u32) -> Verdict {
    Verdict::Wanted { attempts_max, hold: None }
}

fn held(by: HoldBy) -> Verdict {
    Verdict::Wanted { attempts_max: 1, hold: Some(Hold { by, why: "so it is".into() }) }
}

/// What goes wrong with a step.
fn fault_of(step: Step) -> Fault {
    match step {
        Step::Hook { .. } => fault(),
        _ => Fault { code: FaultCode::Artifact, exit: None, ..fault() },
    }
}

fn fault() -> Fault {
    Fault { phase: State::Offered, code: FaultCode::Hook, exit: Some(3), why: "exit code 3".into() }
}

//! The way back: hooks of the roll back, and each artifact in the reverse of the declared order. What does not come back, or
//! ends the power, keeps nothing else from coming back.

use super::machine::Install;
use super::plan::Step;
use super::resume::CUTS_MAX;
use super::{Fault, FaultCode};
use crate::document::HookStep;
use std::collections::VecDeque;

impl Install {
    /// The steps. After many cuts the programs of the release may be what ends the power: its hooks are left out and its
    /// scripts come last; after as many again those are left as they are.
    pub(super) fn way_back(&mut self) -> VecDeque<Step> {
        let plan = &self.plan;
        if self.cuts <= CUTS_MAX {
            let before = plan.hooks(HookStep::PreRollback).chain(plan.undo());
            return before.chain(plan.hooks(HookStep::PostRollback)).collect();
        }
        let is_script = |step: &Step| matches!(step, Step::Undo(index) if plan.scripts.contains(index));
        let (scripts, mut steps): (Vec<Step>, Vec<Step>) = plan.undo().partition(is_script);
        if self.cuts <= CUTS_MAX * 2 {
            steps.extend(scripts);
        } else if !scripts.is_empty() {
            self.is_stuck = true;
            let code = self.code_when_stuck(FaultCode::Cut);
            let why = "power failed, or the agent ended, each time that a script was taken back".to_owned();
            self.fault = Some(self.fault_of(code, None, why));
        }
        steps.into()
    }

    /// Lets the other artifacts come back first; false if none is left that was not put off, too.
    pub(super) fn put_off(&mut self, index: usize) -> bool {
        let others = self.todo.iter().skip(1);
        let last = others.filter(|step| matches!(step, Step::Undo(_))).count();
        if last == 0 || !self.is_put_off.insert(index) {
            return false;
        }
        self.todo.pop_front();
        self.todo.insert(last, Step::Undo(index));
        true
    }

    /// An artifact cannot be brought back; the others may still.
    pub(super) fn give_up_on(&mut self, fault: Fault) {
        self.is_stuck = true;
        self.fault = Some(Fault { code: self.code_when_stuck(fault.code), ..fault });
    }

    /// How it is undone hangs on why it is.
    fn code_when_stuck(&self, code: FaultCode) -> FaultCode {
        let was = self.fault.as_ref().map(|fault| fault.code);
        was.filter(|code| *code == FaultCode::ByHand).unwrap_or(code)
    }
}

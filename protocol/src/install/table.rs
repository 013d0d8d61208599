//! The transition table: the only ways from one state to the next. The machine looks them up here, and
//! `docs/STATES.md` shows them; a test compares the two.

use super::State;
use State::*;

/// What happens to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing holds it back.
    Clear,
    /// Its wave has not come.
    Wave,
    /// It is not the time of day.
    Window,
    /// Somebody must agree first.
    Confirmation,
    /// The device is in use.
    Interlock,
    /// There is room.
    Fits,
    /// There is no room.
    Lacks,
    /// The device's own no.
    Refused,
    /// All bytes are verified and durable.
    Complete,
    /// Bytes on disk are damaged: they must be fetched again.
    Lost,
    /// It did not work.
    Faulted,
    /// All artifacts stand beside their destinations.
    Written,
    /// All was done that comes before the first switch.
    Ready,
    /// All artifacts are switched.
    Activated,
    /// All artifacts are switched, and what runs them must start again.
    Restart,
    /// After a restart the new version was found in place.
    Restarted,
    /// It showed that it works.
    Healthy,
    /// What is not needed any more is gone.
    Kept,
    /// What was there before is back, for good.
    Undone,
    /// What was there before is back, and another try is left.
    Again,
    /// What was there before could not be brought back.
    Stuck,
    /// Power failed in the middle.
    Cut,
    /// Power failed in the middle, and it goes on where it was.
    Resumed,
    /// The wait is over.
    Due,
    /// Somebody removed what was in place.
    Gone,
    /// Somebody at the device wants the version before.
    ByHand,
    /// Decided: it is not for this device.
    Unsuited,
    /// Decided: its Rollout is over.
    Aborted,
    /// Decided: it is taken back.
    Withdrawn,
    /// Decided: a later one is wanted.
    Superseded,
}

/// From a state, by an event, to a state.
pub const TABLE: [(State, Event, State); 49] = [
    (Offered, Event::Clear, Checking),
    (Offered, Event::Wave, WaitingForWave),
    (WaitingForWave, Event::Clear, Checking),
    (Checking, Event::Fits, Downloading),
    (Checking, Event::Lacks, WaitingForSpace),
    (WaitingForSpace, Event::Fits, Downloading),
    (Downloading, Event::Complete, Verifying),
    (Downloading, Event::Lacks, WaitingForSpace),
    (Downloading, Event::Faulted, Failed),
    (Verifying, Event::Written, Staged),
    (Verifying, Event::Lost, Downloading),
    (Verifying, Event::Faulted, Failed),
    (Staged, Event::Clear, Installing),
    (Staged, Event::Window, WaitingForWindow),
    (Staged, Event::Confirmation, WaitingForConfirmation),
    (Staged, Event::Interlock, WaitingForInterlock),
    (Staged, Event::Lost, Downloading),
    (WaitingForWindow, Event::Clear, Staged),
    (WaitingForWindow, Event::Lost, Downloading),
    (WaitingForConfirmation, Event::Clear, Staged),
    (WaitingForConfirmation, Event::Lost, Downloading),
    (WaitingForInterlock, Event::Clear, Staged),
    (WaitingForInterlock, Event::Lost, Downloading),
    (Installing, Event::Ready, Activating),
    (Installing, Event::Faulted, RollingBack),
    (Installing, Event::Cut, RollingBack),
    (Activating, Event::Activated, Testing),
    (Activating, Event::Restart, Rebooting),
    (Activating, Event::Faulted, RollingBack),
    (Activating, Event::Cut, RollingBack),
    (Activating, Event::Resumed, Activating),
    (Rebooting, Event::Restarted, Testing),
    (Rebooting, Event::Faulted, RollingBack),
    (Testing, Event::Healthy, Committing),
    (Testing, Event::Faulted, RollingBack),
    (Testing, Event::Cut, RollingBack),
    (Testing, Event::Resumed, Testing),
    (Committing, Event::Kept, Committed),
    (Committing, Event::Resumed, Committing),
    (RollingBack, Event::Undone, RolledBack),
    (RollingBack, Event::Again, Failed),
    (RollingBack, Event::Stuck, Inconsistent),
    (RollingBack, Event::Resumed, RollingBack),
    (Failed, Event::Due, Checking),
    (Committed, Event::Gone, Checking),
    (Committed, Event::ByHand, RollingBack),
    (AlreadyInstalled, Event::Gone, Checking),
    (AlreadyInstalled, Event::ByHand, RollingBack),
    (Inconsistent, Event::ByHand, RollingBack),
];

/// What is decided of a release that has neither begun to be installed nor ended.
pub const DECIDED: [(Event, State); 5] = [
    (Event::Refused, Rejected),
    (Event::Unsuited, NotApplicable),
    (Event::Aborted, Aborted),
    (Event::Withdrawn, Withdrawn),
    (Event::Superseded, Superseded),
];

/// The next state, if the event can happen there.
pub(super) fn next(from: State, event: Event) -> Option<State> {
    let row = TABLE.iter().find(|(of, by, _)| (*of, *by) == (from, event)).map(|(_, _, to)| *to);
    let is_open = !from.is_terminal() && !from.is_under_way();
    row.or_else(|| DECIDED.iter().find(|(by, _)| is_open && *by == event).map(|(_, to)| *to))
}

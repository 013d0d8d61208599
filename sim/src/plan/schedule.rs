//! Which event of a plan is due: a pure machine that is told what happens and is asked what to do.

use super::{Event, Milestone, Moment};

/// The events of a plan, each waiting, armed or done.
#[derive(Debug)]
pub struct Schedule {
    entries: Vec<(Event, State)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Its moment has not come.
    Waiting,
    /// It is due at this second of the run.
    Due(f64),
    Done,
}

impl Schedule {
    /// All events wait, but for those whose second is known.
    pub fn new(events: &[Event]) -> Self {
        let state = |event: &Event| match event.moment {
            Moment::Seconds(at) => State::Due(at + event.after),
            Moment::Fraction(_) | Moment::On(_) => State::Waiting,
        };
        Self { entries: events.iter().map(|event| (event.clone(), state(event))).collect() }
    }

    /// The devices have this part of all bytes.
    pub fn on_fraction(&mut self, now: f64, fraction: f64) {
        self.arm(now, |moment| matches!(moment, Moment::Fraction(part) if part <= fraction));
    }

    /// A milestone was reached; the second time means nothing.
    pub fn on_milestone(&mut self, now: f64, milestone: Milestone) {
        self.arm(now, |moment| moment == Moment::On(milestone));
    }

    /// The next event whose time has come; in the order of their times, then of the plan.
    pub fn poll_due(&mut self, now: f64) -> Option<Event> {
        let due = |state: State| match state {
            State::Due(at) if at <= now => Some(at),
            _ => None,
        };
        let ready = self.entries.iter_mut().filter(|(_, state)| due(*state).is_some());
        let (event, state) =
            ready.min_by(|a, b| due(a.1).partial_cmp(&due(b.1)).unwrap_or(std::cmp::Ordering::Equal))?;
        *state = State::Done;
        Some(event.clone())
    }

    /// When the next armed event is due.
    pub fn next_due(&self) -> Option<f64> {
        let due = self.entries.iter().filter_map(|(_, state)| match state {
            State::Due(at) => Some(*at),
            _ => None,
        });
        due.min_by(f64::total_cmp)
    }

    /// Events that have not happened.
    pub fn pending(&self) -> impl Iterator<Item = &Event> {
        self.entries.iter().filter(|(_, state)| *state != State::Done).map(|(event, _)| event)
    }

    fn arm(&mut self, now: f64, is_moment: impl Fn(Moment) -> bool) {
        for (event, state) in &mut self.entries {
            if *state == State::Waiting && is_moment(event.moment) {
                *state = State::Due(now + event.after);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Party, Verb};

    fn event(moment: Moment, after: f64, device: usize) -> Event {
        Event { moment, after, verb: Verb::Kill, who: vec![Party::Device(device)] }
    }

    fn due(schedule: &mut Schedule, now: f64) -> Vec<Party> {
        std::iter::from_fn(|| schedule.poll_due(now)).map(|event| event.who[0]).collect()
    }

    #[test]
    fn events_come_in_the_order_of_their_times_and_once() {
        let events = [event(Moment::Seconds(5.0), 0.0, 0), event(Moment::Seconds(1.0), 1.0, 1)];
        let mut schedule = Schedule::new(&events);
        assert_eq!(schedule.next_due(), Some(2.0));
        assert_eq!(due(&mut schedule, 1.9), []);
        assert_eq!(due(&mut schedule, 9.0), [Party::Device(1), Party::Device(0)]);
        assert_eq!(due(&mut schedule, 9.0), []);
        assert_eq!((schedule.next_due(), schedule.pending().count()), (None, 0));
    }

    #[test]
    fn a_fraction_arms_its_events_when_it_is_first_reached() {
        let mut schedule =
            Schedule::new(&[event(Moment::Fraction(0.3), 0.0, 0), event(Moment::Fraction(0.3), 10.0, 1)]);
        schedule.on_fraction(4.0, 0.29);
        assert_eq!(due(&mut schedule, 100.0), []);
        schedule.on_fraction(5.0, 0.31);
        schedule.on_fraction(6.0, 0.40);
        assert_eq!(due(&mut schedule, 6.0), [Party::Device(0)]);
        assert_eq!(schedule.next_due(), Some(15.0));
    }

    #[test]
    fn a_milestone_that_never_comes_leaves_its_event_pending() {
        let mut schedule = Schedule::new(&[event(Moment::On(Milestone::SeederLeft), 0.0, 0)]);
        schedule.on_milestone(1.0, Milestone::SafeToLeave);
        assert_eq!(due(&mut schedule, 100.0), []);
        assert_eq!(schedule.pending().count(), 1);
    }
}

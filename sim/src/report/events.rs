//! What the plan did and what happened by itself, as letters on the time axis and as a list.

use super::chart::Layer;
use super::number::seconds;
use crate::outcome::{Happening, Mark, listed};

/// With more events than the alphabet has letters, lines alone are drawn.
const LETTERS: usize = 26;
/// Events that are shown; a plan with more tells its own story.
const SHOWN_MAX: usize = 200;
/// What is so close together happens at the same time.
const SAME_SECONDS: f64 = 0.001;

/// A moment of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) letter: String,
    pub(super) at: String,
    pub(super) what: String,
}

/// The lines on the time axis.
pub(super) fn layers(marks: &[Mark]) -> impl Iterator<Item = Layer> {
    let letters = letters(marks);
    marks.iter().zip(letters).map(|(mark, letter)| Layer::Mark { x: mark.seconds.max(0.0), letter })
}

/// The list.
pub(super) fn moments(marks: &[Mark]) -> Vec<Moment> {
    let moment = |(mark, letter): (&Mark, String)| Moment {
        letter,
        at: seconds(mark.seconds),
        what: format!("{} {}", listed(&mark.who), words(mark.event)),
    };
    marks.iter().zip(letters(marks)).map(moment).collect()
}

/// The last sentence of a list that does not show all.
pub(super) fn left_off(marks: &[Mark]) -> Option<String> {
    let more = marks.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0)?;
    Some(format!("and {more} more"))
}

/// One for each moment: what happens at the same time shares a letter.
fn letters(marks: &[Mark]) -> Vec<String> {
    let is_new = |at: usize| at == 0 || marks[at].seconds - marks[at - 1].seconds > SAME_SECONDS;
    let has_letters = (0..marks.len()).filter(|at| is_new(*at)).count() <= LETTERS;
    let mut moments = 0_u8;
    let letter = |at: usize| {
        if !has_letters {
            return String::new();
        }
        moments += u8::from(is_new(at));
        char::from(b'A' + moments - 1).to_string()
    };
    (0..marks.len().min(SHOWN_MAX)).map(letter).collect()
}

/// What happened to somebody, after the names.
pub(super) fn words(event: Happening) -> &'static str {
    match event {
        Happening::Killed => "killed",
        Happening::PowerCut => "lost power",
        Happening::Restarted => "restarted",
        Happening::Left => "told to leave",
        Happening::LinkDown => "link down",
        Happening::LinkUp => "link up again",
        Happening::Joined => "joined",
        Happening::RolloutPaused => "paused",
        Happening::RolloutResumed => "resumed",
        Happening::RolloutAborted => "aborted",
        Happening::RolloutRetried => "to be tried again where it went wrong",
        Happening::SafeToLeave => "safe to leave",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(who: usize) -> Mark {
        let who = (0..who).map(|device| format!("d{device}")).collect();
        Mark { seconds: 2.5, event: Happening::Killed, who }
    }

    #[test]
    fn a_list_names_a_few_and_counts_the_rest() {
        let later = Mark { seconds: 2.6, ..mark(11) };
        let moments = moments(&[mark(2), mark(1), later]);
        assert_eq!((moments[0].letter.as_str(), moments[0].what.as_str()), ("A", "d0, d1 killed"));
        assert_eq!((moments[1].letter.as_str(), moments[1].what.as_str()), ("A", "d0 killed"));
        assert_eq!(moments[2].what, "d0, d1, d2, d3, d4, d5, d6, d7 and 3 more killed");
        assert_eq!((moments[2].letter.as_str(), moments[2].at.as_str()), ("B", "2.60 s"));
    }

    #[test]
    fn thousands_of_events_are_a_few_lines_without_letters() {
        let marks: Vec<Mark> = (0..5000).map(|at| Mark { seconds: f64::from(at), ..mark(1) }).collect();
        let moments = moments(&marks);
        assert_eq!((moments.len(), moments[0].letter.as_str()), (SHOWN_MAX, ""));
        assert_eq!(layers(&marks).count(), SHOWN_MAX);
        assert_eq!(left_off(&marks).as_deref(), Some("and 4800 more"));
    }
}

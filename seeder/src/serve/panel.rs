//! The live view on a terminal: a line that says how it stands, a bar for all devices, and a bar for each of those that
//! have furthest to go, as many as fit.

use crate::ui::{Bars, bytes};
use indicatif::ProgressBar;
use std::cmp::Reverse;

/// Lines of the terminal that stay free for what is printed above: the newest of it should be seen.
const LINES_FREE: usize = 6;
/// More rows nobody reads.
const ROWS_MAX: usize = 40;

/// A device as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) have_bytes: u64,
    pub(super) state: String,
}

/// The bars.
#[derive(Debug)]
pub(super) struct Panel {
    bars: Bars,
    status: ProgressBar,
    all: ProgressBar,
    rows: Vec<ProgressBar>,
    more: ProgressBar,
}

impl Panel {
    pub(super) fn new(bars: Bars) -> Self {
        let (status, more) = (bars.text(), bars.text());
        let all = bars.named_before(&more).with_prefix("all devices");
        Self { status, all, rows: Vec::new(), more, bars }
    }

    /// Draws anew; each device is to hold `total` bytes.
    pub(super) fn show(&mut self, status: String, rows: Vec<Row>, total: u64) {
        self.status.set_message(status);
        let (have, of) = (rows.iter().map(|row| row.have_bytes).sum(), total * rows.len() as u64);
        fill(&self.all, have, of);
        self.all.set_message(format!("{} of {}", bytes(have), bytes(of)));
        let (shown, hidden) = furthest_to_go(rows, total, self.bars.lines().saturating_sub(LINES_FREE));
        while self.rows.len() > shown.len() {
            if let Some(bar) = self.rows.pop() {
                self.bars.remove(&bar);
            }
        }
        while self.rows.len() < shown.len() {
            self.rows.push(self.bars.named_before(&self.more));
        }
        for (bar, row) in self.rows.iter().zip(shown) {
            fill(bar, row.have_bytes, total);
            bar.set_prefix(row.name);
            bar.set_message(row.state);
        }
        self.more.set_message(if hidden > 0 { format!("and {hidden} more") } else { String::new() });
    }

    /// Takes it off the terminal, for good.
    pub(super) fn clear(&self) {
        self.bars.end();
    }
}

/// Where nothing is offered a bar is empty, not full.
fn fill(bar: &ProgressBar, have: u64, of: u64) {
    bar.set_length(of.max(1));
    bar.set_position(have);
}

/// At most `lines` rows, those with most to come first, and how many are left out. In steps of a tenth, so that rows
/// keep their places while they fill.
fn furthest_to_go(mut rows: Vec<Row>, total: u64, lines: usize) -> (Vec<Row>, usize) {
    let missing = |row: &Row| (total - row.have_bytes.min(total)).saturating_mul(10).div_ceil(total.max(1));
    rows.sort_by(|a, b| (Reverse(missing(a)), &a.name).cmp(&(Reverse(missing(b)), &b.name)));
    let hidden = rows.len().saturating_sub(lines.min(ROWS_MAX));
    rows.truncate(lines.min(ROWS_MAX));
    (rows, hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_devices_that_have_furthest_to_go_are_shown_and_the_rest_counted() {
        let row = |(name, have_bytes): &(&str, u64)| Row {
            name: (*name).into(),
            have_bytes: *have_bytes,
            state: String::new(),
        };
        let rows: Vec<_> =
            [("done", 100), ("almost", 99), ("b", 12), ("a", 18), ("new", 0)].iter().map(row).collect();
        let (shown, hidden) = furthest_to_go(rows.clone(), 100, 4);
        let names: Vec<_> = shown.iter().map(|row| row.name.as_str()).collect();
        assert_eq!((names, hidden), (vec!["new", "a", "b", "almost"], 1));
        assert_eq!(furthest_to_go(rows.clone(), 100, 0).1, 5);
        assert_eq!(furthest_to_go(rows, 0, 9).1, 0);
    }
}

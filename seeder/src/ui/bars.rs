//! Progress bars on standard error, one below the other; invisible where nobody watches. No line is wider than the
//! terminal.

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// All bars of a process share one, so that none is drawn over another.
#[derive(Debug, Clone)]
pub struct Bars(MultiProgress);

impl Bars {
    pub(super) fn new(is_visible: bool) -> Self {
        let target = if is_visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self(MultiProgress::with_draw_target(target))
    }

    /// A bar that counts bytes and says how fast.
    pub fn bytes(&self, label: &str, bytes_total: u64) -> ProgressBar {
        let template = "{msg:20!} {wide_bar} {bytes:>11} of {total_bytes} {bytes_per_sec:>12} {eta:>4}";
        self.0.add(styled(ProgressBar::new(bytes_total), template)).with_message(label.to_owned())
    }

    /// A bar with a name before and a word behind it, above `below`.
    pub fn named_before(&self, below: &ProgressBar) -> ProgressBar {
        let template = "{prefix:16!} {wide_bar} {percent:>3} % {msg:26!}";
        self.0.insert_before(below, styled(ProgressBar::new(0), template))
    }

    /// A line of text, cut at the terminal's width.
    pub fn text(&self) -> ProgressBar {
        self.0.add(styled(ProgressBar::new(0), "{wide_msg}"))
    }

    /// Takes a bar away.
    pub fn remove(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.0.remove(bar);
    }

    /// Wipes what is drawn, and draws no more.
    pub fn end(&self) {
        // Where nothing can be wiped nothing is drawn.
        let _ = self.0.clear();
        self.0.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Lines of the terminal.
    pub fn lines(&self) -> usize {
        usize::from(Term::stderr().size().0)
    }

    /// Prints between the bars.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

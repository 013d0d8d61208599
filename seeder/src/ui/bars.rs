//! Progress bars on standard error, one below the other; invisible where nobody watches.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// All bars of a process share one, so that none is drawn over another.
#[derive(Debug, Clone)]
pub struct Bars(MultiProgress);

impl Bars {
    pub(super) fn new(is_visible: bool) -> Self {
        let target = if is_visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self(MultiProgress::with_draw_target(target))
    }

    /// A bar that counts bytes.
    pub fn bytes(&self, label: &str, bytes_total: u64) -> ProgressBar {
        let bar = self.0.add(ProgressBar::new(bytes_total));
        let template = "{msg:20} {wide_bar} {bytes:>11} of {total_bytes} {bytes_per_sec:>12} {eta:>4}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.with_message(label.to_owned())
    }

    /// Prints between the bars.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

//! What work costs on this machine: the figures of [`Costs`] that grow with bytes, measured with the libraries that do this
//! work in the product, and written as a file that `run` takes up.
//!
//! ```text
//!  hash:     the tree of hashes over an artifact in memory
//!  send:     read a range, verify it, encrypt it, write it to a socket      one thread
//!  receive:  read from the socket, decrypt, verify, write to a file         the other
//! ```
//! Processor time of each thread, not time of the clock: other programs disturb it little. What is left out, the daemon's
//! own bookkeeping among it, makes the figures too low rather than too high.

mod file;
mod transfer;

pub use file::{CostsError, load, text};

use crate::plan::{Rate, Size};
use crate::world::Costs;
use anyhow::{Context, ensure};
use bao_tree::BlockSize;
use bao_tree::io::outboard::PreOrderMemOutboard;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::time::{ClockId, clock_gettime};
use samara_protocol::rng::Prng;
use std::fmt::Write as _;

/// Chunk groups of 16 KiB, as in the product's store.
const GROUP: BlockSize = BlockSize::from_chunk_log(4);

/// What is measured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of the artifact.
    pub bytes: Size,
    /// At which it is sent, packet by packet; `None`: as fast as the processors can.
    pub rate: Option<Rate>,
    /// How often each figure is measured.
    pub repeats: usize,
}

/// A figure that was measured several times, in nanoseconds a byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub least: f64,
    /// The one in the middle; of two the smaller.
    pub median: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { least: at(0), median: at(last / 2), most: at(last) }
    }
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// How it was measured.
    pub settings: Settings,
    /// Of [`Costs::hash_ns_per_byte`].
    pub hash: Spread,
    /// Of [`Costs::send_ns_per_byte`].
    pub send: Spread,
    /// Of [`Costs::receive_ns_per_byte`].
    pub receive: Spread,
}

impl Calibration {
    /// The medians, and the defaults of everything that is not measured.
    pub fn costs(&self) -> Costs {
        let rounded = |spread: &Spread| (spread.median * 1000.0).round() / 1000.0;
        Costs {
            hash_ns_per_byte: rounded(&self.hash),
            send_ns_per_byte: rounded(&self.send),
            receive_ns_per_byte: rounded(&self.receive),
            ..Costs::default()
        }
    }

    /// The figures beside those that a run takes if nothing is said.
    pub fn table(&self) -> String {
        let usual = Costs::default();
        let mut table =
            format!("{:<22}{:>10}{:>10}{:>10}{:>10}\n", "ns a byte", "median", "least", "most", "default");
        for (name, spread, default) in [
            ("hash_ns_per_byte", self.hash, usual.hash_ns_per_byte),
            ("send_ns_per_byte", self.send, usual.send_ns_per_byte),
            ("receive_ns_per_byte", self.receive, usual.receive_ns_per_byte),
        ] {
            let Spread { least, median, most } = spread;
            // Writing to a string can't fail.
            let _ = writeln!(table, "{name:<22}{median:>10.3}{least:>10.3}{most:>10.3}{default:>10.3}");
        }
        table
    }

    /// What was sent, how fast and how often.
    pub fn conditions(&self) -> String {
        let Settings { bytes, rate, repeats } = &self.settings;
        let rate = rate.map_or_else(|| "as fast as it goes".into(), |rate| format!("at {rate}"));
        format!("{bytes} over loopback {rate}, {repeats} times")
    }
}

/// Measures; progress on stderr.
pub fn run(settings: Settings) -> anyhow::Result<Calibration> {
    ensure!(settings.repeats > 0, "nothing is measured with 0 repeats");
    let style = ProgressStyle::with_template("calibrating {bar:30} {percent:>3} %  {elapsed}")
        .context("the progress bar's template")?;
    let bar = ProgressBar::new(2 * settings.repeats as u64).with_style(style);
    let data = random(usize::try_from(settings.bytes.0).context("the artifact does not fit in memory")?);
    let mut hashed = Vec::new();
    let mut tree = PreOrderMemOutboard::create(&data, GROUP);
    for _ in 0..settings.repeats {
        let before = thread_ns();
        tree = PreOrderMemOutboard::create(&data, GROUP);
        hashed.push((thread_ns() - before) / data.len() as f64);
        bar.inc(1);
    }
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    for _ in 0..settings.repeats {
        let cost = transfer::measure(&data, &tree, settings.rate)?;
        sent.push(cost.send_ns / data.len() as f64);
        received.push(cost.receive_ns / data.len() as f64);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let [hash, send, receive] = [hashed, sent, received].map(Spread::of);
    Ok(Calibration { settings, hash, send, receive })
}

fn random(len: usize) -> Vec<u8> {
    let mut rng = Prng::new(1);
    let words = std::iter::repeat_with(|| rng.next_u64().to_le_bytes());
    words.take(len.div_ceil(8)).flatten().take(len).collect()
}

/// Processor time of this thread, in nanoseconds.
fn thread_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_several_measurements_stands_between_the_least_and_the_most() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { least: 1.0, median: 2.0, most: 3.0 });
        assert_eq!(Spread::of(vec![4.0, 1.0]), Spread { least: 1.0, median: 1.0, most: 4.0 });
    }

    #[test]
    fn a_calibration_measures_all_that_grows_with_bytes_and_leaves_the_rest() {
        let settings = Settings { bytes: Size(1 << 20), rate: None, repeats: 2 };
        let calibration = run(settings).unwrap();
        let costs = calibration.costs();
        for cost in [costs.hash_ns_per_byte, costs.send_ns_per_byte, costs.receive_ns_per_byte] {
            assert!(cost > 0.0 && cost.is_finite(), "{costs:?}");
        }
        let usual = Costs::default();
        assert_eq!((costs.connect_ns, costs.seal_ns), (usual.connect_ns, usual.seal_ns));
        assert_eq!(calibration.table().lines().count(), 4);
    }
}

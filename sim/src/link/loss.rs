//! Which frames a link loses: alone, or in bursts.
//!
//! Bursts follow the simple Gilbert model (Gilbert: Capacity of a Burst-Noise Channel, Bell System Technical Journal 39,
//! 1960; with losses in the good state it is Elliott's of 1963): a chain of two states, everything is lost in the bad
//! one and nothing in the good one. With the chances `b` to leave the bad state and `g` to leave the good one for each
//! frame, a burst has `1/b` frames on average, and `g/(g+b)` of all frames are lost.

use samara_protocol::rng::Prng;

/// Chances are compared as so many parts of one.
const ONE: f64 = (1_u64 << 53) as f64;

/// The losses of one direction of a link; the same seed loses the same frames.
#[derive(Debug, Clone)]
pub struct Loss {
    rng: Prng,
    /// The chance that the frame after a lost one is lost.
    after_lost: f64,
    /// The chance that the frame after one that came through is lost.
    after_carried: f64,
    is_bad: bool,
}

impl Loss {
    /// Loses `fraction` (0 to 0.5) of all frames, in runs of `burst` frames on average; without `burst` each frame for
    /// itself.
    pub fn new(fraction: f64, burst: Option<f64>, rng_seed: u64) -> Self {
        // Losses that know nothing of each other come in runs of 1/(1 - fraction).
        let leave_bad = burst.map_or(1.0 - fraction, |burst| 1.0 / burst);
        let after_carried = leave_bad * fraction / (1.0 - fraction);
        Self { rng: Prng::new(rng_seed), after_lost: 1.0 - leave_bad, after_carried, is_bad: false }
    }

    /// Whether anything is ever lost.
    pub fn is_none(&self) -> bool {
        self.after_carried <= 0.0
    }

    /// Whether the next frame is lost.
    pub fn is_lost(&mut self) -> bool {
        if self.is_none() {
            return false;
        }
        let chance = if self.is_bad { self.after_lost } else { self.after_carried };
        self.is_bad = ((self.rng.next_u64() >> 11) as f64) < chance * ONE;
        self.is_bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of a million frames that is lost, and the mean length of a run.
    fn measured(fraction: f64, burst: Option<f64>) -> (f64, f64) {
        let mut loss = Loss::new(fraction, burst, 5);
        let (mut lost, mut runs, mut was_lost) = (0, 0, false);
        for _ in 0..1_000_000 {
            let is_lost = loss.is_lost();
            lost += u32::from(is_lost);
            runs += u32::from(is_lost && !was_lost);
            was_lost = is_lost;
        }
        (f64::from(lost) / 1e6, f64::from(lost) / f64::from(runs.max(1)))
    }

    #[test]
    fn single_losses_come_as_often_as_asked_for() {
        let (lost, run) = measured(0.01, None);
        assert!((0.0095..0.0105).contains(&lost) && (1.0..1.03).contains(&run), "{lost} {run}");
    }

    #[test]
    fn bursts_have_the_length_asked_for_and_lose_no_more() {
        let (lost, run) = measured(0.02, Some(4.0));
        assert!((0.019..0.021).contains(&lost) && (3.8..4.2).contains(&run), "{lost} {run}");
        let (lost, run) = measured(0.01, Some(1.0));
        assert!((0.0095..0.0105).contains(&lost) && run == 1.0, "{lost} {run}");
    }

    #[test]
    fn a_link_without_loss_loses_nothing() {
        assert!(Loss::new(0.0, None, 5).is_none());
        assert_eq!(measured(0.0, None).0, 0.0);
    }
}

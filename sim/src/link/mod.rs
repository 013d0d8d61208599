//! What a link does to frames beside its rate: when they arrive, and which never do.
//!
//! The lab's relay and the simulator's network use the same [`Delay`] and [`Loss`]; both are functions of a seed.

mod delay;
mod loss;

pub use delay::Delay;
pub use loss::Loss;

use samara_protocol::rng::Prng;

/// The seed of dice number `number` of a run. Scrambled, for a generator that starts from a neighbouring number, or from
/// a multiple of its own step, throws the same as this one a little earlier or later.
pub fn dice(rng_seed: u64, number: u64) -> u64 {
    let run = Prng::new(rng_seed).next_u64();
    Prng::new(run ^ number).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_dice_throw_the_same_earlier_or_later() {
        let mut seen = BTreeSet::new();
        for (run, number) in (0..20).flat_map(|run| (0..20).map(move |number| (run, number))) {
            let mut rng = Prng::new(dice(run, number));
            assert!((0..100).all(|_| seen.insert(rng.next_u64())), "{run} {number}");
        }
    }
}

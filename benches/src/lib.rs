//! Nothing of its own: the criterion benches are in `benches/`, and everything they measure is in other crates.

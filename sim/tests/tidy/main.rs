//! The rules of this repository that a compiler does not check: who may know whom, how long a file may be, that a
//! module says its contract, and that the deciding part reads no clock and throws no dice.
//!
//! Each rule is a row of a table with its reason. A broken rule is printed as `file:line: rule`, all at once.

mod dependencies;
mod source;
mod words;

use source::Source;
use std::path::Path;

/// Longer files are hard to read in one go; tests do not count.
const LINES_MAX: usize = 400;
/// A module that says less about itself says nothing.
const CONTRACT_WORDS_MIN: usize = 3;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace")
}

/// Fails with all that is broken, one a line.
fn demand_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn no_crate_depends_on_what_it_must_not() {
    demand_none(&dependencies::broken(&root().join("Cargo.toml")));
}

#[test]
fn no_module_names_what_it_must_not_know() {
    demand_none(&source::all(root()).iter().flat_map(words::broken).collect::<Vec<_>>());
}

#[test]
fn no_source_file_is_too_long() {
    let long = |source: &Source| {
        let lines = source.lines_without_tests();
        (!source.is_test && lines > LINES_MAX)
            .then(|| format!("{}: {lines} lines without tests, at most {LINES_MAX}", source.path))
    };
    demand_none(&source::all(root()).iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn every_module_says_its_contract() {
    let silent = |source: &Source| {
        (source.contract_words() < CONTRACT_WORDS_MIN)
            .then(|| format!("{}:1: the file does not begin with a //! that says what it is", source.path))
    };
    demand_none(&source::all(root()).iter().filter_map(silent).collect::<Vec<_>>());
}

//! The guard: starts `samara-node`, and the one before when an update's does not work.

use std::process::ExitCode;

fn main() -> ExitCode {
    samara_node::guard::main()
}

//! The device daemon: see `samara-node --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    samara_node::cli::main()
}

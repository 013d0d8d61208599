//! The `samara-sim` command: `samara_sim::cli` does everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    samara_sim::cli::main()
}

//! The operator's tool: see `samara --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    samara_seeder::run(std::env::args_os())
}

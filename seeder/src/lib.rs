//! The operator's tool `samara` as a library, so that its parts are tested and `main` stays thin.
//!
//! A verb reads a site directory, asks for what it lacks, shows what it is about to sign, signs, and writes
//! atomically. Data goes to standard output, everything else to standard error.

pub mod cli;
pub mod commands;

pub mod failure;
pub mod interrupt;
pub mod ui;

pub mod agent;
pub mod files;
pub mod keys;
pub mod outrun;
pub mod pack;
pub mod release;
pub mod show;
pub mod signer;
pub mod site;

pub mod demo;
pub mod mesh;
pub mod serve;

#[cfg(test)]
mod fixture;

use clap::Parser as _;
use failure::Kind;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

/// Everything that the binary does: parses `args` (the first is the program's name), runs the verb, and says on
/// standard error why it failed. Exit codes: see [`failure::Kind`].
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match cli::Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let is_json = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
            if error.use_stderr() && is_json {
                ui::Output::detect(is_json).failed(Kind::Usage, &cli::reason(&error));
            }
            // Help and version are answers and go to standard output with code 0; clap knows.
            let code = u8::try_from(error.exit_code()).unwrap_or(1);
            return match error.print() {
                Err(lost) if lost.kind() != ErrorKind::BrokenPipe => Kind::Storage.into(),
                _ => ExitCode::from(code),
            };
        }
    };
    let output = ui::Output::detect(cli.json);
    match cli.command.run(&output).and_then(|()| output.check_written()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.kind().into()
        }
    }
}

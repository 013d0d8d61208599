//! `samara-guard`: arguments, signals, exit codes.

use super::{Keeper, TrialFiles};
use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  samara-guard --data-dir /var/lib/samara --program /srv/samara/samara-node -- run --config /etc/samara/node.toml

Exit codes: those of samara-node, when it ends of itself and no update is on trial; and
  1  nothing can be started, or samara-node was ended by a signal";

/// What it is for.
const ABOUT: &str = "Starts samara-node, and brings the one before back when an update's does not work";

#[derive(Debug, Parser)]
#[command(name = "samara-guard", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
struct Options {
    /// The `data_dir` of samara-node's configuration
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where releases install samara-node: the destination of their artifact, below `install.root`
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// The samara-node that is started while nothing is there; by default the one beside samara-guard
    #[arg(long, value_name = "FILE")]
    packaged: Option<PathBuf>,
    /// How long a new samara-node may take to come up
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    ready_within: u64,
    /// What samara-node is started with
    #[arg(last = true, required = true)]
    arguments: Vec<OsString>,
}

/// The whole program.
pub fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(1));
        }
    };
    let beside = || std::env::current_exe().unwrap_or_default().with_file_name("samara-node");
    let keeper = Keeper {
        files: TrialFiles::new(&options.data_dir),
        program: options.program,
        packaged: options.packaged.unwrap_or_else(beside),
        ready_within: Duration::from_secs(options.ready_within),
        arguments: options.arguments,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(keeper.run())) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("samara-guard: {error}");
            ExitCode::FAILURE
        }
    }
}

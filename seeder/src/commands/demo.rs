//! `samara demo`: the whole job on this machine, with real processes.

use crate::demo;
use crate::failure::Failure;
use crate::ui::Output;
use samara_node::config::Rate;
use std::path::PathBuf;

/// Show a release crossing a mesh of real device processes on this machine
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  samara demo
  samara demo --devices 20 --uplink 50mbit firmware.bin
  samara demo --lifecycle --devices 4
  samara --json demo | tail -n 1 | jq .seeder_copies")]
pub struct Args {
    /// Devices, each a samara-node process
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub devices: u16,
    /// What the operator's uplink carries
    #[arg(long, value_name = "RATE", default_value = "20mbit")]
    pub uplink: Rate,
    /// Show instead how devices install, test, keep and take back releases, with daemons killed at every step
    #[arg(long, conflicts_with = "path")]
    pub lifecycle: bool,
    /// File or directory to publish; by default Samara's own programs
    pub path: Option<PathBuf>,
}

/// Runs the demo.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    crate::serve::block_on(demo::run(args, output.clone()))?
}

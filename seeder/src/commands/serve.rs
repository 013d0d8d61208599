//! `samara serve`: joins the mesh, announces the site's documents and seeds its artifacts.

use crate::failure::Failure;
use crate::mesh::JoinArgs;
use crate::serve;
use crate::ui::Output;
use samara_node::config::Rate;

/// Seed the site's releases until interrupted, or until it is safe to leave
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  samara serve --site plant-7
  samara serve --site plant-7 --uplink-limit 20mbit --until-safe
  samara serve --site plant-7 --no-mdns --peer /ip4/10.0.0.7/tcp/4810 --json | tee serve.jsonl")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub join: JoinArgs,
    /// Send artifact data no faster than this, such as 20mbit
    #[arg(long, value_name = "RATE")]
    pub uplink_limit: Option<Rate>,
    /// End when the site is done with every release: enough devices hold it, or each has it or has no use for it
    #[arg(long)]
    pub until_safe: bool,
    /// Copies of an artifact that may leave this laptop beside repair, such as 1 or 1.5
    #[arg(long, value_name = "COPIES", default_value_t = 1.0)]
    pub max_copies: f64,
}

/// Serves.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    if !(1.0..=1000.0).contains(&args.max_copies) {
        return Err(Failure::usage(format!(
            "--max-copies {}: expected a number from 1 to 1000",
            args.max_copies
        )));
    }
    serve::block_on(serve::run(args, output.clone()))?
}

//! One file per verb: its arguments (`Args`) and what it does (`run`).
//!
//! A new verb is a file here with `Args` and `run(Args, &Output) -> Result<(), Failure>`, and a line in `verbs!`.

use crate::failure::Failure;
use crate::site::{SiteDir, SiteWriter};
use crate::ui::{Look, Output};
use samara_protocol::id::PeerId;
use std::path::PathBuf;

pub mod demo;
pub mod enroll;
pub mod inspect;
pub mod publish;
pub mod revoke;
pub mod rollout;
pub mod serve;
pub mod site;
pub mod status;
pub mod withdraw;

macro_rules! verbs {
    ($($variant:ident => $module:ident),* $(,)?) => {
        /// The verbs.
        #[derive(Debug, clap::Subcommand)]
        #[allow(missing_docs)] // a verb's help text is the comment of its `Args`
        pub enum Command { $($variant($module::Args)),* }

        impl Command {
            /// Does it.
            pub fn run(self, output: &Output) -> Result<(), Failure> {
                match self { $(Self::$variant(args) => $module::run(args, output)),* }
            }
        }
    };
}

verbs! {
    Site => site,
    Enroll => enroll,
    Publish => publish,
    Inspect => inspect,
    Serve => serve,
    Status => status,
    Rollout => rollout,
    Withdraw => withdraw,
    Revoke => revoke,
    Demo => demo,
}

/// The devices of a site that a verb is about.
#[derive(Debug, clap::Args)]
pub struct DevicesArgs {
    /// The site directory.
    #[arg(long, env = "SAMARA_SITE")]
    site: PathBuf,
    /// Ids of the devices, 64 hexadecimal digits each.
    #[arg(required = true, value_name = "DEVICE_ID")]
    devices: Vec<PeerId>,
}

/// The right to write to a site; what it found amiss is said.
fn writer<'a>(site: &'a SiteDir, output: &Output) -> Result<SiteWriter<'a>, Failure> {
    let writer = site.writer()?;
    for remark in &writer.remarks {
        output.note(output.paint(Look::Warning, remark));
    }
    Ok(writer)
}

/// The closing words of a verb that wrote documents; `effect` is what a seeder does with them.
fn next_step(site: &SiteDir, effect: &str) -> String {
    let dir = site.dir().display();
    format!("Next: a running `samara serve` {effect} within seconds; else start: samara serve --site {dir}")
}

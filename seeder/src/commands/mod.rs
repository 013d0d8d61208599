//! One file per verb: its arguments (`Args`) and what it does (`run`).
//!
//! A new verb is a file here with `Args` and `run(Args, &Output) -> Result<(), Failure>`, and a line in `verbs!`.

use crate::failure::Failure;
use crate::signer::Signed;
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
pub mod sign;
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
    Sign => sign,
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

/// How a verb signs.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct SigningArgs {
    /// Sign without asking.
    #[arg(long, short)]
    yes: bool,
    /// Where a role needs more keys than are at hand, sign with those that are: others add theirs, see samara sign --help.
    #[arg(long)]
    incomplete: bool,
}

/// Puts a document where it belongs; what lacks signatures waits in a folder of its own, which no seeder looks into.
fn put(writer: &SiteWriter<'_>, name: &str, signed: &Signed, output: &Output) -> Result<PathBuf, Failure> {
    if signed.lacks == 0 {
        return Ok(writer.put_document(name, &signed.envelope)?);
    }
    let path = writer.put_to_sign(name, signed.id, &signed.envelope)?;
    let text = format!(
        "{} lacks {} signatures and counts for nothing yet: send it to those who sign, too, for samara sign",
        path.display(),
        signed.lacks
    );
    output.note(output.paint(Look::Warning, text));
    Ok(path)
}

/// The right to write to a site; what it found amiss is said.
fn writer<'a>(site: &'a SiteDir, output: &Output) -> Result<SiteWriter<'a>, Failure> {
    let writer = site.writer()?;
    for remark in &writer.remarks {
        output.note(output.paint(Look::Warning, remark));
    }
    Ok(writer)
}

/// The closing words of a verb that wrote documents; `effect` is what a seeder does with them once they are complete.
fn next_step(site: &SiteDir, effect: &str, lacks: u32) -> String {
    let dir = site.dir().display();
    if lacks > 0 {
        return format!(
            "Next: when others have signed, too: samara sign --site {dir} FILE; then `samara serve` {effect}"
        );
    }
    format!("Next: a running `samara serve` {effect} within seconds; else start: samara serve --site {dir}")
}

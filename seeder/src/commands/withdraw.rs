//! `samara withdraw`: takes a release back.

use super::publish::rollout_name;
use crate::failure::Failure;
use crate::show::check_label;
use crate::signer::{RoleName, Signer, show_before_signing};
use crate::site::{SiteDir, SiteWriter, payload};
use crate::ui::Output;
use samara_protocol::document::{Envelope, Rollout, RolloutState, Withdrawal};
use samara_protocol::id::DocumentId;
use samara_protocol::wire::DocumentKind;
use std::path::PathBuf;

/// Withdraw a release: devices that have not installed it never will.
///
/// Signs a withdrawal for this site, and the end of every rollout that installs the release.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  samara withdraw --site plant-7 5f0c3a --reason 'bricks hardware B'")]
pub struct Args {
    /// The site directory.
    #[arg(long, env = "SAMARA_SITE")]
    site: PathBuf,
    /// Id of the release; the first digits do when only one release of the site begins with them.
    release: String,
    /// Why, for people.
    #[arg(long)]
    reason: String,
    /// Devices also delete the bytes that they hold.
    #[arg(long)]
    purge: bool,
    /// Sign without asking.
    #[arg(long, short)]
    yes: bool,
}

/// Shows, asks, signs, writes.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    check_label("--reason", &args.reason)?;
    let site = SiteDir::open(&args.site)?;
    let mut writer = super::writer(&site, output)?;
    let mut signer = Signer::open(&site)?;
    let release = find_release(&site, &args.release)?;
    let withdrawal = Withdrawal {
        site: Some(site.settings().site),
        product: None,
        releases: vec![release],
        reason: args.reason,
        purge: args.purge,
        crit: Vec::new(),
    };
    show_before_signing(output, RoleName::Rollout.as_str(), &withdrawal)?;
    let ended = end_rollouts(&site, &mut writer, signer.epoch(), release)?;
    for rollout in &ended {
        show_before_signing(output, RoleName::Rollout.as_str(), rollout)?;
    }
    output.confirm("Sign?", args.yes.into())?;
    let signed = signer.sign(RoleName::Rollout, &withdrawal)?;
    let signed_ends = ended.iter().map(|rollout| signer.sign(RoleName::Rollout, rollout));
    let signed_ends = signed_ends.collect::<Result<Vec<_>, _>>()?;

    writer.save_sequences()?;
    let path = writer.put_document(&format!("withdrawal-{}", signed.id.short()), &signed.envelope)?;
    for (rollout, signed) in ended.iter().zip(&signed_ends) {
        writer.put_document(&rollout_name(rollout.rollout_id), &signed.envelope)?;
    }
    output.line(format_args!("withdrawn {release}: {}", path.display()));
    output.note(super::next_step(&site, "stops serving the release and tells the devices"));
    output.event(&serde_json::json!({
        "event": "withdrawn", "release": release, "document": signed.id, "file": path,
        "rollouts": ended.iter().map(|rollout| rollout.rollout_id).collect::<Vec<_>>(),
    }));
    Ok(())
}

fn find_release(site: &SiteDir, text: &str) -> Result<DocumentId, Failure> {
    let mut found = Vec::new();
    for bytes in site.documents()? {
        if let Ok(envelope) = Envelope::parse(&bytes)
            && envelope.kind() == Ok(DocumentKind::Release)
            && envelope.id().to_string().starts_with(text)
        {
            found.push(envelope.id());
        }
    }
    match (found.as_slice(), text.parse()) {
        ([id], _) if !text.is_empty() => Ok(*id),
        // A vendor's release need not be in this directory.
        ([], Ok(id)) => Ok(id),
        ([], Err(_)) => {
            Err(Failure::usage(format_args!("no release of this site has an id that begins with {text:?}")))
        }
        _ => Err(Failure::usage(format_args!(
            "{} releases begin with {text:?}; give more digits",
            found.len()
        ))),
    }
}

// The next sequence of every rollout of the release that has not ended.
fn end_rollouts(
    site: &SiteDir,
    writer: &mut SiteWriter<'_>,
    epoch: u64,
    release: DocumentId,
) -> Result<Vec<Rollout>, Failure> {
    let mut ended = Vec::new();
    for rollout in site.documents()?.iter().filter_map(|bytes| payload::<Rollout>(bytes)) {
        if rollout.release == release && rollout.state != RolloutState::Aborted {
            let sequence = writer.sequences.next_rollout(&rollout.rollout_id.to_string());
            ended.push(Rollout { epoch, sequence, state: RolloutState::Aborted, ..rollout });
        }
    }
    Ok(ended)
}

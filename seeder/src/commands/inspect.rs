//! `samara inspect`: what a document says, and whether a site's devices would accept it.

use crate::failure::{Failure, Kind};
use crate::files;
use crate::show;
use crate::signer::site_trust;
use crate::site::SiteDir;
use crate::ui::{Look, Output};
use samara_protocol::document::{ENVELOPE_BYTES_MAX, Envelope};
use samara_protocol::id::KeyId;
use samara_protocol::trust::Trust;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Show what a signed document says; with --site, also whether it is valid there.
///
/// The exit code is 4 when the file is no document, or with --site when the site's devices would refuse it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  samara inspect release.json
  samara inspect --site plant-7 plant-7/documents/rollout-5f0c3a1b2c.json")]
pub struct Args {
    /// The signed document.
    file: PathBuf,
    /// The site whose trust root decides.
    #[arg(long, env = "SAMARA_SITE")]
    site: Option<PathBuf>,
}

/// Reads, checks, prints.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let site = args.site.map(SiteDir::open).transpose()?;
    let bytes = read_document(&args.file)?;
    let no_document = |e: &dyn std::fmt::Display| {
        Failure::trust(format_args!("{} is no document: {e}", args.file.display()))
    };
    let envelope = Envelope::parse(&bytes).map_err(|e| no_document(&e))?;
    let payload: Value = serde_json::from_slice(&envelope.payload).map_err(|e| no_document(&e))?;
    let trust = site.as_ref().map(site_trust).transpose()?;
    let verdict = trust.as_ref().map(|t| t.check(&bytes).map(drop).map_err(|refusal| refusal.to_string()));
    let signers: Vec<Signer> =
        envelope.signatures.iter().map(|s| Signer::of(s.key, trust.as_ref())).collect();
    output.line(
        output.paint(Look::Strong, format_args!("{} {}", show::safe(&envelope.payload_type), envelope.id())),
    );
    for Signer { key, roles } in &signers {
        let known = if roles.is_empty() { String::new() } else { format!(" ({})", roles.join(", ")) };
        output.line(format_args!("signed by {key}{known}"));
    }
    output.line(match &verdict {
        None => output.paint(Look::Warning, "signatures not checked: no --site given"),
        Some(Ok(())) => output.paint(Look::Good, "valid for this site"),
        Some(Err(reason)) => output.paint(Look::Bad, format_args!("NOT valid for this site: {reason}")),
    });
    for line in show::lines(&payload) {
        output.line(format_args!("  {line}"));
    }
    output.event(&serde_json::json!({
        "event": "document", "payload_type": envelope.payload_type, "document": envelope.id(),
        "signed_by": signers, "valid": verdict.as_ref().map(Result::is_ok),
        "reason": verdict.as_ref().and_then(|v| v.as_ref().err()), "payload": payload,
    }));
    match verdict {
        Some(Err(reason)) => {
            Err(Failure::new(Kind::Trust, anyhow::anyhow!("{}: {reason}", args.file.display())))
        }
        _ => Ok(()),
    }
}

#[derive(serde::Serialize)]
struct Signer {
    key: KeyId,
    // Duties that the site gives the key; empty without a site.
    roles: Vec<&'static str>,
}

impl Signer {
    fn of(key: KeyId, trust: Option<&Trust>) -> Self {
        let duties = trust.map(|trust| &trust.root().roles).map(|roles| {
            let named = [
                ("root", &roles.root),
                ("release", &roles.release),
                ("rollout", &roles.rollout),
                ("enroll", &roles.enroll),
            ];
            named.into_iter().filter(|(_, role)| role.keys.contains(&key)).map(|(name, _)| name).collect()
        });
        Self { key, roles: duties.unwrap_or_default() }
    }
}

// What is too long for a document is none, and is not read on: it may be gigabytes, or a device without end.
fn read_document(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read_at_most(path, ENVELOPE_BYTES_MAX as u64).map_err(|error| match error.source.kind() {
        ErrorKind::FileTooLarge => Failure::trust(format_args!(
            "{} is no document: it has more than the {ENVELOPE_BYTES_MAX} bytes of the longest document",
            path.display()
        )),
        _ => error.into(),
    })
}

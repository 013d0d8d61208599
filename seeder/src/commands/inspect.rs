//! `samara inspect`: what a document says, and whether a site's devices would accept it.

use crate::failure::{Failure, Kind};
use crate::files;
use crate::show;
use crate::signer::site_trust;
use crate::site::SiteDir;
use crate::ui::{Look, Output};
use samara_protocol::document::{ENVELOPE_BYTES_MAX, Envelope};
use samara_protocol::id::{DocumentId, KeyId};
use samara_protocol::trust::{Trust, VerifiedDocument};
use samara_protocol::wire::DocumentKind;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Show what a signed document says; with --site, also whether it is valid there.
///
/// With --site an older document that is valid is named together with what outran it: of one rollout, device or trust
/// root the newest counts, and devices that have it take the older one no more.
/// The exit code is 4 when the file is no document, or with --site when the site's trust root does not carry it.
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
    let verdict = site.as_ref().zip(trust.as_ref()).map(|(site, trust)| judge(site, trust, &bytes));
    let verdict = verdict.transpose()?;
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
        Some(Ok(None)) => output.paint(Look::Good, "valid for this site"),
        Some(Ok(Some(newer))) => {
            output.paint(Look::Warning, format_args!("valid for this site, but outrun by {newer}"))
        }
        Some(Err(reason)) => output.paint(Look::Bad, format_args!("NOT valid for this site: {reason}")),
    });
    for line in show::lines(&payload) {
        output.line(format_args!("  {line}"));
    }
    output.event(&serde_json::json!({
        "event": "document", "payload_type": envelope.payload_type, "document": envelope.id(),
        "signed_by": signers, "valid": verdict.as_ref().map(Result::is_ok),
        "reason": verdict.as_ref().and_then(|v| v.as_ref().err()),
        "outrun_by": verdict.as_ref().and_then(|v| v.as_ref().ok()), "payload": payload,
    }));
    match verdict {
        Some(Err(reason)) => {
            Err(Failure::new(Kind::Trust, anyhow::anyhow!("{}: {reason}", args.file.display())))
        }
        _ => Ok(()),
    }
}

/// What outran a document.
#[derive(serde::Serialize)]
pub(super) struct Newer {
    // What the number is for people.
    #[serde(skip)]
    word: &'static str,
    // The version of a trust root, the counter of a report, the sequence of others.
    sequence: u64,
    // Not in the directory: only the number is known.
    file: Option<PathBuf>,
}

impl std::fmt::Display for Newer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { word, sequence, file } = self;
        match file {
            Some(file) => write!(f, "{word} {sequence} in {}", file.display()),
            None => write!(
                f,
                "{word} {sequence}, which this directory has not: it was given out, or seen on the mesh"
            ),
        }
    }
}

/// Whether the trust root carries a document, and what the directory knows that is newer of the same key.
pub(super) fn judge(
    site: &SiteDir,
    trust: &Trust,
    bytes: &[u8],
) -> Result<Result<Option<Newer>, String>, Failure> {
    let mut trust = trust.clone();
    let documents = site.read_documents()?.envelopes;
    // A report counts when its device is enrolled.
    if Envelope::parse(bytes).is_ok_and(|envelope| envelope.kind() == Ok(DocumentKind::Report)) {
        for (_, other) in &documents {
            if let Ok(enrollment @ VerifiedDocument::Enrollment(_)) = trust.check(other) {
                trust.accept(&enrollment);
            }
        }
    }
    let document = match trust.check(bytes) {
        Ok(document) => document,
        Err(refusal) => return Ok(Err(refusal.to_string())),
    };
    let Some(place) = place(&document) else { return Ok(Ok(None)) };
    let newest_root = trust.root().version;
    let mut newest = (place, None);
    for (file, other) in documents {
        let Ok(other) = trust.check(&other) else { continue };
        let is_same = match (&document, &other) {
            (VerifiedDocument::TrustRoot(_), VerifiedDocument::TrustRoot(other)) => {
                other.version == newest_root
            }
            _ => other.key() == document.key(),
        };
        if let Some(place) = self::place(&other).filter(|place| is_same && *place > newest.0) {
            newest = (place, Some(file));
        }
    }
    let known = match &document {
        VerifiedDocument::Rollout(rollout) => site.numbers()?.last_rollout(&rollout.rollout_id.to_string()),
        VerifiedDocument::Enrollment(enrollment) => site.numbers()?.last_enrollment(enrollment.device),
        _ => 0,
    };
    let word = match &document {
        VerifiedDocument::TrustRoot(_) => "version",
        VerifiedDocument::Report(_) => "counter",
        _ => "sequence",
    };
    Ok(Ok(match newest {
        ((_, sequence, _), _) if known > sequence => Some(Newer { word, sequence: known, file: None }),
        ((_, sequence, _), Some(file)) => Some(Newer { word, sequence, file: Some(file) }),
        (_, None) => None,
    }))
}

/// The order among documents of one key (T2, T5, T7, T8, T13); none where each counts for itself.
fn place(document: &VerifiedDocument) -> Option<(u64, u64, DocumentId)> {
    let (first, second) = match document {
        VerifiedDocument::TrustRoot(root) => (0, root.version),
        VerifiedDocument::Rollout(rollout) => (rollout.epoch, rollout.sequence),
        VerifiedDocument::Enrollment(enrollment) => (0, enrollment.sequence),
        VerifiedDocument::Report(report) => (report.boot, report.counter),
        VerifiedDocument::Release(_) | VerifiedDocument::Withdrawal(_) => return None,
    };
    Some((first, second, document.id()))
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
pub(super) fn read_document(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read_at_most(path, ENVELOPE_BYTES_MAX as u64).map_err(|error| match error.source.kind() {
        ErrorKind::FileTooLarge => Failure::trust(format_args!(
            "{} is no document: it has more than the {ENVELOPE_BYTES_MAX} bytes of the longest document",
            path.display()
        )),
        _ => error.into(),
    })
}

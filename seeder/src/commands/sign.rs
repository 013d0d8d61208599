//! `samara sign`: adds one's signature to a document that somebody else began.

use super::enroll::enrollment_name;
use super::inspect::{judge, read_document};
use super::publish::{release_name, rollout_name};
use super::withdraw::withdrawal_name;
use crate::failure::Failure;
use crate::files;
use crate::outrun::root_name;
use crate::signer::{Completeness, RoleName, Signed, Signer, show_payload};
use crate::site::{SiteDir, SiteWriter};
use crate::ui::{Look, Output};
use samara_protocol::document::{DocumentError, Enrollment, Envelope, Role, Rollout, TrustRoot, Withdrawal};
use samara_protocol::id::SiteId;
use samara_protocol::trust::Refusal;
use samara_protocol::wire::DocumentKind;
use std::path::{Path, PathBuf};

/// Add your signature to a document that lacks some.
///
/// Where a role needs the keys of several people, one publishes (or enrolls, withdraws, revokes) with --incomplete and
/// sends the files of DIR/to-sign to the others. Each has a site directory with the same trust root and an own key in
/// DIR/keys or in the ssh-agent, and signs what he is shown. FILE then has his signature, too, and is sent back, or on.
/// Whoever has a complete FILE puts it into DIR/documents by this verb; nothing more is signed for that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  samara publish --site plant-7 --incomplete firmware.bin          begins: plant-7/to-sign/release-5f0c3a1b2c.json
  samara sign --site my-plant-7 release-5f0c3a1b2c.json            somebody else's directory and key
  samara sign --site plant-7 release-5f0c3a1b2c.json               complete: puts it into plant-7/documents")]
pub struct Args {
    /// The site directory.
    #[arg(long, env = "SAMARA_SITE")]
    site: PathBuf,
    /// The document; it is written anew with the signatures that were added.
    file: PathBuf,
    /// Sign without asking.
    #[arg(long, short)]
    yes: bool,
}

/// Checks, shows, asks, signs, writes.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let site = SiteDir::open(&args.site)?;
    let writer = super::writer(&site, output)?;
    let mut signer = Signer::open(&site, Completeness::Optional)?;
    let no_document = |e: &dyn std::fmt::Display| {
        Failure::trust(format_args!("{} is no document: {e}", args.file.display()))
    };
    let mut envelope = Envelope::parse(&read_document(&args.file)?).map_err(|e| no_document(&e))?;
    let plan = Plan::of(&envelope, signer.root())?;
    // Wrong signatures, another site, an older sequence: nobody's signature would help.
    signer.judge(&envelope, &plan.wanted)?;
    let given = envelope.clone();
    let known =
        gather(&writer.to_sign(&plan.name), &mut envelope, |copy| signer.judge(copy, &plan.wanted).is_ok());
    let before = envelope.signatures.len();
    let mut signed = signer.judge(&envelope, &plan.wanted)?;
    if signed.lacks > 0 {
        let payload = serde_json::from_slice(&envelope.payload).map_err(|e| no_document(&e))?;
        show_payload(output, plan.role, &envelope.payload_type, envelope.id(), &payload);
        output.confirm("Sign?", args.yes.into())?;
        for wanted in &plan.wanted {
            signer.add_signatures(wanted, plan.role, &mut envelope)?;
        }
        signed = signer.judge(&envelope, &plan.wanted)?;
        let count = envelope.signatures.len();
        let brings_some = known > 0 && count > known;
        if count == before && !brings_some {
            return Err(nothing_added(&mut signer, &plan, &envelope));
        }
    }
    if envelope != given {
        files::replace(&args.file, &signed.envelope, 0o644)?;
    }
    if signed.lacks == 0 {
        refuse_outrun(&site, &signer, &signed, &args.file)?;
    }
    let place = put(&writer, &plan.name, &signed)?;
    tell(output, &args.file, &signed, envelope.signatures.len() - before, &place);
    output.check_told(format_args!("{} is signed and written", args.file.display()))
}

/// What a document needs.
struct Plan {
    role: &'static str,
    /// Whose keys and how many; a trust root needs those of both versions (T2).
    wanted: Vec<Role>,
    /// Its file in `documents/`.
    name: String,
}

impl Plan {
    fn of(envelope: &Envelope, root: &TrustRoot) -> Result<Self, Failure> {
        let wrong = |e: DocumentError| Failure::trust(e);
        let check_site = |offered: SiteId| match offered == root.site {
            true => Ok(()),
            false => Err(Failure::trust(Refusal::OtherSite { have: root.site, offered })),
        };
        let (role, name) = match envelope.kind().map_err(wrong)? {
            DocumentKind::TrustRoot => {
                let next: TrustRoot = envelope.unverified_payload().map_err(wrong)?;
                check_site(next.site)?;
                let wanted = vec![root.roles.root.clone(), next.roles.root];
                return Ok(Self { role: RoleName::Root.as_str(), wanted, name: root_name(next.version) });
            }
            DocumentKind::Release => (RoleName::Release, release_name(envelope.id())),
            DocumentKind::Rollout => {
                let rollout: Rollout = envelope.unverified_payload().map_err(wrong)?;
                check_site(rollout.site)?;
                (RoleName::Rollout, rollout_name(rollout.rollout_id))
            }
            DocumentKind::Withdrawal => {
                let withdrawal: Withdrawal = envelope.unverified_payload().map_err(wrong)?;
                withdrawal.site.map_or(Ok(()), check_site)?;
                let role = if withdrawal.site.is_some() { RoleName::Rollout } else { RoleName::Release };
                (role, withdrawal_name(envelope.id()))
            }
            DocumentKind::Enrollment => {
                let enrollment: Enrollment = envelope.unverified_payload().map_err(wrong)?;
                check_site(enrollment.site)?;
                (RoleName::Enroll, enrollment_name(enrollment.device))
            }
            DocumentKind::Report => {
                return Err(Failure::usage(
                    "a report is signed by the device that it speaks of, and by nobody else",
                ));
            }
        };
        Ok(Self { role: role.as_str(), wanted: vec![role.of(root).clone()], name })
    }
}

/// Adds the signatures of a copy that waits here: of several people each may have sent back his own. Returns how many that
/// copy has.
fn gather(waiting: &Path, envelope: &mut Envelope, is_right: impl Fn(&Envelope) -> bool) -> usize {
    let copy = files::read(waiting).ok().and_then(|bytes| Envelope::parse(&bytes).ok());
    let Some(copy) = copy.filter(|copy| copy.id() == envelope.id() && is_right(copy)) else { return 0 };
    let known = copy.signatures.len();
    for signature in copy.signatures {
        if envelope.signatures.iter().all(|held| held.key != signature.key) {
            envelope.add_signature(signature);
        }
    }
    known
}

fn nothing_added(signer: &mut Signer<'_>, plan: &Plan, envelope: &Envelope) -> Failure {
    let why = plan.wanted.first().map(|wanted| signer.too_few(wanted, plan.role, envelope));
    Failure::trust(format_args!(
        "no key of the role {} is at hand that has not signed yet: {}",
        plan.role,
        why.map(|why| why.to_string()).unwrap_or_default()
    ))
}

/// An older sequence must not take the place of a newer one.
fn refuse_outrun(site: &SiteDir, signer: &Signer<'_>, signed: &Signed, file: &Path) -> Result<(), Failure> {
    match judge(site, signer.trust(), &signed.envelope)? {
        Ok(Some(newer)) => Err(Failure::trust(format_args!(
            "{} is outrun by {newer}: devices that have that one refuse it; it is not put into documents/",
            file.display()
        ))),
        _ => Ok(()),
    }
}

/// Puts it where it belongs.
fn put(writer: &SiteWriter<'_>, name: &str, signed: &Signed) -> Result<PathBuf, Failure> {
    if signed.lacks > 0 {
        return Ok(writer.put_to_sign(name, signed.id, &signed.envelope)?);
    }
    let path = writer.put_document(name, &signed.envelope)?;
    let waiting = writer.to_sign(name);
    let is_this = |bytes: Vec<u8>| Envelope::parse(&bytes).is_ok_and(|copy| copy.id() == signed.id);
    if files::read(&waiting).is_ok_and(is_this) {
        // What stays is put again by the next `sign`; it harms nothing.
        let _ = std::fs::remove_file(waiting);
    }
    Ok(path)
}

fn tell(output: &Output, file: &Path, signed: &Signed, added: usize, place: &Path) {
    let text = match signed.lacks {
        0 => format!("{} is complete: {}", signed.id, place.display()),
        lacks => {
            format!("{} has {added} more signatures and still lacks {lacks}: {}", signed.id, file.display())
        }
    };
    output.line(output.paint(if signed.lacks == 0 { Look::Good } else { Look::Warning }, text));
    output.event(&serde_json::json!({
        "event": "signed", "document": signed.id, "file": file, "added": added, "lacks": signed.lacks, "place": place,
    }));
}

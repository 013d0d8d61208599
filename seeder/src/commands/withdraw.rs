//! `samara withdraw`: takes a release back.

use super::publish::rollout_name;
use crate::failure::Failure;
use crate::serve::{Fallback, described, fallback};
use crate::show::check_label;
use crate::signer::{RoleName, Signer, show_before_signing};
use crate::site::{SiteDir, SiteWriter, payload};
use crate::ui::{Look, Output};
use samara_protocol::document::{Envelope, Rollout, RolloutState, Withdrawal};
use samara_protocol::id::DocumentId;
use samara_protocol::wire::DocumentKind;
use std::path::PathBuf;

/// Withdraw a release: devices that have not installed it never will.
///
/// Signs a withdrawal for this site, and the end of every rollout that installs the release. Devices that have it go
/// back to the newest earlier release of its channel whose rollout is still active, and keep it where there is none:
/// which it is is said before anything is signed. Withdraw that one, too, if they shall not go back to it.
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
    /// Withdraw a release that no document of the site directory is, before it comes here; its id must be whole.
    #[arg(long)]
    force: bool,
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
    let release = find_release(&site, &args.release, args.force)?;
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
    let fallback = fallback(&site, release)?;
    output.note(output.paint(Look::Warning, what_follows(&fallback)));
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
    output.event(&serde_json::json!({
        "event": "withdrawn", "release": release, "document": signed.id, "file": path,
        "rollouts": ended.iter().map(|rollout| rollout.rollout_id).collect::<Vec<_>>(),
        "back_to": match &fallback { Fallback::To(release) => Some(release.id()), _ => None },
    }));
    output.note(super::next_step(&site, "stops serving the release and tells the devices"));
    output.check_told(format_args!(
        "the withdrawal of {release} is signed and written, do not withdraw it again"
    ))
}

fn what_follows(fallback: &Fallback) -> String {
    match fallback {
        Fallback::NotOffered => {
            "It is not what devices of this site are to have now: they keep what they have.".to_owned()
        }
        Fallback::Nothing => {
            "No earlier release of its channel is active: devices that have it keep it.".to_owned()
        }
        Fallback::To(release) => {
            format!(
                "Devices go back to {}, whose rollout is still active: {}",
                described(release),
                release.id()
            )
        }
    }
}

/// The release of the site whose id begins with a text.
pub(super) fn find_release(site: &SiteDir, text: &str, force: bool) -> Result<DocumentId, Failure> {
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
        // A vendor's release may be known to be bad before it comes.
        ([], Ok(id)) if force => Ok(id),
        ([], Ok(id)) => Err(Failure::usage(format_args!(
            "no document of this site is the release {id}; with --force it is withdrawn before it comes here"
        ))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::fixture;

    #[test]
    fn a_release_that_the_site_does_not_have_is_withdrawn_only_with_force() {
        let dir = tempfile::tempdir().unwrap();
        let site = fixture::site(dir.path(), &[]);
        fixture::publish(&site);
        let unknown = DocumentId([7; 32]);
        let error = find_release(&site, &unknown.to_string(), false).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains(&unknown.to_string()), "{error}");
        assert_eq!(find_release(&site, &unknown.to_string(), true).unwrap(), unknown);
        assert_eq!(find_release(&site, &unknown.short(), true).unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn the_release_that_devices_go_back_to_is_the_newest_that_is_still_active() {
        let dir = tempfile::tempdir().unwrap();
        let site = fixture::site(dir.path(), &[]);
        let back_to = |release| match fallback(&site, release).unwrap() {
            Fallback::To(release) => Some(release.id()),
            Fallback::Nothing => None,
            Fallback::NotOffered => Some(DocumentId([0; 32])),
        };
        let not_offered = Some(DocumentId([0; 32]));
        let mut releases = Vec::new();
        for _ in 0..2 {
            fixture::publish(&site);
            let ids = site.documents().unwrap().into_iter().filter_map(|bytes| {
                let envelope = Envelope::parse(&bytes).unwrap();
                (envelope.kind() == Ok(DocumentKind::Release)).then(|| envelope.id())
            });
            let new: Vec<_> = ids.filter(|id| !releases.contains(id)).collect();
            releases.extend(new);
        }
        let [first, second] = releases[..] else { panic!("{releases:?}") };
        assert_eq!((back_to(first), back_to(second)), (not_offered, Some(first)));
        let words = ["withdraw", "--yes", "--reason", "it bricks", "--site"].map(std::ffi::OsString::from);
        fixture::ok(words.into_iter().chain([site.dir().into(), second.to_string().into()]));
        assert_eq!((back_to(first), back_to(second)), (None, not_offered));
    }
}

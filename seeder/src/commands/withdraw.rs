//! `samara withdraw`: takes a release back.

use super::SigningArgs;
use super::publish::rollout_name;
use super::rollout::renewed;
use crate::failure::Failure;
use crate::serve::{Fallback, described, fallback, withdrawal_of};
use crate::show::{check_label, safe};
use crate::signer::{RoleName, Signer, show_before_signing};
use crate::site::SiteDir;
use crate::ui::{Look, Output};
use samara_protocol::document::{Envelope, Rollout, RolloutState, Withdrawal};
use samara_protocol::id::DocumentId;
use samara_protocol::wire::DocumentKind;
use std::path::{Path, PathBuf};

/// Withdraw a release: devices that have not installed it never will.
///
/// Signs a withdrawal for this site, and the end of every rollout that installs the release. Devices that have it go
/// back to the newest earlier release of its channel whose rollout is still active and whose security counter is not
/// lower, and keep it where there is none: which it is is said before anything is signed. Withdraw that one, too, if they
/// shall not go back to it.
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
    /// Devices also delete the copies that they hold for others; what is installed, and the version kept beside it, stays.
    #[arg(long)]
    purge: bool,
    /// Withdraw a release that no document of the site directory is, before it comes here; its id must be whole.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    signing: SigningArgs,
}

/// Shows, asks, signs, writes.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    check_label("--reason", &args.reason)?;
    let site = SiteDir::open(&args.site)?;
    let mut writer = super::writer(&site, output)?;
    let mut signer = Signer::open(&site, args.signing.incomplete.into())?;
    let release = find_release(&site, &args.release, args.force)?;
    let is_open = |state| state != RolloutState::Aborted;
    let open = renewed(&site, &mut writer, signer.epoch(), release, is_open)?;
    let ended: Vec<_> =
        open.into_iter().map(|rollout| Rollout { state: RolloutState::Aborted, ..rollout }).collect();
    if ended.is_empty()
        && let Some(withdrawal) = withdrawal_of(&site, release, args.purge)?
    {
        output.line(format_args!("{release} is withdrawn already: {}", safe(&withdrawal.reason)));
        tell(output, release, withdrawal.id(), None, &ended, &Fallback::NotOffered);
        return Ok(());
    }
    let withdrawal = Withdrawal {
        site: Some(site.settings().site),
        product: None,
        releases: vec![release],
        reason: args.reason,
        purge: args.purge,
        crit: Vec::new(),
    };
    show_before_signing(output, RoleName::Rollout.as_str(), &withdrawal)?;
    for rollout in &ended {
        show_before_signing(output, RoleName::Rollout.as_str(), rollout)?;
    }
    let fallback = fallback(&site, release)?;
    output.note(output.paint(Look::Warning, what_follows(&fallback)));
    output.confirm("Sign?", args.signing.yes.into())?;
    let signed = signer.sign(RoleName::Rollout, &withdrawal)?;
    let signed_ends = ended.iter().map(|rollout| signer.sign(RoleName::Rollout, rollout));
    let signed_ends = signed_ends.collect::<Result<Vec<_>, _>>()?;

    writer.save_sequences()?;
    let path = super::put(&writer, &withdrawal_name(signed.id), &signed, output)?;
    for (rollout, signed) in ended.iter().zip(&signed_ends) {
        super::put(&writer, &rollout_name(rollout.rollout_id), signed, output)?;
    }
    output.line(format_args!("withdrawn {release}: {}", path.display()));
    tell(output, release, signed.id, Some(&path), &ended, &fallback);
    output.note(super::next_step(&site, "stops serving the release and tells the devices", signed.lacks));
    output.check_told(format_args!(
        "the withdrawal of {release} is signed and written, do not withdraw it again"
    ))
}

/// The file of a withdrawal.
pub(super) fn withdrawal_name(id: DocumentId) -> String {
    format!("withdrawal-{}", id.short())
}

fn tell(
    output: &Output,
    release: DocumentId,
    document: DocumentId,
    file: Option<&Path>,
    ended: &[Rollout],
    fallback: &Fallback,
) {
    let (back_to, others_take) = match fallback {
        Fallback::NotOffered | Fallback::Nothing => (None, None),
        Fallback::To(release) => (Some(release.id()), Some(release.id())),
        Fallback::Split { others, back_to, .. } => {
            (back_to.as_ref().map(|release| release.id()), Some(others.id()))
        }
    };
    output.event(&serde_json::json!({
        "event": "withdrawn", "release": release, "document": document, "file": file,
        "rollouts": ended.iter().map(|rollout| rollout.rollout_id).collect::<Vec<_>>(),
        "back_to": back_to, "others_take": others_take, "already": file.is_none(),
    }));
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
        Fallback::Split { others, back_to, floor } => {
            let of_those = match back_to {
                Some(release) => format!("go back to {}: {}", described(release), release.id()),
                None => "keep it: no earlier release of its channel that is active has as much".to_owned(),
            };
            format!(
                "Devices that have installed it take nothing below its security counter {floor} any more; they {of_those}. \
                 Devices that have not take {}, whose security counter is {}: {}",
                described(others),
                others.security_counter,
                others.id()
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
            "no document of this site is the release {id} (samara withdraw --force takes one back before it comes here)"
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::fixture;
    use crate::site::payload;

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
            Fallback::Split { .. } => panic!("their security counters are equal"),
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
    #[test]
    fn devices_that_installed_a_release_go_back_to_none_below_its_security_counter() {
        let dir = tempfile::tempdir().unwrap();
        let site = fixture::site(dir.path(), &[]);
        std::fs::write(dir.path().join("a"), "a").unwrap();
        let publish = |counter: &str| {
            let words = ["publish", "--yes", "--lower-security-counter", "--security-counter", counter];
            let words = words.into_iter().map(std::ffi::OsString::from);
            fixture::ok(words.chain(["--site".into(), site.dir().into(), dir.path().join("a").into()]));
        };
        let newest = || {
            let releases = site.documents().unwrap().into_iter().filter_map(|bytes| {
                let number = payload::<samara_protocol::document::Release>(&bytes)?.number;
                Some((number, Envelope::parse(&bytes).unwrap().id()))
            });
            releases.max().unwrap().1
        };
        publish("1");
        publish("5");
        let said = what_follows(&fallback(&site, newest()).unwrap());
        assert!(said.contains("below its security counter 5 any more; they keep it"), "{said}");
        assert!(said.contains("have not take default 1 (number 1), whose security counter is 1"), "{said}");
        publish("5");
        assert!(matches!(fallback(&site, newest()).unwrap(), Fallback::To(back) if back.number == 2));
        publish("0");
        publish("4");
        let split = fallback(&site, newest()).unwrap();
        let Fallback::Split { others, back_to: Some(back_to), floor: 4 } = &split else {
            panic!("{split:?}")
        };
        assert_eq!((others.number, back_to.number), (4, 3));
    }

    #[test]
    fn a_release_that_is_withdrawn_is_not_withdrawn_again_but_for_its_copies() {
        let dir = tempfile::tempdir().unwrap();
        let site = fixture::site(dir.path(), &[]);
        fixture::publish(&site);
        let release =
            Envelope::parse(&std::fs::read(fixture::document(&site, "release-")).unwrap()).unwrap().id();
        let withdraw = |purge: &[&str]| {
            let words = ["withdraw", "--yes", "--reason", "it bricks"].iter().chain(purge);
            let words = words.map(|word| std::ffi::OsString::from(*word));
            fixture::ok(words.chain(["--site".into(), site.dir().into(), release.to_string().into()]));
            site.documents().unwrap().len()
        };
        let once = withdraw(&[]);
        assert_eq!(withdraw(&[]), once);
        assert_eq!(withdraw(&["--purge"]), once + 1);
        assert_eq!((withdraw(&["--purge"]), withdraw(&[])), (once + 1, once + 1));
    }
}

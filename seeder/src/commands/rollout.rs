//! `samara rollout`: pauses, resumes, ends or turns back what rolls out, or has it tried again.

use super::SigningArgs;
use super::publish::rollout_name;
use super::withdraw::find_release;
use crate::failure::Failure;
use crate::signer::{RoleName, Signer, show_before_signing};
use crate::site::{SiteDir, SiteWriter, payload};
use crate::ui::Output;
use samara_protocol::document::{Release, Rollout, RolloutState};
use samara_protocol::id::DocumentId;
use std::path::PathBuf;

/// Change how a release rolls out, by the next sequence of each of its rollouts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  samara rollout pause --site plant-7 5f0c3a             no further device begins to install it
  samara rollout resume --site plant-7 5f0c3a
  samara rollout abort --site plant-7 5f0c3a             for good; devices that have it keep it
  samara rollout rollback --site plant-7 5f0c3a --to 91  devices go back to release 91...
  samara rollout retry --site plant-7 5f0c3a             devices on which it went wrong try again")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    change: Change,
}

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Devices fetch it, but do not begin to install it.
    Pause(Target),
    /// Devices go on with a paused rollout.
    Resume(Target),
    /// No further device installs it; it cannot be resumed.
    Abort(Target),
    /// Devices go back to an earlier release of the channel.
    Rollback {
        #[command(flatten)]
        target: Target,
        /// Id of the earlier release, or its first digits.
        #[arg(long)]
        to: String,
    },
    /// Devices on which the release went wrong try it again; so do those that a rollback sent back from it, which ends.
    Retry {
        #[command(flatten)]
        target: Target,
        /// How often each device may try.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        attempts: u32,
    },
}

#[derive(Debug, clap::Args)]
struct Target {
    /// The site directory.
    #[arg(long, env = "SAMARA_SITE")]
    site: PathBuf,
    /// Id of the release; the first digits do when only one release of the site begins with them.
    release: String,
    #[command(flatten)]
    signing: SigningArgs,
}

impl Change {
    fn target(&self) -> &Target {
        match self {
            Self::Pause(target) | Self::Resume(target) | Self::Abort(target) => target,
            Self::Rollback { target, .. } | Self::Retry { target, .. } => target,
        }
    }

    /// The word for it.
    fn done(&self) -> &'static str {
        match self {
            Self::Pause(_) => "paused",
            Self::Resume(_) => "resumed",
            Self::Abort(_) => "aborted",
            Self::Rollback { .. } => "rolled_back",
            Self::Retry { .. } => "retried",
        }
    }

    fn effect(&self) -> &'static str {
        match self {
            Self::Pause(_) => "tells the devices: what installs now goes on to its end, nothing else begins",
            Self::Resume(_) => "tells the devices to go on",
            Self::Abort(_) => "tells the devices: those that have it keep it",
            Self::Rollback { .. } => "offers the earlier release to the devices",
            Self::Retry { .. } => "tells the devices to try again",
        }
    }

    /// Whether it says anything to a rollout in a state.
    fn concerns(&self, state: RolloutState) -> bool {
        match self {
            Self::Pause(_) | Self::Rollback { .. } | Self::Retry { .. } => state == RolloutState::Active,
            Self::Resume(_) => state == RolloutState::Paused,
            Self::Abort(_) => state != RolloutState::Aborted,
        }
    }

    /// Where devices went that are told to try again what they went back from.
    fn ends_roll_back(&self, rollouts: &[Rollout]) -> Option<DocumentId> {
        let is_retry = matches!(self, Self::Retry { .. });
        rollouts.iter().find_map(|rollout| rollout.rollback_to).filter(|_| is_retry)
    }

    fn apply(&self, rollout: Rollout, back_to: Option<DocumentId>) -> Rollout {
        let rollout = Rollout { retry: false, ..rollout };
        match self {
            Self::Pause(_) => Rollout { state: RolloutState::Paused, ..rollout },
            Self::Resume(_) => Rollout { state: RolloutState::Active, ..rollout },
            Self::Abort(_) => Rollout { state: RolloutState::Aborted, ..rollout },
            Self::Rollback { .. } => Rollout { rollback_to: back_to, ..rollout },
            Self::Retry { attempts, .. } => {
                Rollout { retry: true, attempts_max: *attempts, rollback_to: None, ..rollout }
            }
        }
    }
}

/// Shows, asks, signs, writes.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let change = args.change;
    let target = change.target();
    let site = SiteDir::open(&target.site)?;
    let mut writer = super::writer(&site, output)?;
    let mut signer = Signer::open(&site, target.signing.incomplete.into())?;
    let release = find_release(&site, &target.release, false)?;
    let back_to = match &change {
        Change::Rollback { to, .. } => Some(earlier(&site, release, to)?),
        _ => None,
    };
    let next = next_sequences(&site, &mut writer, signer.epoch(), release, &change)?;
    let ended = change.ends_roll_back(&next);
    if let Some(to) = ended {
        output
            .note(format_args!("this ends the roll back: devices that went to {to} install {release} again"));
    }
    let next: Vec<_> = next.into_iter().map(|rollout| change.apply(rollout, back_to)).collect();
    for rollout in &next {
        show_before_signing(output, RoleName::Rollout.as_str(), rollout)?;
    }
    output.confirm("Sign?", target.signing.yes.into())?;
    let signed = next.iter().map(|rollout| signer.sign(RoleName::Rollout, rollout));
    let signed = signed.collect::<Result<Vec<_>, _>>()?;

    writer.save_sequences()?;
    for (rollout, signed) in next.iter().zip(&signed) {
        let path = super::put(&writer, &rollout_name(rollout.rollout_id), signed, output)?;
        output.line(format_args!("{} {release}: {}", change.done().replace('_', " "), path.display()));
        output.event(&serde_json::json!({
            "event": "rollout", "change": change.done(), "release": release, "rollout": signed.id,
            "rollout_id": rollout.rollout_id, "sequence": rollout.sequence, "back_to": back_to,
            "ended_back_to": ended, "file": path, "lacks": signed.lacks,
        }));
    }
    let lacks = signed.iter().map(|signed| signed.lacks).max().unwrap_or_default();
    output.note(super::next_step(&site, change.effect(), lacks));
    output.check_told(format_args!("the rollout of {release} is signed and written, do not change it again"))
}

/// An earlier release of the same channel.
fn earlier(site: &SiteDir, release: DocumentId, to: &str) -> Result<DocumentId, Failure> {
    let to = find_release(site, to, false)?;
    let documents = site.documents()?;
    let find = |id: DocumentId| {
        let is_it = |bytes: &&Vec<u8>| {
            samara_protocol::document::Envelope::parse(bytes).is_ok_and(|envelope| envelope.id() == id)
        };
        documents.iter().find(is_it).and_then(|bytes| payload::<Release>(bytes))
    };
    match (find(release), find(to)) {
        (Some(from), Some(earlier)) if from.is_later_than(&earlier) => Ok(to),
        _ => Err(Failure::usage(format_args!("{to} is no earlier release of the channel of {release}"))),
    }
}

/// The next sequence of every rollout that the change concerns, still as it was.
fn next_sequences(
    site: &SiteDir,
    writer: &mut SiteWriter<'_>,
    epoch: u64,
    release: DocumentId,
    change: &Change,
) -> Result<Vec<Rollout>, Failure> {
    let next = renewed(site, writer, epoch, release, |state| change.concerns(state))?;
    if next.is_empty() {
        let state = if matches!(change, Change::Resume(_)) { "paused" } else { "active" };
        return Err(Failure::usage(format_args!("no rollout of release {release} is {state}")));
    }
    Ok(next)
}

/// The next sequence of every rollout of a release whose state is `concerned`, otherwise as it is.
pub(super) fn renewed(
    site: &SiteDir,
    writer: &mut SiteWriter<'_>,
    epoch: u64,
    release: DocumentId,
    concerned: impl Fn(RolloutState) -> bool,
) -> Result<Vec<Rollout>, Failure> {
    let mut renewed = Vec::new();
    for rollout in site.documents()?.iter().filter_map(|bytes| payload::<Rollout>(bytes)) {
        if rollout.release == release && concerned(rollout.state) {
            let sequence = writer.sequences.next_rollout(&rollout.rollout_id.to_string());
            renewed.push(Rollout { epoch, sequence, ..rollout });
        }
    }
    Ok(renewed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::ffi::OsString;

    fn rollouts(site: &SiteDir) -> Vec<Rollout> {
        site.documents().unwrap().iter().filter_map(|bytes| payload::<Rollout>(bytes)).collect()
    }

    /// Runs a change of a release.
    fn change(site: &SiteDir, words: &[&str], release: DocumentId, more: &[String]) {
        let words = ["rollout"].iter().chain(words).map(OsString::from);
        let target = ["--yes".into(), "--site".into(), site.dir().into(), release.to_string().into()];
        fixture::ok(words.chain(target).chain(more.iter().map(OsString::from)));
    }

    #[test]
    fn each_change_is_the_next_sequence_of_the_rollout_and_says_one_thing() {
        let dir = tempfile::tempdir().unwrap();
        let site = fixture::site(dir.path(), &[]);
        fixture::publish(&site);
        let first = rollouts(&site)[0].clone();
        let now = |site: &SiteDir| {
            let Rollout { sequence, state, retry, attempts_max, .. } = rollouts(site)[0];
            (sequence, state, retry, attempts_max)
        };
        change(&site, &["pause"], first.release, &[]);
        assert_eq!(now(&site), (2, RolloutState::Paused, false, 1));
        change(&site, &["resume"], first.release, &[]);
        assert_eq!(now(&site), (3, RolloutState::Active, false, 1));
        change(&site, &["retry", "--attempts", "3"], first.release, &[]);
        assert_eq!(now(&site), (4, RolloutState::Active, true, 3));
        change(&site, &["pause"], first.release, &[]);
        assert_eq!(now(&site), (5, RolloutState::Paused, false, 3), "it was retried once");
        change(&site, &["abort"], first.release, &[]);
        assert_eq!(now(&site), (6, RolloutState::Aborted, false, 3));
        let target = Target {
            site: site.dir().into(),
            release: first.release.to_string(),
            signing: SigningArgs { yes: true, incomplete: false },
        };
        let mut writer = site.writer().unwrap();
        let error = next_sequences(&site, &mut writer, 0, first.release, &Change::Resume(target));
        assert!(error.unwrap_err().to_string().contains("is paused"), "an end is for good");
    }

    #[test]
    fn devices_are_sent_back_to_an_earlier_release_of_the_channel_only() {
        let dir = tempfile::tempdir().unwrap();
        let site = fixture::site(dir.path(), &[]);
        fixture::publish(&site);
        let first = rollouts(&site)[0].release;
        fixture::publish(&site);
        let second = rollouts(&site).into_iter().find(|rollout| rollout.release != first).unwrap().release;
        assert!(earlier(&site, first, &second.to_string()).is_err());
        assert!(earlier(&site, first, &first.to_string()).is_err());
        change(&site, &["rollback"], second, &["--to".into(), first.to_string()]);
        let back = rollouts(&site).into_iter().find(|rollout| rollout.release == second).unwrap();
        assert_eq!((back.rollback_to, back.sequence), (Some(first), 2));
    }
}

//! `samara publish`: hashes artifacts, signs a Release and the Rollout that installs it.

mod kind;

use super::SigningArgs;
use crate::failure::{Failure, Kind};
use crate::keys;
use crate::release::{ArtifactDescription, Contents, Description, gather, plan};
use crate::signer::{RoleName, Signed, Signer, show_before_signing};
use crate::site::{SiteDir, SiteWriter, payload};
use crate::ui::{self, Output};
use kind::KindArgs;
use samara_protocol::document::{Release, Rollout, RolloutState, Selector};
use samara_protocol::id::{DocumentId, RolloutId};
use std::path::PathBuf;

/// Publish a release: hash files and directories, sign what they are and that they are to be installed.
///
/// Everything that will be signed is shown first. On a terminal the operator is asked, unless --yes is given;
/// without one nobody can answer, and what was shown is signed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  samara publish --site plant-7 firmware.bin
  samara publish --site plant-7 --version 2.4.0 --destination www build/www
  samara publish --site plant-7 --kind binary --restart unit=pumpd.service --destination bin/pumpd build/pumpd
  samara publish --site plant-7 --kind config --merge toml --destination etc/pump.toml pump.toml
  samara publish --site plant-7 --from release.toml --yes --json

A directory is published as a tree. Several artifacts are one release: a device installs all or none.
Files stay where they are and must not change until the release is spread; trees are copied to DIR/blobs.
The keys of RELEASE_TOML are described in docs/PUBLISHING.md.")]
pub struct Args {
    /// The site directory.
    #[arg(long, env = "SAMARA_SITE")]
    site: PathBuf,
    /// Files and directories.
    #[arg(value_name = "ARTIFACT", required_unless_present = "from", conflicts_with = "from")]
    artifacts: Vec<PathBuf>,
    /// Description of the release (TOML); other flags override what it says.
    #[arg(long, value_name = "RELEASE_TOML")]
    from: Option<PathBuf>,
    /// Product [default: the site's product].
    #[arg(long)]
    product: Option<String>,
    /// Channel [default: stable].
    #[arg(long)]
    channel: Option<String>,
    /// Version for people [default: the number].
    #[arg(long)]
    version: Option<String>,
    /// Number for machines, above the last one [default: the last one + 1].
    #[arg(long)]
    number: Option<u64>,
    /// Who signs [default: the site's issuer].
    #[arg(long)]
    issuer: Option<String>,
    /// Notes for people, in English.
    #[arg(long)]
    notes: Option<String>,
    /// Where the artifact goes, below a device's install root; only with one artifact [default: its name].
    #[arg(long, conflicts_with = "from")]
    destination: Option<String>,
    /// Name of the artifact; only with one [default: the file's name].
    #[arg(long, conflicts_with = "from")]
    name: Option<String>,
    /// Floor against roll back: devices that install this take nothing lower [default: 0].
    #[arg(long, value_name = "COUNTER")]
    security_counter: Option<u64>,
    /// Publish though an earlier release of the product has a higher security counter: devices that installed that
    /// one refuse this one.
    #[arg(long)]
    lower_security_counter: bool,
    #[command(flatten)]
    kind: Box<KindArgs>,
    #[command(flatten)]
    signing: SigningArgs,
}

const CHANNEL_DEFAULT: &str = "stable";
/// Half of what a document can carry: the next number must find room above.
const NUMBER_MAX: u64 = 1 << 52;

/// Hashes, shows, asks, signs, writes.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let description = describe(&args)?;
    let site = SiteDir::open(&args.site)?;
    let mut writer = super::writer(&site, output)?;
    let mut signer = Signer::open(&site, args.signing.incomplete.into())?;
    // All but the hashes is checked before gigabytes are hashed.
    let mut release = outline(&site, &writer, &description)?;
    if !args.lower_security_counter {
        refuse_lower_counter(&site, &release)?;
    }
    let planned = plan(&description)?;
    (release.artifacts, release.hooks) = planned.outline();
    Signer::preview(&release)?;
    // What an earlier one left that was killed or declined.
    writer.remove_orphans();
    let made = gather(planned, &writer.blobs(), output)
        .and_then(|contents| sign(&mut release, &contents, &site, &mut writer, &mut signer, &args, output));
    let published = made.inspect_err(|_| writer.remove_orphans())?;
    tell(output, &release, &published);
    output.note(super::next_step(&site, "offers it", published.lacks()));
    output.check_told(format_args!(
        "release {} (number {}) is signed and written, do not publish it again",
        published.release.id, release.number
    ))
}

struct Published {
    release: Signed,
    rollout: Signed,
    rollout_id: RolloutId,
    files: [PathBuf; 2],
}

impl Published {
    fn lacks(&self) -> u32 {
        self.release.lacks.max(self.rollout.lacks)
    }
}

/// Shows, asks, signs and writes.
fn sign(
    release: &mut Release,
    contents: &Contents,
    site: &SiteDir,
    writer: &mut SiteWriter<'_>,
    signer: &mut Signer<'_>,
    args: &Args,
    output: &Output,
) -> Result<Published, Failure> {
    release.artifacts.clone_from(&contents.artifacts);
    release.hooks.clone_from(&contents.hooks);
    let release_id = show_before_signing(output, RoleName::Release.as_str(), release)?;
    let rollout = roll_out(site, writer, signer.epoch(), release_id)?;
    show_before_signing(output, RoleName::Rollout.as_str(), &rollout)?;
    output.confirm("Sign both?", args.signing.yes.into())?;
    let signed_release = signer.sign(RoleName::Release, release)?;
    let signed_rollout = signer.sign(RoleName::Rollout, &rollout)?;

    writer.sequences.raise_release(&release.issuer, &release.product, &release.channel, release.number);
    writer.save_sequences()?;
    // A document is visible to `serve` only after its bytes can be found, a rollout only after its release.
    writer.add_sources(&contents.sources)?;
    let files = [
        super::put(writer, &release_name(signed_release.id), &signed_release, output)?,
        super::put(writer, &rollout_name(rollout.rollout_id), &signed_rollout, output)?,
    ];
    Ok(Published { release: signed_release, rollout: signed_rollout, rollout_id: rollout.rollout_id, files })
}

fn describe(args: &Args) -> Result<Description, Failure> {
    let mut description = match &args.from {
        Some(path) => Description::read(path)?,
        None => Description {
            artifacts: args.artifacts.iter().cloned().map(ArtifactDescription::of_path).collect(),
            ..Description::default()
        },
    };
    match description.artifacts.as_mut_slice() {
        [] => return Err(Failure::configuration("a release needs at least one [[artifact]]")),
        [only] => {
            only.name = args.name.clone().or(only.name.take());
            only.destination = args.destination.clone().or(only.destination.take());
            if args.from.is_none() {
                args.kind.describe(only);
            }
        }
        _ if args.kind.first().is_some() => {
            return Err(Failure::usage(format_args!(
                "{} is for one artifact; describe several in a file and give it with --from",
                args.kind.first().unwrap_or_default()
            )));
        }
        _ if args.name.is_some() || args.destination.is_some() => {
            return Err(Failure::usage(
                "--name and --destination are for one artifact; describe several in a file and give it with --from",
            ));
        }
        _ => {}
    }
    let overrides = [
        (&args.product, &mut description.product),
        (&args.channel, &mut description.channel),
        (&args.version, &mut description.version),
        (&args.issuer, &mut description.issuer),
    ];
    for (said, described) in overrides {
        if let Some(said) = said {
            *described = Some(said.clone());
        }
    }
    description.number = args.number.or(description.number);
    description.security_counter = args.security_counter.unwrap_or(description.security_counter);
    if let Some(notes) = &args.notes {
        description.notes.insert("en".into(), notes.clone());
    }
    Ok(description)
}

fn outline(site: &SiteDir, writer: &SiteWriter<'_>, d: &Description) -> Result<Release, Failure> {
    let issuer = d.issuer.clone().unwrap_or_else(|| site.settings().issuer.clone());
    let product = d.product.clone().unwrap_or_else(|| site.settings().product.clone());
    let channel = d.channel.clone().unwrap_or_else(|| CHANNEL_DEFAULT.to_owned());
    let last = writer.sequences.last_release(&issuer, &product, &channel);
    let number = d.number.unwrap_or(last.saturating_add(1));
    if number > NUMBER_MAX {
        return Err(Failure::usage(format!(
            "release number {number} is above {NUMBER_MAX}: every later one has to be higher still, so choose a smaller one"
        )));
    }
    if number <= last {
        return Err(Failure::configuration(format_args!(
            "release number {number} is not above {last}, the last one of {product} on {channel}: devices refuse it"
        )));
    }
    // A device that knows nothing of these would keep a release that does not work.
    let crit = [("hooks", !d.hooks.is_empty()), ("health", d.health.is_some())];
    let crit = crit.into_iter().filter(|(_, is_said)| *is_said).map(|(field, _)| field.to_owned());
    let release = Release {
        issuer,
        product,
        channel,
        version: d.version.clone().unwrap_or_else(|| number.to_string()),
        number,
        security_counter: d.security_counter,
        severity: d.severity.unwrap_or_default(),
        notes: d.notes.clone(),
        impact: d.impact.clone().into(),
        compatibility: d.compatibility.clone().into(),
        min_protocol: 0,
        artifacts: Vec::new(),
        hooks: Vec::new(),
        health: d.health.clone().map(Into::into),
        crit: crit.collect(),
    };
    release.validate_description().map_err(|e| Failure::new(Kind::Configuration, e))?;
    Ok(release)
}

/// Devices that installed a release with a higher counter would refuse this one.
fn refuse_lower_counter(site: &SiteDir, release: &Release) -> Result<(), Failure> {
    let documents = site.documents()?;
    let earlier = documents.iter().filter_map(|envelope| payload::<Release>(envelope));
    // One floor is for all channels of a product.
    let same =
        earlier.filter(|earlier| earlier.issuer == release.issuer && earlier.product == release.product);
    match same.max_by_key(|earlier| earlier.security_counter) {
        Some(high) if high.security_counter > release.security_counter => {
            Err(Failure::configuration(format_args!(
                "security counter {} is below the {} of version {} (number {}): devices that installed that one \
                 would refuse this one; give --security-counter {}, or --lower-security-counter if that is meant",
                release.security_counter,
                high.security_counter,
                high.version,
                high.number,
                high.security_counter,
            )))
        }
        _ => Ok(()),
    }
}

fn roll_out(
    site: &SiteDir,
    writer: &mut SiteWriter<'_>,
    epoch: u64,
    release: DocumentId,
) -> Result<Rollout, Failure> {
    let rollout_id = RolloutId(keys::random_bytes()?);
    let sequence = writer.sequences.next_rollout(&rollout_id.to_string());
    Ok(Rollout {
        site: site.settings().site,
        rollout_id,
        epoch,
        sequence,
        release,
        selector: Selector::All,
        state: RolloutState::Active,
        rollback_to: None,
        retry: false,
        attempts_max: 1,
        fresh_until: None,
        crit: Vec::new(),
    })
}

/// The file of a release.
pub(super) fn release_name(id: DocumentId) -> String {
    format!("release-{}", id.short())
}

/// The file of a rollout: its next sequence replaces it.
pub(super) fn rollout_name(id: RolloutId) -> String {
    format!("rollout-{}", id.short())
}

fn tell(output: &Output, release: &Release, published: &Published) {
    output.line(format_args!(
        "published {} {} (number {} on {}): {} artifacts, {}",
        release.product,
        release.version,
        release.number,
        release.channel,
        release.artifacts.len(),
        ui::bytes(release.bytes_total()),
    ));
    output.line(format_args!("release {}", published.release.id));
    output.line(format_args!("rollout {}", published.rollout.id));
    output.event(&serde_json::json!({
        "event": "published", "release": published.release.id, "rollout": published.rollout.id,
        "rollout_id": published.rollout_id, "product": release.product, "channel": release.channel,
        "version": release.version, "number": release.number, "bytes": release.bytes_total(),
        "blobs": release.blobs(), "files": published.files,
        "lacks": [published.release.lacks, published.rollout.lacks],
    }));
}

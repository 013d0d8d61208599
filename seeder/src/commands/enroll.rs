//! `samara enroll`: lets devices into a site.

use super::{DevicesArgs, SigningArgs};
use crate::failure::Failure;
use crate::show::check_label;
use crate::signer::{RoleName, Signer, show_before_signing};
use crate::site::SiteDir;
use crate::ui::Output;
use samara_protocol::document::{Criticality, Enrollment};
use samara_protocol::id::PeerId;
use std::collections::BTreeSet;

/// Enroll devices: sign that they belong to the site.
///
/// A device prints its id with `samara-node identity`. Enrolling a device again replaces what was said about it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  samara enroll --site plant-7 --name press-3 --hardware pump-b --tag line-2 DEVICE_ID
  samara enroll --site plant-7 --yes $(cat device-ids)")]
pub struct Args {
    #[command(flatten)]
    of: DevicesArgs,
    /// What people call the device; only with one device [default: the first digits of its id].
    #[arg(long)]
    name: Option<String>,
    /// Product that it runs [default: the site's product].
    #[arg(long)]
    product: Option<String>,
    /// Hardware variant.
    #[arg(long, default_value = "generic")]
    hardware: String,
    /// Where it stands.
    #[arg(long, default_value = "")]
    area: String,
    /// Tag for selecting devices; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Updated last: its failure hurts.
    #[arg(long)]
    critical: bool,
    #[command(flatten)]
    signing: SigningArgs,
}

/// Signs and writes the enrollments.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    if args.name.is_some() && args.of.devices.len() > 1 {
        return Err(Failure::usage("--name names one device, and several are given"));
    }
    let given = [("--name", args.name.as_deref()), ("--product", args.product.as_deref())];
    let given = given.into_iter().filter_map(|(what, text)| Some((what, text?)));
    let given = given.chain([("--hardware", args.hardware.as_str())]);
    let area = Some(("--area", args.area.as_str())).filter(|(_, area)| !area.is_empty());
    let tags = args.tags.iter().map(|tag| ("--tag", tag.as_str()));
    given.chain(area).chain(tags).try_for_each(|(what, text)| check_label(what, text))?;
    let site = SiteDir::open(&args.of.site)?;
    let mut writer = super::writer(&site, output)?;
    let mut signer = Signer::open(&site, args.signing.incomplete.into())?;
    let mut enrollments = Vec::new();
    let mut seen = BTreeSet::new();
    // One that is given twice is enrolled once.
    for device in args.of.devices.iter().filter(|device| seen.insert(**device)) {
        let enrollment = describe(&args, &site, *device, writer.sequences.next_enrollment(*device));
        show_before_signing(output, RoleName::Enroll.as_str(), &enrollment)?;
        enrollments.push(enrollment);
    }
    output.confirm("Sign?", args.signing.yes.into())?;
    let signed = enrollments.iter().map(|e| signer.sign(RoleName::Enroll, e));
    let signed = signed.collect::<Result<Vec<_>, _>>()?;
    let lacks = signed.iter().map(|signed| signed.lacks).max().unwrap_or(0);
    writer.save_sequences()?;
    for (enrollment, signed) in enrollments.iter().zip(signed) {
        let name = enrollment_name(enrollment.device);
        let path = super::put(&writer, &name, &signed, output)?;
        output.line(format_args!(
            "enrolled {} as {}: {}",
            enrollment.device,
            enrollment.name,
            path.display()
        ));
        output.event(&serde_json::json!({
            "event": "enrolled", "device": enrollment.device, "name": enrollment.name,
            "sequence": enrollment.sequence, "document": signed.id, "file": path, "lacks": signed.lacks,
        }));
    }
    output.note(super::next_step(&site, "lets them in", lacks));
    output.check_told("the enrollments are signed and written, do not sign them again")
}

/// The file of a device's enrollment: its next sequence replaces it.
pub(super) fn enrollment_name(device: PeerId) -> String {
    format!("enrollment-{}", device.short())
}

fn describe(args: &Args, site: &SiteDir, device: PeerId, sequence: u64) -> Enrollment {
    Enrollment {
        site: site.settings().site,
        device,
        sequence,
        name: args.name.clone().unwrap_or_else(|| device.short()),
        product: args.product.clone().unwrap_or_else(|| site.settings().product.clone()),
        hardware: args.hardware.clone(),
        tags: args.tags.clone(),
        area: args.area.clone(),
        criticality: if args.critical { Criticality::Critical } else { Criticality::Normal },
        crit: Vec::new(),
    }
}

//! `samara revoke`: shuts devices out of a site.

use super::{DevicesArgs, SigningArgs};
use crate::failure::Failure;
use crate::outrun::{few, root_name};
use crate::signer::{RoleName, Signer, show_before_signing};
use crate::site::{Sequences, SiteDir};
use crate::ui::{Look, Output};
use samara_node::state::identity;
use samara_protocol::document::TrustRoot;
use samara_protocol::id::{KeyId, PeerId};
use std::collections::BTreeSet;

/// Revoke devices: sign that they do not belong to the site any more.
///
/// Signs the next version of the trust root, which names them, with the root keys: put these back into DIR/keys for as
/// long as it takes. Whoever has that trust root neither talks to the devices nor believes their reports. They keep what
/// they have installed, and nobody can delete it from here. A device that is revoked already stays so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  samara revoke --site plant-7 DEVICE_ID          a device that was stolen or retired
  samara revoke --site plant-7 --yes $(cat lost-device-ids)

A laptop of an operator is revoked by the id of its mesh identity (DIR/keys/operator, DIR/keys/observer).
No verb takes it back: a device that shall come again needs a new identity (an empty data_dir), and enrollment.")]
pub struct Args {
    #[command(flatten)]
    of: DevicesArgs,
    /// Revoke also what the site directory never enrolled, and the identities of this very directory.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    signing: SigningArgs,
}

/// Shows, asks, signs, writes.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let site = SiteDir::open(&args.of.site)?;
    let writer = super::writer(&site, output)?;
    let mut signer = Signer::open(&site, args.signing.incomplete.into())?;
    let root = signer.root().clone();
    let (already, new): (BTreeSet<PeerId>, BTreeSet<PeerId>) =
        args.of.devices.into_iter().partition(|device| root.revoked_devices.contains(device));
    if !args.force {
        refuse_unknown(&new, &writer.sequences, &root)?;
        refuse_own(&site, &new)?;
    }
    for device in &already {
        output.line(format_args!("{device} is revoked already"));
    }
    if new.is_empty() {
        output.event(&serde_json::json!({
            "event": "revoked", "devices": new, "already": already, "version": root.version,
            "document": root.id(), "file": null,
        }));
        return Ok(());
    }
    let next = TrustRoot {
        version: root.version + 1,
        previous: Some(root.id()),
        revoked_devices: root.revoked_devices.iter().chain(&new).copied().collect(),
        ..TrustRoot::clone(&root)
    };
    show_before_signing(output, RoleName::Root.as_str(), &next)?;
    output.note(output.paint(Look::Warning, what_follows(&new, &root)));
    output.confirm("Sign?", args.signing.yes.into())?;
    let signed = signer.sign(RoleName::Root, &next)?;
    let path = super::put(&writer, &root_name(next.version), &signed, output)?;
    for device in &new {
        output.line(format_args!("revoked {device}: {}", path.display()));
    }
    output.event(&serde_json::json!({
        "event": "revoked", "devices": new, "already": already, "version": next.version,
        "document": signed.id, "file": path, "lacks": signed.lacks,
    }));
    output.note(super::next_step(&site, "shuts them out, and tells the other devices", signed.lacks));
    output.check_told(format_args!(
        "trust root version {} is signed and written, do not sign another one",
        next.version
    ))
}

/// A typo would be signed for ever.
fn refuse_unknown(devices: &BTreeSet<PeerId>, known: &Sequences, root: &TrustRoot) -> Result<(), Failure> {
    let is_unknown = |device: &&PeerId| known.last_enrollment(**device) == 0 && !is_laptop(**device, root);
    let unknown: Vec<_> = devices.iter().filter(is_unknown).map(ToString::to_string).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format_args!(
        "this site never enrolled {}; with --force it is revoked all the same",
        unknown.join(", ")
    )))
}

/// The site could be served from this directory, and its copies, no more.
fn refuse_own(site: &SiteDir, devices: &BTreeSet<PeerId>) -> Result<(), Failure> {
    for name in ["operator", "observer"] {
        // What is not there, or cannot be read, serves nothing.
        let own = site.mesh_secret(name).ok().map(|secret| identity::peer_id(&secret));
        if let Some(own) = own.filter(|own| devices.contains(own)) {
            return Err(Failure::usage(format_args!(
                "{own} is this directory's own {name} identity: from here and from its copies nobody could {} the site any \
                 more; with --force it is revoked all the same",
                if name == "operator" { "serve" } else { "look at" }
            )));
        }
    }
    Ok(())
}

fn is_laptop(device: PeerId, root: &TrustRoot) -> bool {
    root.roles.operator.keys.contains(&KeyId(device.0))
}

fn what_follows(devices: &BTreeSet<PeerId>, root: &TrustRoot) -> String {
    let laptops: Vec<_> = devices.iter().filter(|device| is_laptop(**device, root)).collect();
    let mut text = format!(
        "Whoever has this trust root neither talks to {} nor believes their reports any more. They keep what they have \
         installed. A device that is away learns of it when it meets one that knows. No verb takes it back.",
        few(devices.iter().map(PeerId::short))
    );
    if !laptops.is_empty() {
        let laptops = few(laptops.into_iter().map(PeerId::short));
        text = format!(
            "{text}\nOf these {laptops} can serve, or look at, the site no longer: an operator's laptop."
        );
    }
    text
}

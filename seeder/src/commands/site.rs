//! `samara site`: makes a site directory.

use crate::agent::{self, KeyAgent};
use crate::failure::{Failure, Kind};
use crate::files::{self, FileError};
use crate::keys::{self, KeyError, Passphrases};
use crate::show::check_label;
use crate::site::Settings;
use crate::ui::Output;
use ed25519_dalek::SigningKey;
use samara_protocol::document::{Envelope, MeshAccess, Role, Roles, TrustRoot};
use samara_protocol::id::{KeyId, SiteId};
use samara_protocol::trust::Trust;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Make a site: its keys and its trust root.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  samara site init plant-7 --name 'Plant 7'       a new site in the directory plant-7
  samara site init --help                         all that can be said about it")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Init(InitArgs),
}

/// Make a new site directory: a key per role, the trust root that devices pin, and a device's configuration.
///
/// The passphrase of the keys is read from the file that SAMARA_PASSPHRASE_FILE names, else asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  samara site init plant-7 --name 'Plant 7'
  samara site init demo --name demo --mesh open --no-passphrase
  samara site init plant-7 --name 'Plant 7' --threshold release=2 --key release=alice.pub
                                                  two sign a release: whoever has this directory, and Alice
  samara site init plant-7 --name 'Plant 7' --key root=token.pub
                                                  the root key is held by the ssh-agent, or by hardware behind it

Keep DIR/keys/root away from this laptop once the site runs.
Copy DIR/trust-root.json and DIR/node.toml to every device.")]
struct InitArgs {
    /// The directory to make.
    dir: PathBuf,
    /// What people call the site.
    #[arg(long)]
    name: String,
    /// Who may join: enrolled devices and operators (closed), or everybody (open).
    #[arg(long, default_value = "closed", value_name = "open|closed", value_parser = ["open", "closed"])]
    mesh: String,
    /// Product that publish and enroll mean by default.
    #[arg(long, default_value = "default")]
    product: String,
    /// Who signs releases [default: the site's name].
    #[arg(long)]
    issuer: Option<String>,
    /// Leave the keys unprotected: for demonstrations and tests.
    #[arg(long)]
    no_passphrase: bool,
    /// How many keys of a role must sign [default: 1]; as many are made, less those that --key names. Roles: root,
    /// release, rollout, enroll.
    #[arg(long = "threshold", value_name = "ROLE=N")]
    thresholds: Vec<Threshold>,
    /// A key of a role that is somebody else's, or in the ssh-agent: the file of its public half, as ssh-keygen writes it;
    /// may be repeated.
    #[arg(long = "key", value_name = "ROLE=FILE.pub")]
    keys: Vec<GivenKey>,
}

#[derive(Debug, Clone)]
struct GivenKey {
    role: String,
    file: PathBuf,
}

impl FromStr for GivenKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (role, file) =
            text.split_once('=').ok_or("expected ROLE=FILE.pub, for example release=alice.pub")?;
        check_role(role)?;
        Ok(Self { role: role.into(), file: file.into() })
    }
}

fn check_role(role: &str) -> Result<(), String> {
    match SIGNING_ROLES.contains(&role) {
        true => Ok(()),
        false => Err(format!("{role:?} is no role; roles are {}", SIGNING_ROLES.join(", "))),
    }
}

#[derive(Debug, Clone)]
struct Threshold {
    role: String,
    count: u32,
}

const SIGNING_ROLES: [&str; 4] = ["root", "release", "rollout", "enroll"];
// More people than this do not meet to sign; a typo does.
const THRESHOLD_MAX: u32 = 16;

impl FromStr for Threshold {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (role, count) = text.split_once('=').ok_or("expected ROLE=N, for example release=2")?;
        check_role(role)?;
        match count.parse() {
            Ok(count) if (1..=THRESHOLD_MAX).contains(&count) => Ok(Self { role: role.into(), count }),
            _ => Err(format!("{count:?} is not a number from 1 to {THRESHOLD_MAX}")),
        }
    }
}

/// Runs the verb below `site`.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.verb {
        Verb::Init(args) => init(&args, output),
    }
}

fn init(args: &InitArgs, output: &Output) -> Result<(), Failure> {
    refuse_used(&args.dir)?;
    check_label("--name", &args.name)?;
    check_label("--product", &args.product)?;
    args.issuer.iter().try_for_each(|issuer| check_label("--issuer", issuer))?;
    let passphrase = match args.no_passphrase {
        true => None,
        false => Some(Passphrases::default().choose()?),
    };
    // Made beside its place and renamed when it is whole: a failure leaves no half of a site.
    let parent = args.dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot_make = |e| Failure::from(FileError::of("make", &args.dir)(e));
    std::fs::create_dir_all(parent).map_err(cannot_make)?;
    let half = tempfile::Builder::new().prefix(".new-site-").tempdir_in(parent).map_err(cannot_make)?;
    let root = build(args, half.path(), passphrase.as_ref().map(|p| p.as_str()))?;
    std::fs::rename(half.path(), &args.dir).map_err(cannot_make)?;
    // It has its name now; there is nothing left to clean up.
    let _ = half.keep();

    let dir = args.dir.display();
    output.line(format_args!("site {} ({}) is in {dir}", args.name, root.site));
    output.note(format_args!(
        "Next: copy {dir}/trust-root.json and {dir}/node.toml to each device, then samara enroll --site {dir} DEVICE_ID"
    ));
    output.event(&serde_json::json!({
        "event": "site", "site": root.site, "name": args.name, "dir": args.dir, "mesh": args.mesh,
    }));
    Ok(())
}

fn refuse_used(dir: &Path) -> Result<(), Failure> {
    let is_used = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(FileError::of("use", dir)(e).into()),
    };
    if is_used {
        let message = format_args!("{} is not empty; a site is made in a new directory", dir.display());
        return Err(Failure::configuration(message));
    }
    Ok(())
}

fn build(args: &InitArgs, dir: &Path, passphrase: Option<&str>) -> Result<TrustRoot, Failure> {
    let mut private = DirBuilder::new();
    private.mode(0o700);
    let keys_dir = dir.join("keys");
    private.create(&keys_dir).map_err(FileError::of("make", &keys_dir))?;
    for name in ["documents", "blobs"] {
        let folder = dir.join(name);
        std::fs::create_dir(&folder).map_err(FileError::of("make", &folder))?;
    }

    let mut roles = BTreeMap::new();
    for role in SIGNING_ROLES {
        roles.insert(role, make_keys(args, &keys_dir, role, passphrase)?);
    }
    let mesh_identity =
        |name: &str| keys::create(&keys_dir.join(name), &format!("{name}@{}", args.name), None);
    let laptop = [mesh_identity("operator")?, mesh_identity("observer")?].map(|key| key_id(&key));
    let role = |name: &str| Role { keys: roles[name].ids.clone(), threshold: threshold(args, name) };
    let signing = Roles {
        root: role("root"),
        release: role("release"),
        rollout: role("rollout"),
        enroll: role("enroll"),
        operator: Role { threshold: laptop.len() as u32, keys: laptop.to_vec() },
    };
    let mesh = if args.mesh == "open" { MeshAccess::Open } else { MeshAccess::Closed };
    let root = TrustRoot::first(SiteId(keys::random_bytes()?), signing, mesh);
    let mut envelope = Envelope::unsigned(&root).map_err(|e| Failure::new(Kind::Configuration, e))?;
    for key in &roles["root"].made {
        envelope.sign(key);
    }
    sign_by_agent(&mut envelope, &root.roles.root)?;
    let bytes = envelope.to_bytes();
    Trust::pin(&bytes)
        .map_err(|e| Failure::trust(format_args!("devices would refuse this trust root: {e}")))?;

    let settings = Settings {
        name: args.name.clone(),
        site: root.site,
        issuer: args.issuer.clone().unwrap_or_else(|| args.name.clone()),
        product: args.product.clone(),
    };
    let settings = toml::to_string(&settings).map_err(anyhow::Error::from)?;
    files::replace(&dir.join("trust-root.json"), &bytes, 0o644)?;
    files::replace(&dir.join("node.toml"), NODE_TOML.as_bytes(), 0o644)?;
    files::replace(&dir.join("site.toml"), settings.as_bytes(), 0o644)?;
    Ok(root)
}

/// The keys of a role.
struct RoleKeys {
    ids: Vec<KeyId>,
    made: Vec<SigningKey>,
}

/// How many of a role's keys must sign.
fn threshold(args: &InitArgs, role: &str) -> u32 {
    args.thresholds.iter().rfind(|said| said.role == role).map_or(1, |said| said.count)
}

/// Takes those that were given, and makes what the threshold asks for beside them.
fn make_keys(
    args: &InitArgs,
    keys_dir: &Path,
    role: &str,
    passphrase: Option<&str>,
) -> Result<RoleKeys, Failure> {
    let given = args.keys.iter().filter(|key| key.role == role);
    let mut ids = Vec::new();
    for GivenKey { file, .. } in given {
        let key = keys::read_public(file)?;
        let id = agent::key_id(&key).ok_or_else(|| KeyError::Public { path: file.clone() })?;
        if ids.contains(&id) {
            return Err(Failure::usage(format_args!(
                "--key {role}={}: this key is given twice",
                file.display()
            )));
        }
        ids.push(id);
    }
    let missing = threshold(args, role).saturating_sub(ids.len() as u32);
    let mut made = Vec::new();
    for n in 1..=missing {
        let name = if n == 1 { role.to_owned() } else { format!("{role}-{n}") };
        let key = keys::create(&keys_dir.join(&name), &format!("{name}@{}", args.name), passphrase)?;
        ids.push(key_id(&key));
        made.push(key);
    }
    Ok(RoleKeys { ids, made })
}

/// What the given root keys have to sign, the ssh-agent signs.
fn sign_by_agent(envelope: &mut Envelope, role: &Role) -> Result<(), Failure> {
    let signed = envelope.signatures.len();
    let others = role.keys.iter().filter(|key| envelope.signatures.iter().all(|by| by.key != **key));
    let missing = (role.threshold as usize).saturating_sub(signed);
    if missing == 0 {
        return Ok(());
    }
    let failed = |e| Failure::new(Kind::Trust, e);
    let needs = format!("the trust root needs {missing} signatures of the root keys that --key names");
    let mut agent = KeyAgent::open().map_err(|e| Failure::trust(format_args!("{needs}: {e}")))?;
    let held: Vec<KeyId> = others.filter(|key| agent.holds(**key)).copied().take(missing).collect();
    if held.len() < missing {
        return Err(Failure::trust(format_args!(
            "{needs}, and the ssh-agent at {} holds {} of them; add them with ssh-add",
            agent.path().display(),
            held.len()
        )));
    }
    for key in held {
        let signature = agent.sign(key, &envelope.pae()).map_err(failed)?;
        envelope.add_signature(signature);
    }
    Ok(())
}

fn key_id(key: &SigningKey) -> KeyId {
    KeyId(key.verifying_key().to_bytes())
}

const NODE_TOML: &str = r#"# A device of this site: copy this file and trust-root.json beside each other, then
#   samara-node run --config node.toml
trust_root = "trust-root.json"
data_dir = "data"

[device]
hardware = "generic"

[install]
root = "install"

[mesh]
listen = ["/ip4/0.0.0.0/tcp/4810"]
mdns = true
"#;

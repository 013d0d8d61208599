//! The releases of the story: a program, its configuration, data and a migration that are right only together.

use super::super::process::Device;
use crate::failure::Failure;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// In a device's directory: the steps at which its daemon is still to be killed, a line each.
pub(super) const KILL_AT: &str = "kill-at";
/// In a device's directory: the steps at which it was.
pub(super) const KILLED: &str = "killed";

/// Whether a version passes its health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Works {
    Yes,
    No,
}

/// Kills the daemon, once at each step that the device's file names, and then ends without doing anything else.
const GUARD: &str = "f=\"$SAMARA_ROOT/../kill-at\"; if grep -qx \"$SAMARA_STEP\" \"$f\" 2>/dev/null; then \
    grep -vx \"$SAMARA_STEP\" \"$f\" >\"$f.new\"; mv \"$f.new\" \"$f\"; \
    echo \"$SAMARA_STEP\" >>\"$SAMARA_ROOT/../killed\"; kill -9 $PPID; exit 1; fi";

/// Bytes of the data: more than one piece.
const DATA_BYTES: usize = 400_000;

/// Writes all files of a version, and its description.
pub(super) fn write(dir: &Path, version: &str, works: Works) -> io::Result<PathBuf> {
    fs::create_dir_all(dir.join("data/deep"))?;
    let code = if works == Works::Yes { 0 } else { 1 };
    let file = |name: &str, text: String| fs::write(dir.join(name), text);
    file("app", format!("#!/bin/sh\n# version {version}\necho 'version {version}'\nexit {code}\n"))?;
    file("app.toml", format!("version = \"{version}\"\n"))?;
    file("data/version", format!("{version}\n"))?;
    file("data/deep/data", format!("{version} ").repeat(DATA_BYTES / (version.len() + 1)))?;
    file("step.sh", format!("#!/bin/sh\n{GUARD}\n"))?;
    let schema = "\"$SAMARA_ROOT/schema\"";
    let without = format!("touch {schema}; grep -vx \"$SAMARA_VERSION\" {schema} >{schema}.new");
    file(
        "migrate.sh",
        format!(
            "#!/bin/sh\n{GUARD}\n{without}\necho \"$SAMARA_VERSION\" >>{schema}.new\nmv {schema}.new {schema}\n"
        ),
    )?;
    file("back.sh", format!("#!/bin/sh\n{GUARD}\n{without}\nmv {schema}.new {schema}\n"))?;
    let description = dir.join("release.toml");
    fs::write(&description, describe(version))?;
    Ok(description)
}

fn describe(version: &str) -> String {
    let text = |text: String| toml::Value::String(text).to_string();
    let validate = text(format!("{GUARD}; grep -q '^version = ' \"$1\""));
    let health = text(format!("{GUARD}; exec \"$SAMARA_ROOT/bin/app\""));
    let hooks = ["pre_check", "pre_install", "post_install", "pre_rollback", "post_rollback"];
    let hooks = hooks.map(|step| format!("[[hook]]\npath = 'step.sh'\nname = '{step}'\nstep = '{step}'\n"));
    format!(
        "version = '{version}'
[[artifact]]
path = 'data'
[[artifact]]
path = 'app.toml'
destination = 'etc/app.toml'
kind = 'config'
merge = 'toml'
validate = ['/bin/sh', '-c', {validate}, 'validate', '{{file}}']
[[artifact]]
path = 'app'
destination = 'bin/app'
kind = 'binary'
[[artifact]]
path = 'migrate.sh'
destination = 'migration'
kind = 'script'
undo = 'back.sh'
{}
[health]
grace_seconds = 0
interval_seconds = 1
soak_seconds = 1
[[health.check]]
name = 'starts'
probe = 'command'
command = ['/bin/sh', '-c', {health}]
",
        hooks.concat()
    )
}

/// What a device has in place: one version, or those that its parts are of.
pub(super) fn in_place(device: &Device) -> String {
    let read = |path: &str| fs::read_to_string(device.dir.join("install").join(path)).unwrap_or_default();
    let after = |text: &str, word: &str| {
        text.lines().find_map(|line| line.strip_prefix(word)).unwrap_or("none").trim_matches('"').to_owned()
    };
    let mut parts = [
        after(&read("bin/app"), "# version "),
        after(&read("etc/app.toml"), "version = "),
        after(&read("data/version"), ""),
        after(&read("migration"), "version "),
        read("schema").lines().last().unwrap_or("none").to_owned(),
    ]
    .to_vec();
    parts.dedup();
    parts.join(" and ")
}

/// Fails if anything but that version is in place.
pub(super) fn expect(device: &Device, version: &str) -> Result<(), Failure> {
    match in_place(device) {
        found if found == version => Ok(()),
        found => Err(device.failure(&format!("has {found} in place instead of {version}"))),
    }
}

//! Other programs: whether they are there, and running one to its end with an error that says what failed.

use anyhow::{Context, bail, ensure};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs of the system that the lab needs, and the Debian package that brings each.
const NEEDED: [(&str, &str); 4] =
    [("ip", "iproute2"), ("tc", "iproute2"), ("ethtool", "ethtool"), ("setpriv", "util-linux")];

/// Fails with a sentence that says what to do when the lab cannot work here.
pub fn check_system() -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the lab makes network namespaces, and only root may: run it with sudo, or in a privileged container"
    );
    for (program, package) in NEEDED {
        ensure!(
            find(program).is_some(),
            "the lab needs `{program}`, which is not installed: apt-get install {package}"
        );
    }
    Ok(())
}

/// The product's program `name` in `dir`, as an absolute path.
pub fn binary(dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    ensure!(
        path.is_file(),
        "{} does not exist: build it with `cargo build --release`, or say --bin-dir",
        path.display()
    );
    path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let fallback = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(fallback).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Runs a program to its end and returns what it printed; its own words are in the error.
pub fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> anyhow::Result<String> {
    finish(Command::new(program).args(args).stdin(Stdio::null()), None)
}

/// Runs `ip` or `tc` in namespace `namespace` with one command a line.
pub fn batch(program: &str, namespace: &str, lines: &[String]) -> anyhow::Result<()> {
    let mut text = lines.join("\n");
    text.push('\n');
    let mut command = Command::new(program);
    command.args(["-n", namespace, "-batch", "-"]).stdin(Stdio::piped());
    finish(&mut command, Some(&text)).map(drop)
}

fn finish(command: &mut Command, input: Option<&str>) -> anyhow::Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("cannot start {shown}"))?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        // A program that refuses its input says why on stderr, which is the better error.
        let _ = pipe.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.trim().lines().collect();
        let last = lines[lines.len().saturating_sub(6)..].join("\n  ");
        bail!("{shown} failed ({}):\n  {last}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_quoted() {
        let error = run("sh", &["-c", "echo broken >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("broken") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_missing_binary_says_how_to_build_it() {
        let error = binary(Path::new("/nonexistent"), "samara").unwrap_err().to_string();
        assert!(error.contains("cargo build --release") && error.contains("--bin-dir"), "{error}");
    }
}

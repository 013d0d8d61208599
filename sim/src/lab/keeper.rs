//! Clears up after a lab that was killed: a shell that waits for the end of a pipe, which the kernel closes with the lab.
//!
//! A lab that ends by itself removes its own things, and ends the shell before that has anything to do.

use anyhow::Context;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `$0` begins the names of the run's namespaces, `$1` is its directory.
const SCRIPT: &str = r#"cat > /dev/null
for name in $(ip netns list | cut -d ' ' -f 1 | grep -- "^$0-"); do ip netns del "$name"; done
rm -rf -- "$1""#;

/// The shell; dropped, it does nothing more.
#[derive(Debug)]
pub struct Keeper(Child);

impl Keeper {
    /// Removes the namespaces `PREFIX-*` and `dir` when this process is gone.
    pub fn start(prefix: &str, dir: &Path) -> anyhow::Result<Self> {
        Self::spawn(SCRIPT, prefix, dir)
    }

    fn spawn(script: &str, prefix: &str, dir: &Path) -> anyhow::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, prefix]).arg(dir);
        // In a group of its own, so that the terminal's Ctrl-C does not reach it.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(shell.spawn().context("cannot start sh")?))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How the namespaces of this process's run are called.
pub fn prefix() -> String {
    format!("samara-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the last line of the script: namespaces are root's.
    const REMOVE: &str = r#"cat > /dev/null; rm -rf -- "$1""#;

    #[test]
    fn what_a_killed_lab_leaves_is_removed_when_its_pipe_closes() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("run");
        std::fs::create_dir(&dir).unwrap();
        let mut keeper = Keeper::spawn(REMOVE, "samara-0", &dir).unwrap();
        assert!(dir.exists() && SCRIPT.ends_with(r#"rm -rf -- "$1""#));
        drop(keeper.0.stdin.take());
        assert!(keeper.0.wait().unwrap().success());
        assert!(!dir.exists());
    }

    #[test]
    fn a_lab_that_ends_by_itself_keeps_its_files_from_it() {
        let dir = tempfile::tempdir().unwrap();
        drop(Keeper::spawn(REMOVE, "samara-0", dir.path()).unwrap());
        assert!(dir.path().exists());
    }
}

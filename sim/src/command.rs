//! The command that repeats a run, so that it can be pasted into a shell.

use crate::lab;
use crate::plan::Plan;
use crate::world::Options;
use std::path::Path;

/// In virtual time.
pub fn run(plan: &Plan, options: &Options) -> String {
    let mut command = format!("samara-sim run {} --seed {}", quoted(&plan.path), options.seed);
    if let Some(cores) = options.cores {
        command += &format!(" --cores {cores}");
    }
    if let Some(file) = &options.costs_file {
        command += &format!(" --costs {}", quoted(file));
    }
    if options.is_ideal {
        command += " --ideal";
    }
    command
}

/// With the real programs; `own_dir` is where they are looked for if nothing else is said.
pub fn lab(plan: &Plan, options: &lab::Options, own_dir: Option<&Path>) -> String {
    let mut command = format!("sudo samara-sim lab {}", quoted(&plan.path));
    if own_dir != Some(&*options.bin_dir) {
        command += &format!(" --bin-dir {}", quoted(&options.bin_dir));
    }
    if let Some(dir) = &options.work_dir {
        command += &format!(" --work-dir {}", quoted(dir));
    }
    command
}

fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    // No path holds the zero byte, which is all that cannot be quoted.
    shlex::try_quote(&text).map_or_else(|_| text.to_string(), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(path: &str) -> Plan {
        let text = "[devices]\ncount = 2\nup = \"8mbit\"\ndown = \"8mbit\"\n[seeder]\nup = \"8mbit\"\n\
                    [artifact]\nkind = \"file\"\nbytes = \"1MiB\"\n";
        Plan::parse(Path::new(path), text).unwrap()
    }

    #[test]
    fn a_run_is_repeated_with_its_seed_and_each_option_that_is_no_default() {
        let options = Options { cores: Some(2), ..Options::ideal(7) };
        assert_eq!(
            run(&plan("plans/a.toml"), &options),
            "samara-sim run plans/a.toml --seed 7 --cores 2 --ideal"
        );
        assert_eq!(run(&plan("plans/a.toml"), &Options::new(1)), "samara-sim run plans/a.toml --seed 1");
        let options = Options { costs_file: Some("my costs.toml".into()), ..Options::new(1) };
        assert_eq!(run(&plan("a.toml"), &options), "samara-sim run a.toml --seed 1 --costs 'my costs.toml'");
    }

    #[test]
    fn a_lab_run_names_where_its_programs_are_only_if_not_beside_it() {
        let options = lab::Options { bin_dir: "/opt/x y".into(), work_dir: None, keep: false };
        assert_eq!(lab(&plan("a.toml"), &options, Some(Path::new("/opt/x y"))), "sudo samara-sim lab a.toml");
        assert_eq!(lab(&plan("a.toml"), &options, None), "sudo samara-sim lab a.toml --bin-dir '/opt/x y'");
    }

    #[test]
    fn a_path_that_a_shell_would_read_otherwise_is_quoted() {
        assert_eq!(quoted(Path::new("my plans/$(x).toml")), "'my plans/$(x).toml'");
    }
}

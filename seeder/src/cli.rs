//! The command line's frame; each verb declares its own arguments in `commands`.

use crate::commands::Command;
use clap::Parser;
use clap::error::ErrorKind;

/// Signs releases and spreads them through a site.
#[derive(Debug, Parser)]
#[command(name = "samara", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Print one JSON object a line on standard output instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  samara site init plant-7 --name 'Plant 7'       make keys and the trust root of a new site
  samara enroll --site plant-7 DEVICE_ID          let a device in
  samara publish --site plant-7 firmware.bin      sign a release and its rollout
  samara inspect --site plant-7 FILE              what a document says and whether it is valid
  samara sign --site plant-7 FILE                 add your signature where a role needs several
  samara rollout pause --site plant-7 RELEASE     or resume, abort, rollback, retry
  samara withdraw --site plant-7 RELEASE --reason 'bricks model B'
  samara revoke --site plant-7 DEVICE_ID          shut a device out

Environment:
  SAMARA_PASSPHRASE_FILE  file with the keys' passphrase, readable by its owner only
  SSH_AUTH_SOCK           socket of an ssh-agent, which is asked for keys that are not in files
  NO_COLOR                no colour

Exit codes:
  0  done
  1  failed for another reason
  2  the command line is wrong
  3  the site directory or a description file is wrong or missing
  4  a key, passphrase, signature or document is wrong or not allowed
  5  a file or standard output could not be read or written, or a file changed while it was read or served
  6  nobody answered, or a listen address is taken or not local
  7  the operator said no; nothing was signed
  8  another samara is writing to the site directory, or serves it; try again
  9  no enrolled device takes a release that is offered (serve --until-safe)";

/// What is wrong with a command line, in one line.
pub fn reason(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "the verb is missing".to_owned();
    }
    let text = error.to_string();
    let said = text.split("\n\n").next().unwrap_or_default();
    said.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn help_and_the_operators_document_say_the_same_of_each_exit_code() {
        let rows = include_str!("../../docs/OPERATING.md").lines().filter_map(|line| {
            let (code, meaning) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
            Some((code.parse::<u8>().ok()?, meaning.replace('`', "")))
        });
        let (_, codes) = EXAMPLES.split_once("Exit codes:\n").unwrap();
        let codes = codes.lines().filter_map(|line| line.trim().split_once("  "));
        let codes: Vec<_> =
            codes.map(|(code, meaning)| (code.parse::<u8>().unwrap(), meaning.to_owned())).collect();
        assert_eq!(codes, rows.collect::<Vec<_>>());
        let kinds = (1..=9).map(|code| crate::failure::Kind::of_code(Some(code)) as u8);
        let documented: Vec<_> = codes.iter().map(|(code, _)| *code).collect();
        assert_eq!(documented, std::iter::once(0).chain(kinds).collect::<Vec<_>>());
    }

    #[test]
    fn the_reason_of_a_wrong_command_line_is_one_line() {
        let reason = |words: &[&str]| reason(&Cli::try_parse_from(words).unwrap_err());
        let long = u64::MAX.to_string();
        let said = reason(&["samara", "status", "--site", "x", "--wait", &long]);
        assert!(said.contains(&long) && said.contains("86400") && !said.contains('\n'), "{said}");
        let said = reason(&["samara", "serve", "--colour"]);
        assert!(said.starts_with("unexpected argument '--colour'"), "{said}");
        assert_eq!(reason(&["samara"]), "the verb is missing");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_address_that_the_mesh_cannot_use_is_a_wrong_command_line() {
        for (option, address) in [("--listen", "foo"), ("--peer", "foo"), ("--peer", "/ip4/10.0.0.7")] {
            for verb in ["serve", "status"] {
                let error =
                    Cli::try_parse_from(["samara", verb, "--site", "x", option, address]).unwrap_err();
                let said = error.to_string();
                assert_eq!(error.exit_code(), 2);
                assert!(
                    said.contains(option) && said.contains(address) && said.contains("/tcp/4810"),
                    "{said}"
                );
            }
        }
    }
}

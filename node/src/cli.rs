//! `samara-node`: arguments, logging, signals, exit codes.

mod life;

use crate::api::{StatusView, StoreView, client};
use crate::config::{Config, LogFormat};
use crate::daemon::{self, DaemonError, Ended};
use crate::guard;
use crate::mesh::Alarm;
use crate::mesh::store::bytes_used;
use crate::process;
use crate::ready;
use crate::state::identity;
use clap::{Parser, Subcommand};
use samara_protocol::id::DocumentId;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

const EXIT_FAILED: u8 = 1;
const EXIT_CONFIGURATION: u8 = 3;
const EXIT_STORAGE: u8 = 5;
const EXIT_UNREACHABLE: u8 = 6;
const EXIT_REFUSED: u8 = 7;

/// Samara's device daemon: joins its site's mesh, fetches, verifies, installs and shares signed releases.
#[derive(Debug, Parser)]
#[command(name = "samara-node", version, about, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  samara-node identity --config /etc/samara/node.toml   the id to enroll this device by
  samara-node check --config /etc/samara/node.toml      is the configuration usable?
  samara-node run --config /etc/samara/node.toml        the daemon; SIGTERM ends it
  samara-node status --config /etc/samara/node.toml     what the daemon is doing
  samara-node explain --config /etc/samara/node.toml    why it is, or is not, updating now
  samara-node history --config /etc/samara/node.toml    how installs ended
  samara-node rollback --config /etc/samara/node.toml   bring the version before back

Exit codes:
  0  done
  1  failed for another reason
  2  the command line is wrong
  3  the configuration, or a file that it names, is wrong or missing
  4  the trust root is not acceptable
  5  identity key, state or store cannot be used, or is another site's; or standard output could not be written
  6  the network cannot be used: no daemon answers within 5 s, or a listen address is taken or not local
  7  the daemon refuses a rollback, and says why
  10  the daemon was replaced by an update, and wants to be started again";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or SIGINT; SIGHUP is ignored, for nothing is read again
    #[command(after_help = "Examples:
  samara-node run --config /etc/samara/node.toml
  samara-node run --config ./node.toml 2> node.log &")]
    Run(ConfigArg),
    /// Show what the daemon is doing, and its alarms
    #[command(after_help = "Examples:
  samara-node status --config /etc/samara/node.toml
  samara-node status --config ./node.toml --json | jq .alarms")]
    Status {
        #[command(flatten)]
        config: ConfigArg,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say in one sentence why this device is, or is not, updating now
    #[command(after_help = "Examples:
  samara-node explain --config /etc/samara/node.toml
  samara-node explain --config ./node.toml --json | jq .changes_in_seconds")]
    Explain(ViewArgs),
    /// Show how installs on this device ended, oldest first
    #[command(after_help = "Examples:
  samara-node history --config /etc/samara/node.toml
  samara-node history --config ./node.toml --json | jq 'select(.fault)'")]
    History(ViewArgs),
    /// Show every transition of every release: the last 4096 lines of a hash chain, which is checked (exit code 1)
    #[command(after_help = "Examples:
  samara-node log --config /etc/samara/node.toml
  samara-node log --config ./node.toml --json | tail -n 1 | jq .hash")]
    Log(ViewArgs),
    /// Bring back what was in place before a release; that release is not tried again until a rollout says retry
    #[command(after_help = "Examples:
  samara-node rollback --config /etc/samara/node.toml
  samara-node rollback --config ./node.toml RELEASE --json")]
    Rollback {
        #[command(flatten)]
        view: ViewArgs,
        /// Id of the release that goes, 64 hexadecimal digits; the one that was installed last by default
        release: Option<DocumentId>,
    },
    /// Print this device's id; makes its key at the first call
    #[command(after_help = "Examples:
  samara-node identity --config /etc/samara/node.toml
  samara enroll --site plant-7 $(samara-node identity --config ./node.toml)")]
    Identity(ConfigArg),
    /// Find what would keep `run` from running, without changing anything
    #[command(after_help = "Examples:
  samara-node check --config /etc/samara/node.toml && systemctl restart samara-node
  samara-node check --config ./node.toml")]
    Check(ConfigArg),
}

#[derive(Debug, clap::Args)]
struct ViewArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ConfigArg {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/samara/node.toml")]
    config: PathBuf,
}

/// The whole program.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // No verb for people: how this program starts programs of a release.
    if words.next().is_some_and(|word| word == process::LAUNCH) {
        return process::launch(words);
    }
    process::use_launcher();
    let result = match Cli::try_parse().map(|cli| cli.command) {
        Err(usage) => show_usage(&usage),
        Ok(Command::Run(arg)) => run(&arg),
        Ok(Command::Status { config, json }) => status(&config, json),
        Ok(Command::Explain(ViewArgs { config, json })) => life::explain(&config, json),
        Ok(Command::History(ViewArgs { config, json })) => life::history(&config, json),
        Ok(Command::Log(ViewArgs { config, json })) => life::log(&config, json),
        Ok(Command::Rollback { view: ViewArgs { config, json }, release }) => {
            life::roll_back(&config, release, json)
        }
        Ok(Command::Identity(arg)) => show_identity(&arg),
        Ok(Command::Check(arg)) => check(&arg),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            if !message.is_empty() {
                let _ = writeln!(std::io::stderr(), "samara-node: {message}");
            }
            ExitCode::from(code)
        }
    }
}

type Outcome = Result<(), (u8, String)>;

fn load(arg: &ConfigArg) -> Result<Config, (u8, String)> {
    Config::load(&arg.config).map_err(|e| (EXIT_CONFIGURATION, e.to_string()))
}

fn run(arg: &ConfigArg) -> Outcome {
    if !guard::tie() {
        return Err((EXIT_FAILED, "samara-guard, which started this process, has ended".into()));
    }
    let config = load(arg)?;
    init_log(&config)?;
    let is_json = config.log.format == LogFormat::Json;
    runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        let signals = wait_for_signal(shutdown.clone()).map_err(|e| (EXIT_FAILED, e.to_string()))?;
        let result = daemon::run(config, shutdown).await;
        signals.abort();
        match result {
            Ok(Ended::Told) => Ok(()),
            Ok(Ended::Replaced) => Err((guard::EXIT_REPLACED, String::new())),
            Err(error) => Err(described(&error, is_json)),
        }
    })
}

/// Once: in the form in which a log of objects can be read, or as every other command says it.
fn described(error: &DaemonError, is_json: bool) -> (u8, String) {
    let message = match is_json {
        true => {
            tracing::error!(target: "samara", event = "failed", %error, "samara-node cannot run");
            String::new()
        }
        false => error.to_string(),
    };
    (error.exit_code(), message)
}

fn status(arg: &ConfigArg, json: bool) -> Outcome {
    let config = load(arg)?;
    let view = runtime()?
        .block_on(client::status(&config.socket()))
        .map_err(|e| (EXIT_UNREACHABLE, e.to_string()))?;
    let text = if json { serde_json::to_string(&view).unwrap_or_default() } else { for_people(&view) };
    print(&text)
}

fn show_identity(arg: &ConfigArg) -> Outcome {
    let config = load(arg)?;
    let secret = identity::load_or_create(&config.data_dir).map_err(|e| (EXIT_STORAGE, e.to_string()))?;
    print(&identity::peer_id(&secret).to_string())
}

fn check(arg: &ConfigArg) -> Outcome {
    let config = load(arg)?;
    let ready = ready::check(&config).map_err(|e| (e.exit_code(), e.to_string()))?;
    let store =
        StoreView { bytes_used: bytes_used(&config.store_dir()), bytes_quota: config.store.quota_bytes() };
    print(&format!("{} is usable; site {}; copies take {store}", arg.config.display(), ready.trust.site()))
}

fn print(text: &str) -> Outcome {
    check_written(writeln!(std::io::stdout(), "{text}"))
}

/// A full disk must not leave a script with half an answer. A closed pipe is the reader's wish, not an error.
fn check_written(written: std::io::Result<()>) -> Outcome {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err((EXIT_STORAGE, format!("cannot write to standard output, some of it is missing: {error}")))
        }
        _ => Ok(()),
    }
}

/// Help and version go to standard output with code 0, what is wrong with a command line to standard error.
fn show_usage(usage: &clap::Error) -> Outcome {
    let written = usage.print();
    match u8::try_from(usage.exit_code()).unwrap_or(EXIT_FAILED) {
        0 => check_written(written),
        code => Err((code, String::new())),
    }
}

fn for_people(view: &StatusView) -> String {
    let mut lines = vec![
        format!("device      {}", view.device),
        format!("site        {}", view.site),
        format!("agent       {}, up {} s", view.agent, view.uptime_seconds),
        format!("neighbours  {}", view.neighbours.len()),
    ];
    lines.push(format!("now         {}", view.explanation.text));
    lines.push(format!("store       {}", view.store));
    for release in &view.releases {
        let percent = (release.bytes_have * 100).checked_div(release.bytes_total).unwrap_or(100);
        let reason = if release.reason.is_empty() { String::new() } else { format!(": {}", release.reason) };
        lines.push(format!(
            "release     {} {} (number {} on {})  {} {percent} %{reason}",
            release.product, release.version, release.number, release.channel, release.state
        ));
    }
    if view.releases.is_empty() {
        lines.push("release     none yet".into());
    }
    let alarm = |alarm: &Alarm| format!("alarm       {} (for {} s)", alarm.detail, alarm.since_seconds);
    lines.extend(view.alarms.iter().map(alarm));
    lines.join("\n")
}

/// One thread for the whole mesh: what arrives is small and often, and waking a second thread for it costs more processor
/// time and memory than it saves. Disk and documents have threads of their own.
fn runtime() -> Result<tokio::runtime::Runtime, (u8, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| (EXIT_FAILED, e.to_string()))
}

fn init_log(config: &Config) -> Outcome {
    let filter = config.log_filter().map_err(|e| (EXIT_CONFIGURATION, e))?;
    // Colours are for a terminal; a file or a journal would keep their codes.
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        // A terminal that was closed must not end the daemon, which a complaint about it would.
        .log_internal_errors(false);
    match config.log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

fn wait_for_signal(shutdown: CancellationToken) -> std::io::Result<tokio::task::JoinHandle<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                Some(()) = hangup.recv() => tracing::info!(
                    target: "samara", event = "hangup", "SIGHUP ignored: the configuration is read at the start only"
                ),
            }
        }
        shutdown.cancel();
    }))
}

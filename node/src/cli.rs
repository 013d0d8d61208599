//! `samara-node`: arguments, logging, signals, exit codes.

use crate::api::{StatusView, client};
use crate::config::{Config, LogFormat};
use crate::daemon::{self, DaemonError};
use crate::state::identity;
use clap::{Parser, Subcommand};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

const EXIT_FAILED: u8 = 1;
const EXIT_CONFIGURATION: u8 = 3;
const EXIT_STORAGE: u8 = 5;
const EXIT_UNREACHABLE: u8 = 6;

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

Exit codes:
  0  done
  1  failed for another reason
  2  the command line is wrong
  3  the configuration, or a file that it names, is wrong or missing
  4  the trust root is not acceptable
  5  identity key, state or store cannot be used
  6  no daemon answers";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(ConfigArg),
    /// Show what the daemon is doing
    Status {
        #[command(flatten)]
        config: ConfigArg,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print this device's id; makes its key at the first call
    Identity(ConfigArg),
    /// Check the configuration and the trust root
    Check(ConfigArg),
}

#[derive(Debug, clap::Args)]
struct ConfigArg {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/samara/node.toml")]
    config: PathBuf,
}

/// The whole program.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(arg) => run(&arg),
        Command::Status { config, json } => status(&config, json),
        Command::Identity(arg) => show_identity(&arg),
        Command::Check(arg) => check(&arg),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            let _ = writeln!(std::io::stderr(), "samara-node: {message}");
            ExitCode::from(code)
        }
    }
}

type Outcome = Result<(), (u8, String)>;

fn load(arg: &ConfigArg) -> Result<Config, (u8, String)> {
    Config::load(&arg.config).map_err(|e| (EXIT_CONFIGURATION, e.to_string()))
}

fn run(arg: &ConfigArg) -> Outcome {
    let config = load(arg)?;
    init_log(&config, &arg.config)?;
    runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        let signals = wait_for_signal(shutdown.clone()).map_err(|e| (EXIT_FAILED, e.to_string()))?;
        let result = daemon::run(config, shutdown).await;
        signals.abort();
        result.map_err(|error: DaemonError| {
            tracing::error!(%error, "samara-node cannot run");
            (error.exit_code(), error.to_string())
        })
    })
}

fn status(arg: &ConfigArg, json: bool) -> Outcome {
    let config = load(arg)?;
    let socket = config.data_dir.join("api.sock");
    let view = runtime()?.block_on(client::status(&socket)).map_err(|e| (EXIT_UNREACHABLE, e.to_string()))?;
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
    let trust = daemon::pinned_trust(&config).map_err(|e| (e.exit_code(), e.to_string()))?;
    print(&format!("{} is usable; site {}", arg.config.display(), trust.site()))
}

// A closed pipe is the reader's wish, not an error.
fn print(text: &str) -> Outcome {
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

fn for_people(view: &StatusView) -> String {
    let mut lines = vec![
        format!("device      {}", view.device),
        format!("site        {}", view.site),
        format!("agent       {}, up {} s", view.agent, view.uptime_seconds),
        format!("neighbours  {}", view.neighbours.len()),
    ];
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
    lines.extend(view.alarms.iter().map(|alarm| format!("alarm       {alarm}")));
    lines.join("\n")
}

/// One thread for the whole mesh: what arrives is small and often, and waking a second thread for it costs more processor
/// time and memory than it saves. Disk and documents have threads of their own.
fn runtime() -> Result<tokio::runtime::Runtime, (u8, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| (EXIT_FAILED, e.to_string()))
}

fn init_log(config: &Config, path: &Path) -> Outcome {
    let filter = EnvFilter::try_new(&config.log.level).map_err(|e| {
        let expected = "expected a level such as info, or a filter such as info,samara_node=debug";
        let message = format!("{}: log.level = {:?}: {e}; {expected}", path.display(), config.log.level);
        (EXIT_CONFIGURATION, message)
    })?;
    // Colours are for a terminal; a file or a journal would keep their codes.
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match config.log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

fn wait_for_signal(shutdown: CancellationToken) -> std::io::Result<tokio::task::JoinHandle<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    }))
}

//! `samara status`: joins as an observer, gathers the site's documents and prints where every device stands.

use crate::failure::{Failure, Kind};
use crate::mesh::{Join, JoinArgs, Joined, join};
use crate::outrun::Seen;
use crate::serve::block_on;
use crate::show::safe;
use crate::site::SiteDir;
use crate::ui::{Look, Output};
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use samara_node::mesh::{Alarm, MeshEvent};
use samara_protocol::document::{Enrollment, Report};
use samara_protocol::id::PeerId;
use samara_protocol::rollout::SiteDocuments;
use samara_protocol::trust::{Verified, VerifiedDocument};
use samara_protocol::wire::ServeMode;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long nothing new must come before the picture counts as whole.
const QUIET: Duration = Duration::from_secs(2);

/// The longest wait, in seconds: a day.
const WAIT_MAX: u64 = 86_400;

/// Show where every device of the site stands, from the devices' own signed reports
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  samara status --site plant-7
  samara status --site plant-7 --no-mdns --peer /ip4/10.0.0.7/tcp/4810 --json")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub join: JoinArgs,
    /// Seconds to wait for somebody to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(..=WAIT_MAX))]
    pub wait: u64,
}

/// Looks.
pub fn run(args: Args, output: &Output) -> Result<(), Failure> {
    block_on(look(args, output.clone()))?
}

#[derive(Default)]
struct Picture {
    enrollments: BTreeMap<PeerId, Verified<Enrollment>>,
    reports: BTreeMap<PeerId, Verified<Report>>,
    documents: SiteDocuments,
    seen: Seen,
}

async fn look(args: Args, output: Output) -> Result<(), Failure> {
    let site = SiteDir::open(&args.join.site)?;
    let scratch = tempfile::tempdir().map_err(|e| Failure::new(Kind::Storage, e))?;
    let how = Join { key: "observer", mode: ServeMode::Pull, copies_max: 0, uplink_limit: None };
    let mut joined = join(&site, scratch.path(), &args.join, how).await?;
    let mut picture = Picture::default();
    let answered = gather(&mut joined, &mut picture, Duration::from_secs(args.wait)).await;
    let (me, alarms) = (joined.me, joined.mesh.view(Vec::new()).await.map(|view| view.alarms));
    joined.leave().await?;
    if let Some(root) = picture.documents.root.as_ref().filter(|root| root.revoked_devices.contains(&me)) {
        return Err(crate::serve::shut_out(me, root.version));
    }
    if !answered {
        return Err(nobody_answered(args.wait, &alarms.unwrap_or_default()));
    }
    show(&picture, &output);
    if let Some(outrun) = picture.seen.settle(&site)? {
        output.note(output.paint(Look::Bad, outrun.text()));
        output.event(&outrun.event());
    }
    Ok(())
}

fn nobody_answered(wait: u64, alarms: &[Alarm]) -> Failure {
    let why: String = alarms.iter().map(|alarm| format!("; {}", alarm.detail)).collect();
    Failure::new(
        Kind::Unreachable,
        anyhow::anyhow!("nobody of the site answered within {wait} s; name a device with --peer{why}"),
    )
}

/// Fills the picture until nothing new comes; whether anybody answered.
async fn gather(joined: &mut Joined, picture: &mut Picture, wait: Duration) -> bool {
    let start = Instant::now();
    let mut here = BTreeSet::new();
    let mut last_news = None;
    loop {
        let deadline = match last_news {
            Some(at) => at + QUIET,
            None => start + wait,
        };
        let event = tokio::time::timeout_at(deadline.into(), joined.events.recv()).await;
        match event {
            Err(_elapsed) => return last_news.is_some(),
            Ok(None) => return false,
            Ok(Some(MeshEvent::Neighbour { peer, connected: true })) => {
                here.insert(peer);
                last_news = Some(Instant::now());
            }
            Ok(Some(MeshEvent::Neighbour { peer, connected: false })) => {
                here.remove(&peer);
                // Who turns this laptop away has not answered.
                last_news = last_news.filter(|_| !here.is_empty());
            }
            Ok(Some(MeshEvent::Document(document))) => {
                // The site directory's own documents are no answer.
                last_news = last_news.map(|_| Instant::now());
                picture.add(*document);
            }
            Ok(Some(MeshEvent::DocumentDropped(id))) => picture.documents.remove(id),
            Ok(Some(_)) => {}
        }
        // A busy site never falls quiet: what came until then is shown.
        if start.elapsed() > wait + QUIET {
            return last_news.is_some();
        }
    }
}

impl Picture {
    fn add(&mut self, document: VerifiedDocument) {
        self.seen.add(document.clone());
        match document {
            VerifiedDocument::TrustRoot(root) => {
                self.enrollments.retain(|device, _| !root.revoked_devices.contains(device));
                self.documents.insert(VerifiedDocument::TrustRoot(root));
            }
            VerifiedDocument::Enrollment(enrollment) => {
                self.enrollments.insert(enrollment.device, enrollment);
            }
            VerifiedDocument::Report(report) => {
                self.reports.insert(report.device, report);
            }
            other => self.documents.insert(other),
        }
    }
}

fn show(picture: &Picture, output: &Output) {
    let releases: Vec<_> = picture.documents.releases.values().cloned().collect();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["device", "name", "area", "state", "release", "reason"]);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (device, enrollment) in &picture.enrollments {
        let report = picture.reports.get(device);
        let state = report.map_or("never heard of", |report| report.state.as_str());
        let release = report.map_or_else(String::new, |r| crate::serve::release_name(&releases, r.release));
        let reason = report.map_or("", |report| report.reason.as_str());
        *counts.entry(state.to_owned()).or_default() += 1;
        let said = [enrollment.name.as_str(), &enrollment.area, state, &release, reason];
        table.add_row(std::iter::once(device.short()).chain(said.map(safe)));
        output.event(&json!({
            "event": "device", "device": device, "name": enrollment.name, "area": enrollment.area, "state": state,
            "release": report.and_then(|r| r.release), "reason": reason,
            "versions": report.map(|r| r.versions.clone()),
            "written_percent": report.map(|r| r.written_percent).filter(|percent| *percent > 0),
        }));
    }
    output.line(&table);
    let counted: Vec<_> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    output.line(format_args!("{} devices: {}", picture.enrollments.len(), counted.join(", ")));
    output.event(&json!({"event": "site", "devices": picture.enrollments.len(), "states": counts}));
}

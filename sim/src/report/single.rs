//! The page of one run, simulated or in the lab.

use super::number::{bytes, percent, ratio, seconds};
use super::{View, figures, frame, headline, installs, slowest};
use crate::outcome::Outcome;
use crate::plan::Plan;
use maud::{Markup, html};
use samara_protocol::measure::DeviceReport;

/// Rows of the table of all devices at most.
const DEVICES_MAX: usize = 200;

/// The page.
pub fn page(plan: &Plan, outcome: &Outcome) -> anyhow::Result<String> {
    let view = View { plan, outcome };
    let body = html! {
        (frame::head(&outcome.plan, &plan.about, kind(outcome), &[outcome]))
        @for sentence in headline::sentences(view) { p.headline { (sentence) } }
        (frame::tiles(&tiles(outcome)))
        (frame::failures(&[outcome], 1))
        (frame::figures(&figures::all(view))?)
        (installed(outcome))
        (slow(view))
        (frame::events(&outcome.marks))
        (devices(outcome))
        section {
            h2 { "How it was run" }
            (frame::facts(&facts(outcome)))
            (frame::plan(&plan.text))
        }
    };
    Ok(frame::page(&format!("{} – samara-sim", outcome.plan), &body))
}

/// Where it ran.
pub(super) fn kind(outcome: &Outcome) -> &'static str {
    if outcome.seed.is_some() { "Simulated run" } else { "Run in the lab, with the real programs" }
}

fn tiles(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let report = &outcome.report;
    let known = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(|| "–".into(), show);
    let installed = outcome.installs.iter().flat_map(|installs| {
        let last = known(installs.last_committed_seconds, seconds);
        [("committed", format!("{} / {}", installs.committed, installs.devices)), ("last committed", last)]
    });
    let complete = ("complete", format!("{} / {}", report.verified, report.devices));
    let rest = vec![
        ("last device", known(report.last_device_seconds, seconds)),
        ("lower bound", known(outcome.oracle.lower_bound_seconds, seconds)),
        ("time ratio", known(report.time_ratio, ratio)),
        ("seeder copies", ratio(report.seeder_copies)),
        ("with headers", known(report.seeder_wire_copies, ratio)),
        ("from devices", percent(report.peer_share)),
        ("artifact", bytes(report.artifact_bytes)),
    ];
    [complete].into_iter().chain(installed).chain(rest).collect()
}

fn installed(outcome: &Outcome) -> Markup {
    let rows = outcome.installs.as_ref().map(installs::rows).unwrap_or_default();
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "How the installs ended" }
                (frame::table(&["state", "devices", "which", "why"], &rows))
            }
        }
    }
}

fn slow(view: View<'_>) -> Markup {
    let slowest = slowest::slowest(view, slowest::SHOWN_MAX);
    let row = |slow: &slowest::Slow<'_>| {
        vec![slow.device.device.clone(), time(slow.complete_at), slow.reasons.join("; ")]
    };
    let rows: Vec<Vec<String>> = slowest.iter().map(row).collect();
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "The slowest devices, and what held them" }
                (frame::table(&["device", "complete at", "what held it"], &rows))
            }
        }
    }
}

fn time(value: Option<f64>) -> String {
    value.map_or_else(|| "never".into(), seconds)
}

fn devices(outcome: &Outcome) -> Markup {
    let devices = &outcome.report.per_device;
    let row = |device: &DeviceReport| {
        vec![
            device.device.clone(),
            time(super::series::complete_at(device)),
            bytes(device.bytes_from_seeder),
            bytes(device.bytes_from_peers),
            bytes(device.duplicate_bytes),
        ]
    };
    let rows: Vec<Vec<String>> = devices.iter().take(DEVICES_MAX).map(row).collect();
    let heads = ["device", "complete at", "from the seeder", "from devices", "received twice"];
    html! {
        @if !rows.is_empty() {
            details {
                summary {
                    "All devices"
                    @if devices.len() > DEVICES_MAX { " (the first " (DEVICES_MAX) " of " (devices.len()) ")" }
                }
                (frame::table(&heads, &rows))
            }
        }
    }
}

/// What repeats the run.
fn facts(outcome: &Outcome) -> Vec<(String, String)> {
    let mut facts = vec![("network".to_owned(), outcome.network.clone())];
    facts.extend(outcome.seed.map(|seed| ("seed".into(), seed.to_string())));
    facts.extend(outcome.options.iter().map(|(name, value)| ((*name).into(), value.clone())));
    facts.push(("command".into(), outcome.command.clone()));
    facts.push(("samara-sim".into(), env!("CARGO_PKG_VERSION").into()));
    facts
}

//! The page of a prediction beside its measurement.

use super::chart::{Axis, Layer, Plot};
use super::figures::{self, Figure, Key, ROOM};
use super::number::percent;
use super::palette::Ink;
use super::{View, frame, headline, series};
use crate::compare::Comparison;
use crate::outcome::Outcome;
use crate::plan::Plan;
use maud::html;

/// The page.
pub fn page(plan: &Plan, comparison: &Comparison) -> anyhow::Result<String> {
    let Comparison { simulated, lab, .. } = comparison;
    let rows: Vec<Vec<String>> = comparison.rows().into_iter().map(Vec::from).collect();
    let said = |outcome| headline::sentences(View { plan, outcome });
    let body = html! {
        (frame::head(&plan.name, &plan.about, "Prediction and measurement", &[simulated, lab]))
        h2 { "Predicted" }
        @for sentence in said(simulated) { p.headline { (sentence) } }
        h2 { "Measured" }
        @for sentence in said(lab) { p.headline { (sentence) } }
        (frame::failures(&[simulated, lab], 2))
        (frame::figures(&[held(simulated, lab, comparison.largest_gap), complete(simulated, lab)])?)
        section {
            h2 { "Figure by figure" }
            (frame::table(&["figure", "predicted", "measured", "difference"], &rows))
        }
        section {
            h2 { "How it was run" }
            (frame::facts(&[
                ("predicted".into(), simulated.command.clone()),
                ("measured".into(), lab.command.clone()),
                ("network".into(), lab.network.clone()),
            ]))
            (frame::plan(&plan.text))
        }
    };
    Ok(frame::page(&format!("{}, predicted and measured – samara-sim", plan.name), &body))
}

fn figure(title: &'static str, says: String, curves: [Vec<(f64, f64)>; 2], both: [&Outcome; 2]) -> Figure {
    let bound = both[0].oracle.lower_bound_seconds.unwrap_or(0.0);
    let end = both.into_iter().map(series::end_of).fold(bound, f64::max) * ROOM;
    let (bounds, bound_legend) = figures::bound(&both[0].oracle);
    let mut legend = vec![
        (Ink::First, Key::Line, "predicted".to_owned()),
        (Ink::Second, Key::Line, "measured".to_owned()),
    ];
    legend.extend(bound_legend);
    let [predicted, measured] = curves;
    let layers = vec![
        Layer::Line { dots: measured, ink: Ink::Second, width: 3 },
        Layer::Line { dots: predicted, ink: Ink::First, width: 2 },
    ];
    Figure {
        title,
        says,
        plot: Plot {
            x: figures::time_axis(end),
            y: Axis::of("%", 100.0),
            layers: bounds.into_iter().chain(layers).collect(),
        },
        legend,
    }
}

fn held(simulated: &Outcome, lab: &Outcome, gap: f64) -> Figure {
    let curves = [series::held(&simulated.curve), series::held(&lab.curve)];
    let says = format!("Where they are farthest apart, {} of all bytes lie between them.", percent(gap));
    figure("Bytes that the devices hold", says, curves, [simulated, lab])
}

fn complete(simulated: &Outcome, lab: &Outcome) -> Figure {
    let curve = |outcome: &Outcome| series::complete(&outcome.report, series::end_of(outcome));
    let says = format!(
        "{} of {} predicted, {} of {} measured.",
        simulated.report.verified, simulated.report.devices, lab.report.verified, lab.report.devices
    );
    figure("Devices complete over time", says, [curve(simulated), curve(lab)], [simulated, lab])
}

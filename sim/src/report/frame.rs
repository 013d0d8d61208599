//! The frame of every page: head, style, figures, tables. All text goes through the template, which escapes it.

use super::events::{self, Moment};
use super::figures::{Figure, Key};
use super::palette;
use crate::outcome::{Mark, Outcome};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Neither scripts nor anything from elsewhere: a browser would refuse what the page does not have.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A whole page.
pub(super) fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(palette::style())) }
            }
            body { main { (body) } }
        }
    };
    page.into_string()
}

/// Name, what the plan is about, and whether all went as it demands.
pub(super) fn head(name: &str, about: &str, kind: &str, outcomes: &[&Outcome]) -> Markup {
    let failed = outcomes.iter().filter(|outcome| !outcome.is_met()).count();
    html! {
        header {
            p.kind { (kind) }
            h1 { (name) }
            @if !about.is_empty() { p.about { (about) } }
            @if failed == 0 {
                p.badge.good { "✓ everything that the plan expects came true" }
            } @else if outcomes.len() == 1 {
                p.badge.bad { "✗ not everything that the plan expects came true" }
            } @else {
                p.badge.bad { "✗ " (failed) " of " (outcomes.len()) " runs are not as the plan expects" }
            }
        }
    }
}

/// Short figures beside each other.
pub(super) fn tiles(tiles: &[(&str, String)]) -> Markup {
    html! {
        dl.tiles {
            @for (name, value) in tiles {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// What failed, with the command that repeats it.
pub(super) fn failures(outcomes: &[&Outcome], shown_max: usize) -> Markup {
    let failed: Vec<&&Outcome> = outcomes.iter().filter(|outcome| !outcome.is_met()).collect();
    html! {
        @if !failed.is_empty() {
            section.failures {
                h2 { "What is not as expected" }
                @for outcome in failed.iter().take(shown_max) {
                    ul { @for failure in &outcome.failures { li { (failure) } } }
                    p { "Repeat it: " code { (outcome.command) } }
                }
                @if failed.len() > shown_max { p { "and " (failed.len() - shown_max) " more runs" } }
            }
        }
    }
}

/// All figures of a page, as many beside each other as there is room for.
pub(super) fn figures(figures: &[Figure]) -> anyhow::Result<Markup> {
    let drawn: Vec<Markup> = figures.iter().enumerate().map(figure).collect::<anyhow::Result<_>>()?;
    Ok(html! { div.figures { @for figure in drawn { (figure) } } })
}

fn figure((number, figure): (usize, &Figure)) -> anyhow::Result<Markup> {
    let (inside, view) = figure.plot.draw()?;
    let id = format!("figure-{number}");
    Ok(html! {
        figure {
            h2 id=(id) { (figure.title) }
            p { (figure.says) }
            svg viewBox=(view) role="img" aria-labelledby=(id) xmlns="http://www.w3.org/2000/svg" {
                title { (figure.title) ": " (figure.says) }
                (PreEscaped(inside))
            }
            ul.legend {
                @for (ink, key, what) in &figure.legend {
                    li {
                        svg.key.(ink.class()).(key_class(*key)) viewBox="0 0 24 12" aria-hidden="true" {
                            @match key {
                                Key::Fill | Key::Area => rect x="1" y="1" width="22" height="10" {},
                                Key::Dot => circle cx="12" cy="6" r="4" {},
                                Key::Line | Key::Dashes => line x1="1" y1="6" x2="23" y2="6" {},
                            }
                        }
                        " " (what)
                    }
                }
            }
        }
    })
}

fn key_class(key: Key) -> &'static str {
    match key {
        Key::Line => "line",
        Key::Dashes => "dashes",
        Key::Area => "area",
        Key::Fill | Key::Dot => "fill",
    }
}

/// A table; the first cell of a row is its head. Wide ones scroll by themselves.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div.wide tabindex="0" role="group" {
            table {
                thead { tr { @for head in heads { th scope="col" { (head) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                @if at == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What happened, with the letters of the plots.
pub(super) fn events(marks: &[Mark]) -> Markup {
    let moments = events::moments(marks);
    html! {
        @if !moments.is_empty() {
            section {
                h2 { "Events" }
                ol.events {
                    @for Moment { letter, at, what } in &moments {
                        li { strong { (letter) } " " span.at { (at) } " " (what) }
                    }
                }
                @if let Some(more) = events::left_off(marks) { p { (more) } }
            }
        }
    }
}

/// A table of names and values.
pub(super) fn facts(facts: &[(String, String)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts { dt { (name) } dd { (value) } }
        }
    }
}

/// The text of the plan, folded.
pub(super) fn plan(text: &str) -> Markup {
    html! {
        @if !text.is_empty() {
            details { summary { "The plan" } pre { (text) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_asks_for_nothing_from_elsewhere() {
        let page = page("x", &html! { p { "y" } });
        assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
        for forbidden in ["<script", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn text_cannot_leave_its_place() {
        let evil = "</pre><script>alert(1)</script>\"'&";
        let text = [
            plan(evil).into_string(),
            table(&[evil], &[vec![evil.into(), evil.into()]]).into_string(),
            head(evil, evil, evil, &[]).into_string(),
            facts(&[(evil.into(), evil.into())]).into_string(),
            tiles(&[(evil, evil.into())]).into_string(),
            page(evil, &html! {}),
        ]
        .concat();
        assert!(!text.contains("<script") && !text.contains(evil), "{text}");
        assert!(text.contains("&lt;script&gt;"), "{text}");
    }
}

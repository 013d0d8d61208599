//! The colours of a page, light and dark, and the style sheet that chooses between them.
//!
//! The plotting library writes a colour into each element. The style sheet has a rule for each of these colours, and so
//! a plot follows the reader's preference without being drawn twice.

use plotters::style::RGBColor;
use std::fmt::Write as _;

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// Letters of axes.
    Text,
    /// Lines behind the data.
    Grid,
    /// What the page is about; bytes from the seeder.
    First,
    /// What stands beside it; bytes from other devices.
    Second,
    /// What comes of both: releases in place.
    Third,
    /// Bounds; lines of it are dashed.
    Bound,
    /// Faults and events.
    Event,
}

/// Each with its name in the style sheet, light and dark.
const INKS: [(Ink, &str, [u8; 3], [u8; 3]); 7] = [
    (Ink::Text, "text", [0x3d, 0x45, 0x50], [0xc3, 0xca, 0xd4]),
    (Ink::Grid, "grid", [0xe1, 0xe4, 0xe8], [0x36, 0x3d, 0x47]),
    (Ink::First, "first", [0x1f, 0x6f, 0xc4], [0x6a, 0xb0, 0xf5]),
    (Ink::Second, "second", [0xd0, 0x6b, 0x0b], [0xf0, 0xa1, 0x4e]),
    (Ink::Third, "third", [0x1a, 0x7f, 0x4b], [0x5f, 0xcf, 0x93]),
    (Ink::Bound, "bound", [0x6a, 0x73, 0x7d], [0x9a, 0xa4, 0xb1]),
    (Ink::Event, "event", [0xb4, 0x2d, 0x46], [0xf0, 0x7c, 0x92]),
];

impl Ink {
    fn entry(self) -> &'static (Self, &'static str, [u8; 3], [u8; 3]) {
        // The table has them all, in their order.
        &INKS[self as usize]
    }

    /// As it is drawn.
    pub(super) fn color(self) -> RGBColor {
        let (_, _, [red, green, blue], _) = self.entry();
        RGBColor(*red, *green, *blue)
    }

    /// The class of its marks in a legend.
    pub(super) fn class(self) -> &'static str {
        self.entry().1
    }
}

/// The style sheet of a page.
pub(super) fn style() -> String {
    let hex = |[red, green, blue]: [u8; 3]| format!("#{red:02X}{green:02X}{blue:02X}");
    let (mut light, mut dark, mut rules) = (String::new(), String::new(), String::new());
    for (_, name, in_light, in_dark) in INKS {
        let drawn = hex(in_light);
        // Writing to a string can't fail.
        let _ = write!(light, "--{name}:{drawn};");
        let _ = write!(dark, "--{name}:{};", hex(in_dark));
        let _ = write!(rules, "svg [fill=\"{drawn}\"],.key.{name}{{fill:var(--{name})}}");
        let _ = writeln!(rules, "svg [stroke=\"{drawn}\"],.key.{name}{{stroke:var(--{name})}}");
    }
    let bound = hex(Ink::Bound.entry().2);
    let _ = writeln!(rules, "figure>svg [stroke=\"{bound}\"]{{stroke-dasharray:6 5}}");
    format!(
        ":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{rules}{}",
        include_str!("style.css")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ink_is_at_its_place_in_the_table() {
        for (at, (ink, ..)) in INKS.into_iter().enumerate() {
            assert_eq!(ink as usize, at);
        }
    }

    #[test]
    fn a_drawn_colour_has_a_rule_for_each_preference() {
        let style = style();
        assert!(style.contains("svg [stroke=\"#1F6FC4\"],.key.first{stroke:var(--first)}"), "{style}");
        assert!(style.contains("--first:#1F6FC4;") && style.contains("--first:#6AB0F5;"), "{style}");
    }
}

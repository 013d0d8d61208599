//! One plot: axes, and layers drawn on each other, as SVG for the inside of a page.
//!
//! The size is chosen for a phone: letters are large for the plot, and two plots stand side by side on a laptop.

use super::number::tick;
use super::palette::Ink;
use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Units of the drawing.
const WIDTH: u32 = 480;
const HEIGHT: u32 = 280;
/// The library makes letters smaller by a quarter.
const LETTER_SIZE: u32 = 18;

/// A point of a plot.
pub(super) type Dot = (f64, f64);

/// From 0 to `end`, with its unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    name: &'static str,
    end: f64,
    /// It counts: there is nothing to say between two numbers.
    is_count: bool,
}

impl Axis {
    /// An axis of a quantity.
    pub(super) fn of(name: &'static str, end: f64) -> Self {
        Self { name, end, is_count: false }
    }

    /// An axis of things that are counted.
    pub(super) fn counting(name: &'static str, end: f64) -> Self {
        Self { name, end, is_count: true }
    }

    fn label(&self, value: f64) -> String {
        let is_between = (value - value.round()).abs() > 1e-6;
        if self.is_count && is_between { String::new() } else { tick(value) }
    }
}

/// What is drawn; the first layer lies lowest.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Layer {
    /// From point to point.
    Line { dots: Vec<Dot>, ink: Ink, width: u32 },
    /// The same, with what is below it.
    Area { dots: Vec<Dot>, ink: Ink },
    /// Between a lower and an upper value at each place: `(x, low, high)`.
    Band { edges: Vec<(f64, f64, f64)>, ink: Ink },
    /// Rectangles, by two corners.
    Bars { corners: Vec<(Dot, Dot)>, ink: Ink },
    /// A point each.
    Dots { dots: Vec<Dot>, ink: Ink },
    /// A dashed line across at a height.
    Level { y: f64, ink: Ink },
    /// A dashed line upwards at a place.
    Bound { x: f64, ink: Ink },
    /// A thin line upwards at a place, with a letter above it.
    Mark { x: f64, letter: String },
}

/// A plot with what it says for those who do not see it.
pub(super) struct Plot {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) layers: Vec<Layer>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Context<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

impl Plot {
    /// The elements of the drawing, and its view box.
    pub(super) fn draw(&self) -> anyhow::Result<(String, String)> {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)).into_drawing_area();
            self.draw_on(&area).map_err(|fault| anyhow!("a plot of the report: {fault}"))?;
            area.present().map_err(|fault| anyhow!("a plot of the report: {fault}"))?;
        }
        let inside = text.split_once('>').and_then(|(_, rest)| Some(rest.rsplit_once("</svg>")?.0));
        let inside = inside.ok_or_else(|| anyhow!("a plot of the report is no SVG"))?;
        Ok((inside.trim().to_owned(), format!("0 0 {WIDTH} {HEIGHT}")))
    }

    fn draw_on(&self, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
        let letters = ("sans-serif", LETTER_SIZE).into_font().color(&Ink::Text.color());
        // An axis needs a length, also where nothing happened.
        let end = |axis: &Axis| if axis.end > 0.0 { axis.end } else { 1.0 };
        let mut context = ChartBuilder::on(area)
            .margin_top(22)
            .margin_right(14)
            .margin_left(4)
            .x_label_area_size(44)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..end(&self.x), 0.0..end(&self.y))?;
        context
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(Ink::Grid.color())
            .axis_style(Ink::Text.color())
            .label_style(letters.clone())
            .axis_desc_style(letters)
            .x_labels(7)
            .y_labels(6)
            .x_desc(self.x.name)
            .y_desc(self.y.name)
            .x_label_formatter(&|value| self.x.label(*value))
            .y_label_formatter(&|value| self.y.label(*value))
            .draw()?;
        let (x_end, y_end) = (end(&self.x), end(&self.y));
        self.layers.iter().try_for_each(|layer| draw_layer(&mut context, layer, x_end, y_end))
    }
}

fn draw_layer(
    context: &mut Context<'_, '_>,
    layer: &Layer,
    x_end: f64,
    y_end: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    match layer {
        Layer::Line { dots, ink, width } => {
            context.draw_series(LineSeries::new(dots.iter().copied(), ink.color().stroke_width(*width)))?;
        }
        Layer::Area { dots, ink } => {
            let border = ink.color().stroke_width(2);
            let area = AreaSeries::new(dots.iter().copied(), 0.0, ink.color().mix(0.25)).border_style(border);
            context.draw_series(area)?;
        }
        Layer::Band { edges, ink } => {
            let low = edges.iter().map(|(x, low, _)| (*x, *low));
            let high = edges.iter().rev().map(|(x, _, high)| (*x, *high));
            let around: Vec<Dot> = low.chain(high).collect();
            context.draw_series([Polygon::new(around, ink.color().mix(0.25))])?;
        }
        Layer::Bars { corners, ink } => {
            let bar = |(a, b): &(Dot, Dot)| Rectangle::new([*a, *b], ink.color().filled());
            context.draw_series(corners.iter().map(bar))?;
        }
        Layer::Dots { dots, ink } => {
            context.draw_series(dots.iter().map(|dot| Circle::new(*dot, 3, ink.color().filled())))?;
        }
        Layer::Level { y, ink } => across(context, [(0.0, *y), (x_end, *y)], *ink)?,
        Layer::Bound { x, ink } => across(context, [(*x, 0.0), (*x, y_end)], *ink)?,
        Layer::Mark { x, letter } => {
            let ink = Ink::Event.color();
            context.draw_series(LineSeries::new([(*x, 0.0), (*x, y_end)], ink.stroke_width(1)))?;
            let style = ("sans-serif", LETTER_SIZE).into_font().color(&ink);
            let style = style.pos(Pos::new(HPos::Center, VPos::Bottom));
            context.draw_series([Text::new(letter.clone(), (*x, y_end), style)])?;
        }
    }
    Ok(())
}

/// The style sheet makes dashes of it: the library would draw each of them.
fn across(context: &mut Context<'_, '_>, ends: [Dot; 2], ink: Ink) -> Result<(), Box<dyn std::error::Error>> {
    context.draw_series(LineSeries::new(ends, ink.color().stroke_width(2)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(layers: Vec<Layer>) -> Plot {
        Plot { x: Axis::of("seconds", 10.0), y: Axis::of("%", 100.0), layers }
    }

    #[test]
    fn a_plot_is_the_inside_of_an_svg_with_its_axes_and_letters() {
        let mark = Layer::Mark { x: 4.0, letter: "A".into() };
        let (inside, view) = plot(vec![mark]).draw().unwrap();
        assert!(inside.starts_with('<') && !inside.contains("<svg") && !inside.contains("</svg"), "{inside}");
        assert_eq!(view, "0 0 480 280");
        for text in ["seconds", "%", "\n10\n", "\n100\n", "\nA\n"] {
            assert!(inside.contains(text), "{text:?} is missing from {inside}");
        }
    }

    #[test]
    fn an_axis_that_counts_has_no_marks_between_two_numbers() {
        let axes = [Axis::counting("devices", 3.0), Axis::of("seconds", 3.0)];
        assert_eq!(
            axes.map(|axis| (axis.label(0.5), axis.label(2.0))),
            [(String::new(), "2".into()), ("0.5".into(), "2".into())]
        );
    }

    #[test]
    fn every_layer_can_be_drawn_and_so_can_nothing() {
        let ink = Ink::First;
        let layers = vec![
            Layer::Line { dots: vec![(0.0, 0.0), (1.0, 9.0)], ink, width: 2 },
            Layer::Area { dots: vec![(0.0, 0.0), (1.0, 9.0)], ink },
            Layer::Band { edges: vec![(0.0, 1.0, 2.0), (1.0, 3.0, 4.0)], ink },
            Layer::Bars { corners: vec![((0.0, 0.0), (1.0, 5.0))], ink },
            Layer::Dots { dots: vec![(3.0, 3.0)], ink },
            Layer::Level { y: 50.0, ink },
            Layer::Bound { x: 5.0, ink },
        ];
        assert!(plot(layers).draw().unwrap().0.matches("#1F6FC4").count() > 7);
        let nothing = Plot { x: Axis::of("", 0.0), ..plot(Vec::new()) };
        assert!(nothing.draw().is_ok());
    }
}

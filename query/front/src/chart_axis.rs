//! The scales of charts: lines of the grid where they are round, labels with units, and what all
//! drawings have in common.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::error::QueryError;

/// Pixels that labels take left of, below and above the plot; scripts that show a point's value
/// know them.
pub(crate) const LEFT: u32 = 64;
pub(crate) const BELOW: u32 = 24;
pub(crate) const MARGIN: u32 = 8;

/// Pixels that a label below the plot takes with the space around it.
const LABEL_WIDTH: u32 = 66;

/// How many labels a drawing of this width has space for below its plot: one at least, and no more
/// than a reader wants.
pub(crate) fn labels_across(width: u32) -> usize {
    let space = width.saturating_sub(LEFT + MARGIN) / LABEL_WIDTH;
    (space as usize).clamp(1, 8)
}

pub(crate) const LINE: RGBColor = RGBColor(0xc2, 0x5a, 0x12);
pub(crate) const GRID: RGBColor = RGBColor(0x88, 0x88, 0x88);
pub(crate) const LABEL: RGBColor = RGBColor(0x77, 0x7b, 0x80);

pub(crate) type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// What an axis measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisUnit {
    /// As labels have it, such as `W`.
    pub symbol: &'static str,
    /// Whether thousands of it have names: kW, MW.
    pub has_prefixes: bool,
}

impl AxisUnit {
    /// Hashes a second.
    pub const HASHRATE: Self = Self::scaled("H/s");
    /// Power.
    pub const WATTS: Self = Self::scaled("W");
    /// Energy.
    pub const WATT_HOURS: Self = Self::scaled("Wh");

    const fn scaled(symbol: &'static str) -> Self {
        Self {
            symbol,
            has_prefixes: true,
        }
    }

    /// The unit that a quantity names last, such as `temperature_c`; none for a count.
    pub fn by_quantity(quantity: &str) -> Self {
        let plain = |symbol| Self {
            symbol,
            has_prefixes: false,
        };
        match quantity.rsplit('_').next() {
            Some("w") => Self::WATTS,
            Some("wh") => Self::WATT_HOURS,
            Some("hs") => Self::HASHRATE,
            Some("c") => plain("°C"),
            Some("pct") => plain("%"),
            Some("rpm") => plain("rpm"),
            Some("hpa") => plain("hPa"),
            Some("v") => Self::scaled("V"),
            Some("a") => Self::scaled("A"),
            Some("hz") => plain("Hz"),
            Some("jth") => plain("J/TH"),
            Some("s") => plain("s"),
            _ => plain(""),
        }
    }

    /// A value with its unit, and at most two digits after the point.
    pub(crate) fn label(self, value: f64) -> String {
        let prefixes = ["", "k", "M", "G", "T", "P"];
        let mut scaled = value;
        let mut prefix = 0;
        while self.has_prefixes && scaled.abs() >= 1_000.0 && prefix + 1 < prefixes.len() {
            scaled /= 1_000.0;
            prefix += 1;
        }
        let is_exact = |digits: &usize| {
            let grown = scaled * 10_f64.powi(*digits as i32);
            (grown - grown.round()).abs() < 1e-6 * grown.abs().max(1.0)
        };
        let digits = (0..2).find(is_exact).unwrap_or(2);
        let text = format!("{scaled:.digits$} {}{}", prefixes[prefix], self.symbol);
        text.trim_end().to_owned()
    }
}

/// A scale with lines where they are wanted.
pub(crate) struct Axis {
    pub(crate) range: Range<f64>,
    pub(crate) lines: Vec<f64>,
    pub(crate) label: Box<dyn Fn(f64) -> String>,
}

impl Axis {
    /// From nought to a round number above `top`, with four lines.
    pub(crate) fn from_zero(top: f64, unit: AxisUnit) -> Self {
        let top = round_up(top);
        Self {
            range: 0.0..top,
            lines: (0..=4).map(|n| top * f64::from(n) / 4.0).collect(),
            label: Box::new(move |value| unit.label(value)),
        }
    }

    /// Round numbers around what is between these two.
    pub(crate) fn around(low: f64, high: f64, unit: AxisUnit) -> Self {
        let (low, high) = match low.is_finite() && high.is_finite() {
            true => (low, high.max(low + low.abs().max(1.0) * 1e-6)),
            false => (0.0, 4.0),
        };
        let step = round_up((high - low) / 4.0);
        let first = (low / step).floor();
        let count = ((high / step).ceil() - first).clamp(1.0, 8.0);
        let lines: Vec<f64> = (0..=count as i32)
            .map(|n| (first + f64::from(n)) * step)
            .collect();
        Self {
            range: first * step..(first + count) * step,
            lines,
            label: Box::new(move |value| unit.label(value)),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let length = (self.range.end - self.range.start).max(f64::MIN_POSITIVE);
        let share = (value - self.range.start) / length;
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.lines.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        (self.label)(*value)
    }
}

/// A chart of two scales on a drawing, with the lines and labels of both.
pub(crate) type Plot<'b, Drawing> = ChartContext<'b, Drawing, Cartesian2d<Axis, Axis>>;

/// Draws the grid, and gives the plot to draw on.
pub(crate) fn plot<Drawing: DrawingBackend>(
    area: &DrawingArea<Drawing, plotters::coord::Shift>,
    across: Axis,
    up: Axis,
) -> Result<Plot<'_, Drawing>, DrawingAreaErrorKind<Drawing::ErrorType>> {
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .set_label_area_size(LabelAreaPosition::Left, LEFT - MARGIN)
        .set_label_area_size(LabelAreaPosition::Bottom, BELOW)
        .build_cartesian_2d(across, up)?;
    let label = ("sans-serif", 11).into_font().color(&LABEL);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .axis_style(TRANSPARENT)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.mix(0.25))
        .label_style(label)
        .draw()?;
    Ok(chart)
}

/// The error of a drawing that did not come about.
pub(crate) fn undrawn(error: impl std::fmt::Display) -> QueryError {
    QueryError::internal(format!("a chart cannot be drawn: {error}"))
}

/// The next of 1, 2, 4 and 8 times a power of ten: four lines of the grid are round then.
pub(crate) fn round_up(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 4.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let factor = [1.0, 2.0, 4.0, 8.0, 10.0];
    let factor = factor.iter().find(|factor| *factor * power >= value);
    factor.unwrap_or(&10.0) * power
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_values_lie_between_the_ends_of_their_scale(
            low in -1e12..1e12_f64, more in 0.0..1e12_f64,
        ) {
            let axis = Axis::around(low, low + more, AxisUnit::WATTS);
            let slack = 1e-6 * (low.abs() + more).max(1.0);
            prop_assert!(axis.range.start <= low + slack, "{low} {more}: {:?}", axis.range);
            prop_assert!(axis.range.end >= low + more - slack, "{low} {more}: {:?}", axis.range);
            prop_assert!((2..=9).contains(&axis.lines.len()), "{:?}", axis.lines);
            prop_assert!(axis.lines.is_sorted());
        }
    }

    #[test]
    fn the_scale_ends_above_the_highest_point() {
        for (value, top) in [
            (0.0, 4.0),
            (f64::NAN, 4.0),
            (1.0, 1.0),
            (3.0, 4.0),
            (8.5e6, 1e7),
        ] {
            assert!((round_up(value) - top).abs() <= top * 1e-9, "{value}");
        }
    }

    #[test]
    fn a_scale_around_values_holds_them_between_round_lines() {
        for (low, high) in [(23.1, 25.9), (-40.0, -3.0), (5.0, 5.0), (0.0, 1e-3)] {
            let axis = Axis::around(low, high, AxisUnit::by_quantity("temperature_c"));
            let slack = 1e-9 * high.abs().max(1.0);
            assert!(axis.range.start <= low + slack, "{low}: {:?}", axis.range);
            assert!(axis.range.end >= high - slack, "{high}: {:?}", axis.range);
            assert!((2..=9).contains(&axis.lines.len()), "{:?}", axis.lines);
        }
    }

    #[test]
    fn a_narrow_drawing_has_space_for_few_labels() {
        assert_eq!([240, 328, 720, 2_000].map(labels_across), [2, 3, 8, 8]);
    }

    #[test]
    fn labels_have_the_unit_that_the_quantity_names() {
        for (quantity, value, label) in [
            ("power_w", 1_500.0, "1.5 kW"),
            ("power_w", 1_440_000.0, "1.44 MW"),
            ("temperature_c", 24.5, "24.5 °C"),
            ("fan_rpm", 4_000.0, "4000 rpm"),
            ("hashrate_hs", 2e12, "2 TH/s"),
            ("count", 3.0, "3"),
        ] {
            let unit = AxisUnit::by_quantity(quantity);
            assert_eq!(unit.label(value), label);
        }
    }
}

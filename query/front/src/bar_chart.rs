//! A chart of sums by the hour or by the day as SVG: a bar each, in the same colours and with the
//! same scales as charts over time.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::chart_axis::{Axis, AxisUnit, DrawError, LINE, labels_across, plot, undrawn};
use crate::error::QueryError;

/// The part of its place that a bar leaves free on each side.
const FREE: f64 = 0.1;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Below it, where there is space.
    pub label: String,
    /// Its height; nothing is drawn where it is not known.
    pub value: Option<f64>,
    /// Whether all of it was measured; otherwise it is pale.
    pub is_whole: bool,
}

/// Draws the bars from left to right, `width` by `height` pixels.
pub fn draw(bars: &[Bar], unit: AxisUnit, size: (u32, u32)) -> Result<String, QueryError> {
    let mut text = String::new();
    draw_into(bars, unit, size, &mut text).map_err(undrawn)?;
    Ok(text)
}

fn draw_into<'a>(
    bars: &[Bar],
    unit: AxisUnit,
    size: (u32, u32),
    text: &'a mut String,
) -> Result<(), DrawError<'a>> {
    let area = SVGBackend::with_string(text, size).into_drawing_area();
    draw_on(&area, bars, unit)?;
    area.present()
}

/// Draws the bars on a part of a drawing.
pub(crate) fn draw_on<Drawing: DrawingBackend>(
    area: &DrawingArea<Drawing, Shift>,
    bars: &[Bar],
    unit: AxisUnit,
) -> Result<(), DrawingAreaErrorKind<Drawing::ErrorType>> {
    let (width, _) = area.dim_in_pixel();
    let values = bars.iter().filter_map(|bar| bar.value);
    let (low, high) = (
        values.clone().fold(0.0, f64::min),
        values.fold(0.0, f64::max),
    );
    let labels: Vec<String> = bars.iter().map(|bar| bar.label.clone()).collect();
    let each = bars.len().div_ceil(labels_across(width)).max(1);
    let across = Axis {
        range: 0.0..bars.len().max(1) as f64,
        lines: (0..bars.len())
            .step_by(each)
            .map(|at| at as f64 + 0.5)
            .collect(),
        label: Box::new(move |at| labels.get(at as usize).cloned().unwrap_or_default()),
    };
    let up = match low < 0.0 {
        true => Axis::around(low, high, unit),
        false => Axis::from_zero(high, unit),
    };
    let mut chart = plot(area, across, up)?;
    let drawn = bars.iter().enumerate().filter_map(|(at, bar)| {
        let (left, right) = (at as f64 + FREE, (at + 1) as f64 - FREE);
        let colour = LINE.mix(if bar.is_whole { 0.85 } else { 0.35 });
        Some(Rectangle::new(
            [(left, 0.0), (right, bar.value?)],
            colour.filled(),
        ))
    });
    chart.draw_series(drawn)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bar_is_drawn_for_each_value_and_none_for_what_is_not_known() {
        let bar = |hour: usize, value, is_whole| Bar {
            label: format!("{hour:02}:00"),
            value,
            is_whole,
        };
        let bars = [
            bar(0, Some(1_500.0), true),
            bar(1, None, false),
            bar(2, Some(700.0), false),
        ];
        let text = draw(&bars, AxisUnit::WATT_HOURS, (720, 220)).unwrap();
        assert_eq!(text.matches("fill=\"#C25A12\"").count(), 2, "{text}");
        assert_eq!(text.matches("opacity=\"0.35\"").count(), 1, "{text}");
        for label in ["2 kWh", "500 Wh", "00:00", "01:00"] {
            assert!(text.contains(label), "{label}: {text}");
        }
        let many: Vec<Bar> = (0..24).map(|hour| bar(hour, Some(1.0), true)).collect();
        let text = draw(&many, AxisUnit::WATT_HOURS, (720, 220)).unwrap();
        assert_eq!(text.matches(":00").count(), 8, "{text}");
        assert!(!draw(&[], AxisUnit::WATTS, (320, 120)).unwrap().is_empty());
    }
}

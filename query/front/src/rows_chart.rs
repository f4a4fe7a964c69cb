//! A chart of the rows of any answer as SVG: below each other a plot for each column of numbers,
//! with lines over time or a bar for each row.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::bar_chart::{self, Bar};
use crate::chart_axis::{Axis, AxisUnit, DrawError, LABEL, LINE, plot, undrawn};
use crate::error::QueryError;
use crate::time_chart::time_axis;
use crate::time_series::TimeSeries;

/// Pixels of one plot from top down, with its heading.
const PLOT_HEIGHT: u32 = 220;
/// Pixels of a heading.
const HEADING: u32 = 18;
/// Times that a drawing has labels for: the years 1 to 9999, seconds since 1970.
const TIMES: std::ops::RangeInclusive<f64> = -62_135_596_800.0..=253_402_300_799.0;

/// Where the rows stand from left to right.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Places {
    /// Seconds since 1970, in any order; a row without a time is not drawn.
    Times(Vec<Option<f64>>),
    /// A name each, from left to right.
    Labels(Vec<String>),
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowsChart {
    /// The name of each column of numbers, whose last part may be its unit.
    pub(crate) names: Vec<String>,
    /// The rows.
    pub(crate) places: Places,
    /// Of each column the value of each row; nothing is drawn where it is not known.
    pub(crate) values: Vec<Vec<Option<f64>>>,
    /// Rows that came beyond those.
    pub(crate) rows_left_out: usize,
}

impl RowsChart {
    /// Rows.
    pub(crate) fn len(&self) -> usize {
        match &self.places {
            Places::Times(times) => times.len(),
            Places::Labels(labels) => labels.len(),
        }
    }

    /// Draws it, `width` pixels wide and as high as its plots are.
    pub(crate) fn svg(&self, width: u32) -> Result<String, QueryError> {
        let mut text = String::new();
        self.draw_into(width, &mut text).map_err(undrawn)?;
        Ok(text)
    }

    fn draw_into<'a>(&self, width: u32, text: &'a mut String) -> Result<(), DrawError<'a>> {
        let count = self.names.len().max(1);
        let size = (width, PLOT_HEIGHT * count as u32);
        let area = SVGBackend::with_string(text, size).into_drawing_area();
        let plots = area.split_evenly((count, 1));
        for ((area, name), values) in plots.iter().zip(&self.names).zip(&self.values) {
            let (heading, below) = area.split_vertically(HEADING);
            let style = ("sans-serif", 12).into_font().color(&LABEL);
            heading.draw_text(&self.heading(name), &style, (8, 4))?;
            let unit = AxisUnit::by_quantity(name);
            match &self.places {
                Places::Times(times) => lines(&below, width, times, values, unit)?,
                Places::Labels(labels) => bar_chart::draw_on(&below, &bars(labels, values), unit)?,
            }
        }
        area.present()
    }

    fn heading(&self, name: &str) -> String {
        match self.rows_left_out {
            0 => name.to_owned(),
            more => format!("{name}: the first {} rows, without {more} more", self.len()),
        }
    }
}

fn bars(labels: &[String], values: &[Option<f64>]) -> Vec<Bar> {
    let bar = |(label, value): (&String, &Option<f64>)| Bar {
        label: label.clone(),
        value: *value,
        is_whole: true,
    };
    labels.iter().zip(values).map(bar).collect()
}

/// A line for each run of values that are known, a dot for one that stands alone.
fn lines<Drawing: DrawingBackend>(
    area: &DrawingArea<Drawing, Shift>,
    width: u32,
    times: &[Option<f64>],
    values: &[Option<f64>],
    unit: AxisUnit,
) -> Result<(), DrawingAreaErrorKind<Drawing::ErrorType>> {
    let within = |time: &f64| TIMES.contains(time);
    let rows = times.iter().zip(values);
    let mut points: Vec<(f64, Option<f64>)> = rows
        .filter_map(|(time, value)| Some((time.filter(within)?, *value)))
        .collect();
    points.sort_by(|one, next| one.0.total_cmp(&next.0));
    let ends = points.first().zip(points.last());
    let (first, last) = ends.map_or((0.0, 1.0), |(first, last)| (first.0, last.0));
    let span = TimeSeries {
        from_s: first.floor() as i64,
        to_s: (last.ceil() as i64).max(first.floor() as i64 + 1),
        ..TimeSeries::default()
    };
    let known = points.iter().filter_map(|point| point.1);
    let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let up = match low < 0.0 {
        true => Axis::around(low, high, unit),
        false => Axis::from_zero(high, unit),
    };
    let mut chart = plot(area, time_axis(&span, width), up)?;
    for run in points.split(|point| point.1.is_none()) {
        let run: Vec<(f64, f64)> = run
            .iter()
            .filter_map(|(at, value)| Some((*at, (*value)?)))
            .collect();
        match run.as_slice() {
            [] => {}
            [alone] => {
                chart.draw_series([Circle::new(*alone, 2, LINE.filled())])?;
            }
            _ => {
                chart.draw_series(LineSeries::new(run, LINE.stroke_width(2)))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn over_time(times: &[Option<f64>], values: &[&[Option<f64>]]) -> RowsChart {
        let names = ["power_w", "count"];
        RowsChart {
            names: names[..values.len()]
                .iter()
                .map(ToString::to_string)
                .collect(),
            places: Places::Times(times.to_vec()),
            values: values.iter().map(|column| column.to_vec()).collect(),
            rows_left_out: 0,
        }
    }

    #[test]
    fn each_column_has_a_plot_and_each_run_a_line_whatever_the_order() {
        let start = 1_795_392_000.0;
        let times: Vec<Option<f64>> = (0..6)
            .rev()
            .map(|n| Some(start + 600.0 * f64::from(n)))
            .collect();
        let power = [
            Some(1_500.0),
            Some(1_200.0),
            None,
            Some(900.0),
            Some(800.0),
            Some(10.0),
        ];
        let counts = [Some(1.0), None, Some(3.0), None, Some(2.0), Some(4.0)];
        let text = over_time(&times, &[&power, &counts]).svg(720).unwrap();
        // Two runs of power; of the counts one run and two that stand alone.
        assert_eq!(text.matches("<polyline").count(), 3, "{text}");
        assert_eq!(text.matches("<circle").count(), 2, "{text}");
        for label in ["power_w", "count", "2 kW", "00:20"] {
            assert!(text.contains(label), "{label}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_placed_is_left_out_and_nothing_breaks_the_drawing() {
        let times = [None, Some(1e300), Some(f64::NAN), Some(0.0)];
        let values = [Some(1.0), Some(2.0), Some(3.0), Some(-1e300)];
        let text = over_time(&times, &[&values]).svg(240).unwrap();
        assert_eq!(text.matches("<circle").count(), 1, "{text}");
        assert!(!over_time(&[], &[&[]]).svg(2_000).unwrap().is_empty());
    }

    #[test]
    fn names_stand_below_their_bars_as_text() {
        let chart = RowsChart {
            names: vec!["<script>alert(1)</script>".to_owned()],
            places: Places::Labels(vec!["a&b".to_owned(), "<c>".to_owned()]),
            values: vec![vec![Some(3.0), None]],
            rows_left_out: 7,
        };
        let text = chart.svg(720).unwrap();
        assert!(
            text.contains("a&amp;b") && text.contains("&lt;c&gt;"),
            "{text}"
        );
        assert!(text.contains("the first 2 rows, without 7 more"), "{text}");
        assert!(!text.contains("<script"), "{text}");
        assert_eq!(text.matches("fill=\"#C25A12\"").count(), 1, "{text}");
    }
}

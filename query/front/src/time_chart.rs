//! A chart of a quantity over time as SVG, drawn by the library plotters.
//!
//! Its colours are attributes, which the styles of a page that takes the drawing in override; by
//! itself it is legible on light and on dark ground.

use plotters::prelude::*;

use crate::chart_axis::{
    Axis, AxisUnit, DrawError, GRID, LABEL, LINE, labels_across, plot, undrawn,
};
use crate::error::QueryError;
use crate::time_series::TimeSeries;

/// What is beyond a limit or outside of what is normal.
const ABNORMAL: RGBColor = RGBColor(0xb3, 0x26, 0x1e);

/// Where the words of a limit stand from the left end of its line, pixels.
const ABOVE_LIMIT: (i32, i32) = (6, -14);
/// Widths between lines of the grid that fall on full minutes, hours and days.
const TIME_STEPS: &[i64] = &[
    60, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400, 172_800,
    432_000, 604_800, 1_209_600, 2_592_000, 5_184_000,
];

/// What a chart shows beside the series itself.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Marks {
    /// The most that is allowed.
    pub limit: Option<f64>,
    /// What is normal. The scale is around the values then, and not from nought.
    pub normal: Option<NormalBand>,
}

/// What is normal, and since when something is not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NormalBand {
    /// Its lower end.
    pub lower: Option<f64>,
    /// Its upper end.
    pub upper: Option<f64>,
    /// What was expected.
    pub expected: Option<f64>,
    /// Since when it was otherwise, seconds since 1970.
    pub since_s: i64,
}

impl NormalBand {
    fn holds(&self, value: f64) -> bool {
        self.lower.is_none_or(|lower| value >= lower)
            && self.upper.is_none_or(|upper| value <= upper)
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        [self.lower, self.upper, self.expected]
            .into_iter()
            .flatten()
    }
}

/// Draws hashrate, `width` by `height` pixels.
pub fn draw(series: &TimeSeries, size: (u32, u32)) -> Result<String, QueryError> {
    draw_marked(series, AxisUnit::HASHRATE, &Marks::default(), size)
}

/// Draws any quantity with its marks.
pub fn draw_marked(
    series: &TimeSeries,
    unit: AxisUnit,
    marks: &Marks,
    size: (u32, u32),
) -> Result<String, QueryError> {
    let mut text = String::new();
    draw_into(series, unit, marks, size, &mut text).map_err(undrawn)?;
    Ok(text)
}

fn draw_into<'a>(
    series: &TimeSeries,
    unit: AxisUnit,
    marks: &Marks,
    size: (u32, u32),
    text: &'a mut String,
) -> Result<(), DrawError<'a>> {
    let area = SVGBackend::with_string(text, size).into_drawing_area();
    let times = time_axis(series, size.0);
    let values = value_axis(series, unit, marks);
    let floor = values.range.start.max(0.0).min(values.range.end);
    let mut chart = plot(&area, times, values)?;
    let (from, to) = (series.from_s as f64, series.to_s as f64);
    if let Some(normal) = &marks.normal {
        if let (Some(lower), Some(upper)) = (normal.lower, normal.upper) {
            let corners = vec![(from, lower), (to, lower), (to, upper), (from, upper)];
            chart.draw_series([Polygon::new(corners, GRID.mix(0.2))])?;
        }
        let level = normal
            .expected
            .map(|value| vec![(from, value), (to, value)]);
        let range = chart.y_range();
        let since = normal.since_s as f64;
        let begins = vec![(since, range.start), (since, range.end)];
        let lines = level.into_iter().chain([begins]);
        chart.draw_series(lines.map(|line| PathElement::new(line, GRID.stroke_width(1))))?;
    }
    for run in runs(series) {
        let run = line(run, series);
        if marks.normal.is_none() {
            chart.draw_series(AreaSeries::new(run.clone(), floor, LINE.mix(0.12)))?;
        }
        chart.draw_series(LineSeries::new(run, LINE.stroke_width(2)))?;
    }
    if let Some(normal) = &marks.normal {
        let outside = series.points.iter().filter(|point| !normal.holds(point.1));
        let dot =
            |(at, value): &(i64, f64)| Circle::new((*at as f64, *value), 2, ABNORMAL.filled());
        chart.draw_series(outside.map(dot))?;
    }
    if let Some(limit) = marks.limit {
        let line = vec![(from, limit), (to, limit)];
        chart.draw_series([PathElement::new(line, ABNORMAL.stroke_width(1))])?;
        let style = ("sans-serif", 11).into_font().color(&LABEL);
        let words = format!("limit {}", unit.label(limit));
        let place = EmptyElement::at((from, limit));
        chart.draw_series([place + Text::new(words, ABOVE_LIMIT, style)])?;
    }
    area.present()
}

/// The scale of the times of a series, on a drawing so wide.
pub(crate) fn time_axis(series: &TimeSeries, width: u32) -> Axis {
    let step_s = time_step(series, labels_across(width) as i64);
    Axis {
        range: series.from_s as f64..series.to_s as f64,
        lines: time_lines(series, step_s),
        label: Box::new(move |time| time_label(time as i64, step_s)),
    }
}

fn value_axis(series: &TimeSeries, unit: AxisUnit, marks: &Marks) -> Axis {
    let values = series.points.iter().map(|point| point.1);
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    match &marks.normal {
        Some(normal) => Axis::around(
            normal.values().fold(low, f64::min),
            normal.values().fold(high, f64::max),
            unit,
        ),
        // Power that is fed back is below nought.
        None if low < 0.0 => Axis::around(low, high.max(marks.limit.unwrap_or(0.0)), unit),
        // Space for the words above the line of a limit.
        None => Axis::from_zero(high.max(marks.limit.map_or(0.0, |limit| limit * 1.1)), unit),
    }
}

/// The points of a line; one without neighbours is as long as its step.
pub(crate) fn line(run: &[(i64, f64)], series: &TimeSeries) -> Vec<(f64, f64)> {
    let end = match run {
        [(at, rate)] => Some(((at + series.step_s).min(series.to_s) as f64, *rate)),
        _ => None,
    };
    let points = run.iter().map(|(at, rate)| (*at as f64, *rate));
    points.chain(end).collect()
}

/// Points that follow each other without a gap.
fn runs(series: &TimeSeries) -> impl Iterator<Item = &[(i64, f64)]> {
    let step_s = series.step_s;
    series
        .points
        .chunk_by(move |one, next| next.0 - one.0 <= step_s + step_s / 2)
}

/// The distance of the lines of the grid, of which there are so many at most.
fn time_step(series: &TimeSeries, lines: i64) -> i64 {
    let span = series.to_s - series.from_s;
    let fits = |step: &&i64| span / **step < lines.max(2);
    TIME_STEPS.iter().find(fits).copied().unwrap_or(span.max(1))
}

fn time_lines(series: &TimeSeries, step: i64) -> Vec<f64> {
    let first = (series.from_s + step - 1).div_euclid(step);
    (first..=series.to_s.div_euclid(step))
        .map(|line| (line * step) as f64)
        .collect()
}

/// The time of day where lines are less than a day apart, else the day, in UTC.
fn time_label(second: i64, step_s: i64) -> String {
    let (day, of_day) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    if step_s < 86_400 && of_day > 0 {
        return format!("{:02}:{:02}", of_day / 3_600, of_day % 3_600 / 60);
    }
    let (month, day) = month_and_day(day);
    format!("{month:02}-{day:02}")
}

/// Of a day since 1970, by the calendar of Gregory, with years that begin in March.
fn month_and_day(days: i64) -> (i64, i64) {
    let of_era = (days + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn series(points: &[(i64, f64)]) -> TimeSeries {
        TimeSeries {
            from_s: 1_795_392_000,
            to_s: 1_795_392_000 + 86_400,
            step_s: 600,
            points: points.to_vec(),
        }
    }

    fn at(n: i64) -> i64 {
        1_795_392_000 + n * 600
    }

    #[test]
    fn a_chart_has_a_line_for_each_run_and_labels_with_units() {
        let text = draw(
            &series(&[
                (at(0), 900.0),
                (at(1), 1_500.0),
                (at(9), 10.0),
                (at(10), 20.0),
            ]),
            (720, 220),
        )
        .unwrap();
        assert_eq!(text.matches("<polyline").count(), 2, "{text}");
        assert_eq!(text.matches("<polygon").count(), 2, "{text}");
        for label in ["2 kH/s", "1.5 kH/s", "500 H/s", "04:00"] {
            assert!(text.contains(label), "{label}: {text}");
        }
        // What a page's policy forbids is not in it.
        for forbidden in ["style=", "<script", "<style", "href"] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        // A single step is a line as well, and has a length.
        assert_eq!(
            line(&[(at(1), 900.0)], &series(&[])),
            [(at(1) as f64, 900.0), (at(2) as f64, 900.0)]
        );
        let empty = draw(&series(&[]), (320, 120)).unwrap();
        assert!(
            !empty.contains("<polyline") && empty.contains("4 H/s"),
            "{empty}"
        );
    }

    #[test]
    fn a_band_is_drawn_with_a_dot_for_each_reading_outside_of_it() {
        let normal = NormalBand {
            lower: Some(23.0),
            upper: Some(25.0),
            expected: Some(24.0),
            since_s: at(3),
        };
        let points = [(at(1), 24.2), (at(2), 23.9), (at(3), 31.0), (at(4), 30.5)];
        let marks = Marks {
            normal: Some(normal),
            limit: None,
        };
        let unit = AxisUnit::by_quantity("temperature_c");
        let text = draw_marked(&series(&points), unit, &marks, (720, 220)).unwrap();
        assert_eq!(text.matches("<circle").count(), 2, "{text}");
        // The band alone: what is below the line is not filled, for the scale has no nought.
        assert_eq!(text.matches("<polygon").count(), 1, "{text}");
        assert!(text.contains("24 °C") && !text.contains(">0 °C"), "{text}");
        // Where only limits are known there is no band and no level.
        let unknown = Marks {
            normal: Some(NormalBand::default()),
            limit: None,
        };
        let text = draw_marked(&series(&points), unit, &unknown, (720, 220)).unwrap();
        assert_eq!(text.matches("<circle").count(), 0, "{text}");
        assert_eq!(text.matches("<polygon").count(), 0, "{text}");
    }

    #[test]
    fn a_limit_is_on_the_scale_and_has_its_value() {
        let marks = Marks {
            limit: Some(900_000.0),
            normal: None,
        };
        let points = [(at(1), 120_000.0), (at(2), 130_000.0)];
        let text = draw_marked(&series(&points), AxisUnit::WATTS, &marks, (720, 220)).unwrap();
        assert!(text.contains("limit 900 kW"), "{text}");
        assert!(text.contains("1 MW"), "{text}");
    }

    #[test]
    fn times_are_labelled_as_the_calendar_has_them() {
        for (second, step, label) in [
            (0, 3_600, "01-01"),
            (3_660, 3_600, "01:01"),
            (951_782_400, 86_400, "02-29"),
            (1_767_225_599, 604_800, "12-31"),
        ] {
            assert_eq!(time_label(second, step), label);
        }
    }
}

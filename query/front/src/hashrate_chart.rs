//! A chart of hashrate over time as SVG, drawn by the library plotters.
//!
//! Its colours are attributes, which the styles of a page that takes the drawing in override; by
//! itself it is legible on light and on dark ground.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::error::QueryError;
use crate::hashrate_series::HashrateSeries;

/// Pixels that labels take left of, below and above the plot; scripts that show a point's value
/// know them.
const LEFT: u32 = 64;
const BELOW: u32 = 24;
const MARGIN: u32 = 8;

const LINE: RGBColor = RGBColor(0xc2, 0x5a, 0x12);
const GRID: RGBColor = RGBColor(0x88, 0x88, 0x88);
const LABEL: RGBColor = RGBColor(0x77, 0x7b, 0x80);

/// Lines of the grid at most, from left to right.
const TIME_LINES: i64 = 7;
/// Widths between them that fall on full minutes, hours and days.
const TIME_STEPS: &[i64] = &[
    600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400, 172_800, 432_000,
    604_800, 1_209_600, 2_592_000, 5_184_000,
];

/// Draws it, `width` by `height` pixels.
pub fn draw(series: &HashrateSeries, (width, height): (u32, u32)) -> Result<String, QueryError> {
    let mut text = String::new();
    draw_into(series, (width, height), &mut text)
        .map_err(|error| QueryError::internal(format!("a chart cannot be drawn: {error}")))?;
    Ok(text)
}

type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn draw_into<'a>(
    series: &HashrateSeries,
    size: (u32, u32),
    text: &'a mut String,
) -> Result<(), DrawError<'a>> {
    let top = series
        .points
        .iter()
        .map(|point| point.1)
        .fold(0.0, f64::max);
    let top = round_up(top);
    let area = SVGBackend::with_string(text, size).into_drawing_area();
    let step_s = time_step(series);
    let times = Axis {
        range: series.from_s as f64..series.to_s as f64,
        lines: time_lines(series, step_s),
        label: Box::new(move |time| time_label(time as i64, step_s)),
    };
    let rates = Axis {
        range: 0.0..top,
        lines: (0..=4).map(|n| top * f64::from(n) / 4.0).collect(),
        label: Box::new(rate_label),
    };
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .set_label_area_size(LabelAreaPosition::Left, LEFT - MARGIN)
        .set_label_area_size(LabelAreaPosition::Bottom, BELOW)
        .build_cartesian_2d(times, rates)?;
    let label = ("sans-serif", 11).into_font().color(&LABEL);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .axis_style(TRANSPARENT)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.mix(0.25))
        .label_style(label)
        .draw()?;
    for run in runs(series) {
        let run = line(run, series);
        chart.draw_series(AreaSeries::new(run.clone(), 0.0, LINE.mix(0.12)))?;
        chart.draw_series(LineSeries::new(run, LINE.stroke_width(2)))?;
    }
    area.present()
}

/// A scale with lines where they are wanted.
struct Axis {
    range: Range<f64>,
    lines: Vec<f64>,
    label: Box<dyn Fn(f64) -> String>,
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

/// The points of a line; one without neighbours is as long as its step.
pub(crate) fn line(run: &[(i64, f64)], series: &HashrateSeries) -> Vec<(f64, f64)> {
    let end = match run {
        [(at, rate)] => Some(((at + series.step_s).min(series.to_s) as f64, *rate)),
        _ => None,
    };
    let points = run.iter().map(|(at, rate)| (*at as f64, *rate));
    points.chain(end).collect()
}

/// Points that follow each other without a gap.
fn runs(series: &HashrateSeries) -> impl Iterator<Item = &[(i64, f64)]> {
    let step_s = series.step_s;
    series
        .points
        .chunk_by(move |one, next| next.0 - one.0 <= step_s + step_s / 2)
}

fn time_step(series: &HashrateSeries) -> i64 {
    let span = series.to_s - series.from_s;
    let fits = |step: &&i64| span / **step <= TIME_LINES;
    TIME_STEPS.iter().find(fits).copied().unwrap_or(span.max(1))
}

fn time_lines(series: &HashrateSeries, step: i64) -> Vec<f64> {
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

/// The next of 1, 2, 4 and 8 times a power of ten: four lines of the grid are round then.
fn round_up(rate: f64) -> f64 {
    if !rate.is_finite() || rate <= 0.0 {
        return 4.0;
    }
    let power = 10_f64.powf(rate.log10().floor());
    let factor = [1.0, 2.0, 4.0, 8.0, 10.0];
    let factor = factor.iter().find(|factor| *factor * power >= rate);
    factor.unwrap_or(&10.0) * power
}

fn rate_label(rate: f64) -> String {
    let units = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s"];
    let mut value = rate;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < units.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let digits = match value {
        _ if value.fract() == 0.0 => 0,
        _ if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn series(points: &[(i64, f64)]) -> HashrateSeries {
        HashrateSeries {
            from_s: 1_795_392_000,
            to_s: 1_795_392_000 + 86_400,
            step_s: 600,
            points: points.to_vec(),
        }
    }

    #[test]
    fn a_chart_has_a_line_for_each_run_and_labels_with_units() {
        let at = |n: i64| 1_795_392_000 + n * 600;
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
        for label in ["2 kH/s", "1.50 kH/s", "500 H/s", "04:00"] {
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

    #[test]
    fn the_scale_ends_above_the_highest_point() {
        for (rate, top) in [
            (0.0, 4.0),
            (f64::NAN, 4.0),
            (1.0, 1.0),
            (3.0, 4.0),
            (8.5e6, 1e7),
        ] {
            assert!((round_up(rate) - top).abs() <= top * 1e-9, "{rate}");
        }
    }
}

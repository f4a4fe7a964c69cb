//! A chart of metered power against the target that somebody asked for: as SVG, or as plain shapes
//! for a drawing of another kind, such as a page of a PDF.

mod shapes;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::chart_axis::{Axis, AxisUnit, GRID, LABEL, LINE, plot, undrawn};
use crate::error::QueryError;
use crate::time_chart::time_axis;
use crate::time_series::TimeSeries;

pub use shapes::{Anchor, Colour, Shape};

const TARGET: RGBColor = RGBColor(0x1a, 0x4f, 0x8a);
/// Pixels from the line of one moment's words to those of the next.
const WORDS_APART: i32 = 13;
/// Words of a moment stand left of its line beyond this share of the chart.
const RIGHT_SHARE: f64 = 0.75;

/// What is drawn. Times are seconds since 1970, powers kilowatts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PowerChart {
    /// Where it begins.
    pub from_s: i64,
    /// Where it ends.
    pub to_s: i64,
    /// What the meter said, the oldest first.
    pub metered: Vec<(f64, f64)>,
    /// What was asked for, each from its time on, the oldest first; nothing is asked where it is
    /// not known.
    pub target: Vec<(f64, Option<f64>)>,
    /// What would have been drawn.
    pub baseline_kw: Option<f64>,
    /// Moments with a word each, the oldest first.
    pub moments: Vec<(f64, String)>,
}

impl PowerChart {
    /// Draws it as SVG, `width` by `height` pixels.
    ///
    /// # Errors
    ///
    /// The library refuses it, which happens for no chart of numbers.
    pub fn svg(&self, size: (u32, u32)) -> Result<String, QueryError> {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
            self.draw(&area, size).map_err(undrawn)?;
        }
        Ok(text)
    }

    /// The same as shapes on white ground; the origin is at the upper left.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn shapes(&self, size: (u32, u32)) -> Result<Vec<Shape>, QueryError> {
        let mut shapes = Vec::new();
        {
            let area = shapes::Recording::new(size, &mut shapes).into_drawing_area();
            self.draw(&area, size).map_err(undrawn)?;
        }
        Ok(shapes)
    }

    fn draw<Drawing: DrawingBackend>(
        &self,
        area: &DrawingArea<Drawing, Shift>,
        size: (u32, u32),
    ) -> Result<(), DrawingAreaErrorKind<Drawing::ErrorType>> {
        let span = TimeSeries {
            from_s: self.from_s,
            to_s: self.to_s.max(self.from_s + 1),
            ..TimeSeries::default()
        };
        let watts = |kw: f64| kw * 1_000.0;
        let (from, to) = (span.from_s as f64, span.to_s as f64);
        let targets = self.target.iter().filter_map(|(_, kw)| *kw);
        let values = self.metered.iter().map(|(_, kw)| *kw).chain(targets);
        let top = values.chain(self.baseline_kw).fold(0.0, f64::max);
        // Space above for the words of the moments.
        let up = Axis::from_zero(watts(top) * 1.1, AxisUnit::WATTS);
        let highest = up.range.end;
        let mut chart = plot(area, time_axis(&span, size.0), up)?;
        if let Some(kw) = self.baseline_kw {
            let line = vec![(from, watts(kw)), (to, watts(kw))];
            chart.draw_series([PathElement::new(line, LABEL.stroke_width(1))])?;
        }
        let metered = self.metered.iter().map(|(at, kw)| (*at, watts(*kw)));
        chart.draw_series(LineSeries::new(metered, LINE.stroke_width(2)))?;
        for (line, words) in self.target_lines(from, to) {
            let line: Vec<_> = line.into_iter().map(|(at, kw)| (at, watts(kw))).collect();
            let place = EmptyElement::at(line[0]);
            chart.draw_series([PathElement::new(line, TARGET.stroke_width(2))])?;
            let style = ("sans-serif", 11).into_font().color(&TARGET);
            chart.draw_series([place + Text::new(words, (4, 3), style)])?;
        }
        for (row, (at, words)) in (0..).zip(&self.moments) {
            let line = vec![(*at, 0.0), (*at, highest)];
            chart.draw_series([PathElement::new(line, GRID.stroke_width(1))])?;
            let style = ("sans-serif", 11).into_font().color(&LABEL);
            // About six pixels a letter.
            let is_right = *at > from + RIGHT_SHARE * (to - from);
            let x = if is_right {
                -(6 * words.chars().count() as i32)
            } else {
                4
            };
            let place = EmptyElement::at((*at, highest));
            chart.draw_series([
                place + Text::new(words.clone(), (x, 2 + row * WORDS_APART), style)
            ])?;
        }
        area.present()
    }

    /// Lines of the target while there is one, with its words.
    fn target_lines(&self, from: f64, to: f64) -> Vec<(Vec<(f64, f64)>, String)> {
        let mut lines: Vec<(Vec<(f64, f64)>, String)> = Vec::new();
        let mut is_open = false;
        for (at, step) in self.target.iter().enumerate() {
            let Some(kw) = step.1 else {
                is_open = false;
                continue;
            };
            let next = self.target.get(at + 1);
            let begins = step.0.clamp(from, to);
            let ends = next.map_or(to, |next| next.0.clamp(from, to));
            if ends <= begins {
                continue;
            }
            let piece = [(begins, kw), (ends, kw)];
            match lines.last_mut().filter(|_| is_open) {
                Some((line, _)) => line.extend(piece),
                None => {
                    let words = format!("target {}", AxisUnit::WATTS.label(kw * 1_000.0));
                    lines.push((piece.to_vec(), words));
                }
            }
            is_open = true;
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chart() -> PowerChart {
        let at = |s: i64| (1_795_392_000 + s) as f64;
        PowerChart {
            from_s: 1_795_392_000,
            to_s: 1_795_392_000 + 3_600,
            metered: vec![
                (at(0), 980.0),
                (at(600), 980.0),
                (at(660), 495.0),
                (at(3_600), 990.0),
            ],
            target: vec![(at(0), None), (at(600), Some(500.0)), (at(3_000), None)],
            baseline_kw: Some(981.0),
            moments: vec![
                (at(600), "asked <now>".to_owned()),
                (at(3_000), "released".to_owned()),
            ],
        }
    }

    #[test]
    fn metered_power_and_target_are_lines_and_moments_have_words() {
        let text = chart().svg((720, 280)).unwrap();
        for part in [
            "target 500 kW",
            "asked &lt;now&gt;",
            "released",
            "1 MW",
            "00:30",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // Metered power, and the target for as long as there was one.
        assert!(text.matches("<polyline").count() >= 2, "{text}");
        for forbidden in ["style=", "<script", "<style", "href"] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn shapes_are_those_of_the_picture_and_within_it() {
        let shapes = chart().shapes((720, 280)).unwrap();
        let words: Vec<&str> = shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Text { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        for part in ["target 500 kW", "asked <now>", "1 MW", "00:30"] {
            assert!(words.contains(&part), "{part}: {words:?}");
        }
        let longest = shapes.iter().filter_map(|shape| match shape {
            Shape::Line { points, .. } => Some(points.len()),
            _ => None,
        });
        assert_eq!(longest.max(), Some(4), "metered power");
        for shape in &shapes {
            if let Shape::Line { points, .. } = shape {
                let is_within =
                    |(x, y): &(i32, i32)| (0..=720).contains(x) && (0..=280).contains(y);
                assert!(points.iter().all(is_within), "{shape:?}");
            }
        }
    }

    #[test]
    fn a_chart_of_nothing_is_drawn() {
        let text = PowerChart::default().svg((320, 120)).unwrap();
        assert!(text.contains("<svg") && !text.contains("target"), "{text}");
    }
}

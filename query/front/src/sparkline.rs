//! A line of hashrate over time without words, for a cell of a table, drawn by the library
//! plotters.

use plotters::prelude::*;

use crate::error::QueryError;
use crate::time_chart;
use crate::time_series::TimeSeries;

/// Pixels of a drawing.
const SIZE: (u32, u32) = (96, 20);
/// The same colour as the charts', which the styles of a page override.
const LINE: RGBColor = RGBColor(0xc2, 0x5a, 0x12);

/// Draws it over the whole span of the series; before its first point there is nothing.
pub fn draw(series: &TimeSeries) -> Result<String, QueryError> {
    let mut text = String::new();
    draw_into(series, &mut text)
        .map_err(|error| QueryError::internal(format!("a sparkline cannot be drawn: {error}")))?;
    Ok(text)
}

type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn draw_into<'a>(series: &TimeSeries, text: &'a mut String) -> Result<(), DrawError<'a>> {
    let rates = series.points.iter().map(|point| point.1);
    let top = rates.fold(0.0, f64::max).max(1.0);
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let times = series.from_s as f64..series.to_s as f64;
    let mut chart = ChartBuilder::on(&area)
        .margin(1)
        .build_cartesian_2d(times, 0.0..top)?;
    let points = time_chart::line(&series.points, series);
    chart.draw_series(LineSeries::new(points, LINE.stroke_width(1)))?;
    area.present()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_a_small_drawing_of_a_line_and_nothing_else() {
        let mut series = TimeSeries {
            from_s: 0,
            to_s: 86_400,
            step_s: 600,
            points: vec![(0, 0.0), (43_200, 50.0), (86_400, 100.0)],
        };
        let drawn = draw(&series).unwrap();
        assert!(
            drawn.starts_with("<svg width=\"96\" height=\"20\""),
            "{drawn}"
        );
        assert_eq!(drawn.matches("<polyline").count(), 1, "{drawn}");
        assert!(drawn.contains("points=\"1,18 47,10 94,1 \""), "{drawn}");
        assert!(!drawn.contains("<text"), "{drawn}");
        series.points.clear();
        assert!(
            !draw(&series).unwrap().contains("<polyline points"),
            "nothing is known"
        );
    }
}

//! `svg`: a drawing of the rows. Numbers over time are lines, numbers beside names are bars; each
//! column of numbers has a plot of its own.
//!
//! The first rows are drawn, as many as an eye can tell apart, and the drawing says so.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::QueryError;
use crate::format::memory::AnswerReservation;
use crate::format::{Encoder, Format, Head, encoding};
use crate::rows_chart::{Places, RowsChart};

/// Columns of numbers that are drawn: the first ones.
const MAX_PLOTS: usize = 4;
/// Rows of a drawing over time, and of one with a bar each.
const MAX_POINTS: usize = 5_000;
const MAX_BARS: usize = 200;
/// The longest name below a bar.
const MAX_LABEL_CHARS: usize = 16;

/// The format `svg`.
pub struct Svg;

impl Format for Svg {
    fn name(&self) -> &'static str {
        "svg"
    }
    fn media_types(&self) -> &'static [&'static str] {
        &["image/svg+xml"]
    }
    fn is_for_people(&self) -> bool {
        true
    }
    fn encoder(&self, head: &Head) -> Result<Box<dyn Encoder>, QueryError> {
        let columns = Columns::choose(&head.schema)?;
        let names = columns.measures.iter();
        let names = names.map(|index| head.schema.field(*index).name().clone());
        let chart = RowsChart {
            names: names.collect(),
            places: match columns.is_time {
                true => Places::Times(Vec::new()),
                false => Places::Labels(Vec::new()),
            },
            values: vec![Vec::new(); columns.measures.len()],
            rows_left_out: 0,
        };
        Ok(Box::new(SvgEncoder {
            columns,
            chart,
            width: head.width,
            memory: head.memory.reservation(),
        }))
    }
}

/// Which columns are drawn.
struct Columns {
    /// Where a row stands.
    place: usize,
    /// Whether that is a time.
    is_time: bool,
    /// What is drawn of it.
    measures: Vec<usize>,
}

impl Columns {
    /// Over the first time, else beside the first name, else beside the first column.
    fn choose(schema: &Schema) -> Result<Self, QueryError> {
        let kinds: Vec<&DataType> = schema.fields().iter().map(|one| one.data_type()).collect();
        let time = kinds.iter().position(|kind| is_time(kind));
        let name = kinds.iter().position(|kind| !kind.is_numeric());
        let place = time.or(name).unwrap_or(0);
        let numbers = (0..kinds.len()).filter(|at| *at != place && kinds[*at].is_numeric());
        let measures: Vec<usize> = numbers.take(MAX_PLOTS).collect();
        if measures.is_empty() {
            return Err(QueryError::bad_request(
                "there is nothing to draw: a drawing needs a column of numbers beside a time or a \
                 name",
                "select both, or ask for another format",
            ));
        }
        Ok(Self {
            place,
            is_time: time.is_some(),
            measures,
        })
    }

    fn max_rows(&self) -> usize {
        if self.is_time { MAX_POINTS } else { MAX_BARS }
    }
}

fn is_time(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64
    )
}

struct SvgEncoder {
    columns: Columns,
    chart: RowsChart,
    width: u32,
    memory: AnswerReservation,
}

impl Encoder for SvgEncoder {
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        let free = self.columns.max_rows() - self.chart.len();
        let taken = batch.num_rows().min(free);
        self.chart.rows_left_out += batch.num_rows() - taken;
        let batch = batch.slice(0, taken);
        // A value is kept as a number, and drawn as some dozens of characters.
        let cells = taken * (1 + self.columns.measures.len());
        self.memory.try_grow(64 * cells)?;
        let place = batch.column(self.columns.place);
        match &mut self.chart.places {
            Places::Times(times) => times.extend(seconds(place)?),
            Places::Labels(labels) => labels.extend(texts(place)?),
        }
        for (values, index) in self.chart.values.iter_mut().zip(&self.columns.measures) {
            values.extend(numbers(batch.column(*index))?);
        }
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<u8>, QueryError> {
        Ok(self.chart.svg(self.width)?.into_bytes())
    }
}

/// Times as seconds since 1970.
fn seconds(column: &ArrayRef) -> Result<Vec<Option<f64>>, QueryError> {
    let whole = DataType::Timestamp(TimeUnit::Millisecond, None);
    let times = arrow::compute::cast(column, &whole).map_err(encoding)?;
    let times = arrow::compute::cast(&times, &DataType::Int64).map_err(encoding)?;
    let times = times.as_primitive::<Int64Type>();
    Ok(times
        .iter()
        .map(|time| time.map(|ms| ms as f64 / 1_000.0))
        .collect())
}

fn numbers(column: &ArrayRef) -> Result<Vec<Option<f64>>, QueryError> {
    let numbers = arrow::compute::cast(column, &DataType::Float64).map_err(encoding)?;
    let numbers = numbers.as_primitive::<Float64Type>();
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    Ok(numbers.iter().map(finite).collect())
}

fn texts(column: &ArrayRef) -> Result<Vec<String>, QueryError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options).map_err(encoding)?;
    let text = |row| {
        let text = formatter.value(row).try_to_string().map_err(encoding)?;
        let visible = text.chars().filter(|letter| !letter.is_control());
        Ok(visible.take(MAX_LABEL_CHARS).collect())
    };
    (0..column.len()).map(text).collect()
}

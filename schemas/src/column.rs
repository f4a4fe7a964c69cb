//! One column: its name, type, unit, limits and meaning, from which every other description is
//! made.
//!
//! The Arrow schema, the Delta schema, validation, `information_schema` and the docs all read the
//! same value, so they cannot disagree.

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

/// Microseconds since 1970 of 2009-01-03, the day mining began: nothing mined is older.
pub const EARLIEST_EVENT_US: i64 = 1_230_940_800_000_000;
/// Microseconds since 1970 of 2100-01-01: a clock that says more is broken, not early.
pub const LATEST_EVENT_US: i64 = 4_102_444_800_000_000;

/// The logical type of a column. Delta has no unsigned types, so there are none here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Microseconds since 1970, UTC.
    Timestamp,
    /// Days since 1970.
    Date,
    /// UTF-8 text, usually of few distinct values.
    Text,
    /// Raw bytes.
    Bytes,
    /// 64-bit signed integer.
    Int,
    /// 32-bit signed integer.
    SmallInt,
    /// Exact integer of up to 38 digits: money in atomic units and sums of work.
    Decimal,
    /// IEEE double; never for money or work.
    Float,
    /// True or false.
    Bool,
}

impl Kind {
    /// The Arrow type in memory. Text is a string view, as DataFusion reads Parquet.
    pub fn arrow(self) -> DataType {
        match self {
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Date => DataType::Date32,
            Kind::Text => DataType::Utf8View,
            Kind::Bytes => DataType::BinaryView,
            Kind::Int => DataType::Int64,
            Kind::SmallInt => DataType::Int32,
            Kind::Decimal => DataType::Decimal128(38, 0),
            Kind::Float => DataType::Float64,
            Kind::Bool => DataType::Boolean,
        }
    }

    /// The name of the type in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Kind::Timestamp => "TIMESTAMP WITH TIME ZONE",
            Kind::Date => "DATE",
            Kind::Text => "VARCHAR",
            Kind::Bytes => "BYTEA",
            Kind::Int => "BIGINT",
            Kind::SmallInt => "INTEGER",
            Kind::Decimal => "DECIMAL(38,0)",
            Kind::Float => "DOUBLE",
            Kind::Bool => "BOOLEAN",
        }
    }
}

/// The unit a value is given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A name, an identifier or a plain number.
    None,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Microseconds,
    /// How long something took or lasts, in seconds.
    Seconds,
    /// How long something took or lasts, in millionths of a second.
    DurationMicroseconds,
    /// Expected hashes: one unit of difficulty is one hash.
    Hashes,
    /// Hashes per second.
    HashesPerSecond,
    /// The coin's smallest unit (1e-12 XMR for Monero).
    AtomicUnits,
    /// Watts.
    Watts,
    /// Thousands of watts.
    Kilowatts,
    /// Thousandths of a watt.
    Milliwatts,
    /// Watt-hours.
    WattHours,
    /// Thousands of watt-hours.
    KilowattHours,
    /// Millionths of a watt-hour.
    MicroWattHours,
    /// Joules for a million million hashes.
    JoulesPerTerahash,
    /// A count of things.
    Count,
    /// Degrees of an angle.
    Degrees,
    /// Hundredths of a whole.
    Percent,
    /// The unit is named by the row's `quantity`, e.g. `temperature_c`.
    ByQuantity,
    /// Millionths of the unit named by the row's `quantity`.
    MicroByQuantity,
}

impl Unit {
    /// The unit as users read it; empty when there is none.
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Microseconds => "µs since 1970 UTC",
            Unit::Seconds => "s",
            Unit::DurationMicroseconds => "µs",
            Unit::Hashes => "hashes",
            Unit::HashesPerSecond => "H/s",
            Unit::AtomicUnits => "atomic units",
            Unit::Watts => "W",
            Unit::Kilowatts => "kW",
            Unit::Milliwatts => "mW",
            Unit::WattHours => "Wh",
            Unit::KilowattHours => "kWh",
            Unit::MicroWattHours => "µWh",
            Unit::JoulesPerTerahash => "J/TH",
            Unit::Count => "count",
            Unit::Degrees => "°",
            Unit::Percent => "%",
            Unit::ByQuantity => "by quantity",
            Unit::MicroByQuantity => "1e-6 by quantity",
        }
    }
}

/// What values a column accepts; a row outside is rejected with a reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limits {
    /// Anything of the type. Text is still held to [`Column::MAX_TEXT_BYTES`] and floats must be
    /// finite.
    Any,
    /// Integers and timestamps within the bounds, both included.
    Int(i64, i64),
    /// Floats within the bounds, both included.
    Float(f64, f64),
    /// Text that is one of these words.
    OneOf(&'static [&'static str]),
    /// Text that is none of these words, which mean something else. Held to
    /// [`Column::MAX_TEXT_BYTES`] as any other.
    NoneOf(&'static [&'static str]),
    /// Text of at most so many bytes, where [`Column::MAX_TEXT_BYTES`] are not the right number.
    TextBytes(usize),
}

/// A column of a stream, a table or a rollup.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// snake_case, unit last.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// Whether a row without it is refused.
    pub required: bool,
    /// Which values are accepted.
    pub limits: Limits,
    /// Whether few distinct values are expected, so that a Parquet dictionary is the best encoding.
    pub few_values: bool,
    /// One sentence for the users.
    pub doc: &'static str,
}

impl Column {
    /// The longest text accepted from outside, in bytes.
    pub const MAX_TEXT_BYTES: usize = 256;

    /// An optional column of this type without a unit.
    pub const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        let few_values = matches!(kind, Kind::Text | Kind::Bytes);
        Self {
            name,
            kind,
            unit: Unit::None,
            required: false,
            limits: Limits::Any,
            few_values,
            doc,
        }
    }

    /// An optional timestamp within the years a clock can honestly say.
    pub const fn time(name: &'static str, doc: &'static str) -> Self {
        let mut column = Self::new(name, Kind::Timestamp, doc);
        column.unit = Unit::Microseconds;
        column.limits = Limits::Int(EARLIEST_EVENT_US, LATEST_EVENT_US);
        column
    }

    /// The same column with a unit.
    pub const fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// The same column, refused when absent.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same column with limits.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same column, encoded for few distinct values.
    pub const fn few_values(mut self) -> Self {
        self.few_values = true;
        self
    }

    /// The Arrow field. Always nullable: a rejected row of a raw table has nothing but its payload.
    pub fn field(&self) -> Field {
        Field::new(self.name, self.kind.arrow(), true)
    }
}

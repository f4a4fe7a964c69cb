//! What a statement that came by the PostgreSQL wire carries beside its text.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, IntervalUnit, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

/// Everything about a statement of a PostgreSQL session that is not in its text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PostgresStatement {
    /// The user of the session.
    pub user: String,
    /// The number of the session, as `pg_backend_pid()` tells it.
    pub backend: i32,
    /// The settings of the session, as `current_setting()` tells them.
    pub settings: BTreeMap<String, String>,
    /// The values of `$1`, `$2`, ….
    pub parameters: Vec<Parameter>,
}

/// A parameter with the type that the client gave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// The type; `None` where the client left it to the server.
    pub kind: Option<ParameterKind>,
    /// The value.
    pub value: ParameterValue,
}

/// The types of parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParameterKind {
    /// bool
    Bool,
    /// int2, int4 and int8
    Int,
    /// oid
    Oid,
    /// float4 and float8
    Float,
    /// numeric
    Numeric,
    /// text, varchar, char, name and whatever else is written as text
    Text,
    /// bytea
    Bytes,
    /// date
    Date,
    /// time
    Time,
    /// timestamp
    Timestamp,
    /// timestamptz
    TimestampTz,
    /// interval
    Interval,
    /// A list of one of the others.
    List(Box<ParameterKind>),
}

impl ParameterKind {
    /// Its Arrow type. A numeric has ten digits behind its point.
    pub fn arrow_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int | Self::Oid => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Numeric => DataType::Decimal128(38, 10),
            Self::Text => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::List(item) => {
                DataType::List(Field::new_list_field(item.arrow_type(), true).into())
            }
        }
    }
}

/// A value of a parameter. Times count from 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ParameterValue {
    /// NULL
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// The bits of a floating-point number, since JSON knows neither infinities nor NaN.
    Float(u64),
    /// Text, and everything that was given as text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Days of a date.
    Days(i32),
    /// Microseconds of a time or a timestamp.
    Micros(i64),
    /// Months, days and microseconds of an interval.
    Interval(i32, i32, i64),
    /// The values of a list.
    List(Vec<ParameterValue>),
}

/// What a statement takes and gives, known before it runs.
#[derive(Debug, Clone)]
pub struct Description {
    /// The columns; two may have the same name.
    pub schema: SchemaRef,
    /// The types of `$1`, `$2`, ….
    pub parameters: Vec<ParameterKind>,
}

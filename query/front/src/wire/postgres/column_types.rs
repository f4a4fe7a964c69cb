//! Which PostgreSQL type each Arrow type becomes, and which parameter each PostgreSQL type is.

use arrow::datatypes::{DataType, Field};
use pgwire::api::Type;

use crate::sql::ParameterKind;

/// The key under which the catalogue's columns say that their numbers are object identifiers.
const OID_ALIAS: &str = "pg.oid_alias";

/// The type of a column as clients are told it.
pub(super) fn type_of(field: &Field) -> Type {
    if field.metadata().contains_key(OID_ALIAS) && *field.data_type() == DataType::Int32 {
        return Type::OID;
    }
    type_of_data(field.data_type())
}

fn type_of_data(data_type: &DataType) -> Type {
    match data_type {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 => Type::INT8,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Type::NUMERIC,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::Date32 => Type::DATE,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Date64 | DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            array_of(&type_of(item))
        }
        DataType::Dictionary(_, values) => type_of_data(values),
        // Text, NULL, and what PostgreSQL has no type for, which is shown as text.
        _ => Type::TEXT,
    }
}

/// The types whose lists PostgreSQL has a type for, and those lists.
const ARRAYS: &[(Type, Type)] = &[
    (Type::BOOL, Type::BOOL_ARRAY),
    (Type::INT2, Type::INT2_ARRAY),
    (Type::INT4, Type::INT4_ARRAY),
    (Type::INT8, Type::INT8_ARRAY),
    (Type::OID, Type::OID_ARRAY),
    (Type::FLOAT4, Type::FLOAT4_ARRAY),
    (Type::FLOAT8, Type::FLOAT8_ARRAY),
    (Type::NUMERIC, Type::NUMERIC_ARRAY),
    (Type::BYTEA, Type::BYTEA_ARRAY),
    (Type::DATE, Type::DATE_ARRAY),
    (Type::TIME, Type::TIME_ARRAY),
    (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
    (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
    (Type::INTERVAL, Type::INTERVAL_ARRAY),
    (Type::TEXT, Type::TEXT_ARRAY),
    (Type::VARCHAR, Type::VARCHAR_ARRAY),
    (Type::BPCHAR, Type::BPCHAR_ARRAY),
    (Type::NAME, Type::NAME_ARRAY),
    (Type::CHAR, Type::CHAR_ARRAY),
    (Type::UUID, Type::UUID_ARRAY),
];

/// The type of a list; a list of lists is shown as text.
fn array_of(item: &Type) -> Type {
    let mut arrays = ARRAYS.iter();
    let found = arrays.find(|(of, _)| of == item);
    found.map_or(Type::TEXT, |(_, array)| array.clone())
}

/// Bytes that every value of the type has; -1 where they differ.
pub(super) fn length_of(of: &Type) -> i16 {
    match *of {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::OID | Type::FLOAT4 | Type::DATE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL => 16,
        _ => -1,
    }
}

/// Precision and scale of a numeric, as PostgreSQL packs them; -1 for other types.
pub(super) fn modifier_of(data_type: &DataType) -> i32 {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale)
            if *scale >= 0 =>
        {
            ((i32::from(*precision) << 16) | i32::from(*scale)) + 4
        }
        _ => -1,
    }
}

/// The kind of a parameter that a client declared by its type's number; `None` leaves it to the
/// server, as 0 and `unknown` do. A type that is not known here is read as text.
pub(super) fn kind_of(oid: u32) -> Option<ParameterKind> {
    if oid == 0 || oid == Type::UNKNOWN.oid() {
        return None;
    }
    let Some(declared) = Type::from_oid(oid) else {
        return Some(ParameterKind::Text);
    };
    let list = ARRAYS.iter().find(|(_, array)| *array == declared);
    Some(list.map_or_else(
        || plain_kind(&declared),
        |(item, _)| ParameterKind::List(Box::new(plain_kind(item))),
    ))
}

fn plain_kind(of: &Type) -> ParameterKind {
    match *of {
        Type::BOOL => ParameterKind::Bool,
        Type::INT2 | Type::INT4 | Type::INT8 => ParameterKind::Int,
        Type::OID => ParameterKind::Oid,
        Type::FLOAT4 | Type::FLOAT8 => ParameterKind::Float,
        Type::NUMERIC => ParameterKind::Numeric,
        Type::BYTEA => ParameterKind::Bytes,
        Type::DATE => ParameterKind::Date,
        Type::TIME => ParameterKind::Time,
        Type::TIMESTAMP => ParameterKind::Timestamp,
        Type::TIMESTAMPTZ => ParameterKind::TimestampTz,
        Type::INTERVAL => ParameterKind::Interval,
        _ => ParameterKind::Text,
    }
}

/// The type that a client is told a parameter has.
pub(super) fn type_of_kind(kind: &ParameterKind) -> Type {
    match kind {
        ParameterKind::Bool => Type::BOOL,
        ParameterKind::Int => Type::INT8,
        ParameterKind::Oid => Type::OID,
        ParameterKind::Float => Type::FLOAT8,
        ParameterKind::Numeric => Type::NUMERIC,
        ParameterKind::Text => Type::TEXT,
        ParameterKind::Bytes => Type::BYTEA,
        ParameterKind::Date => Type::DATE,
        ParameterKind::Time => Type::TIME,
        ParameterKind::Timestamp => Type::TIMESTAMP,
        ParameterKind::TimestampTz => Type::TIMESTAMPTZ,
        ParameterKind::Interval => Type::INTERVAL,
        ParameterKind::List(item) => array_of(&type_of_kind(item)),
    }
}

//! What clients ask about the server: what it can do, and which types it has.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::Result;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetSqlInfo, Nullable, Searchable, SqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity,
    SqlSupportedTransaction, XdbcDataType, XdbcDatetimeSubcode,
};
use headframe_schemas::column::Kind;

use crate::wire::flight::handles::HandleKind;

/// The columns of [`sql_info`].
pub(super) fn sql_info_schema() -> SchemaRef {
    Arc::new(SqlInfoDataBuilder::schema().clone())
}

/// The facts that a client asks for, or all of them.
pub(super) fn sql_info(ask: &CommandGetSqlInfo) -> Result<RecordBatch> {
    ask.clone().into_builder(&facts()?).build()
}

fn facts() -> Result<SqlInfoData> {
    let mut facts = SqlInfoDataBuilder::new();
    facts.append(SqlInfo::FlightSqlServerName, "headframe");
    facts.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    facts.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    // Rows are appended by bulk ingest only; no statement changes anything.
    facts.append(SqlInfo::FlightSqlServerReadOnly, true);
    facts.append(SqlInfo::FlightSqlServerSql, true);
    facts.append(SqlInfo::FlightSqlServerSubstrait, false);
    let none = SqlSupportedTransaction::None as i32;
    facts.append(SqlInfo::FlightSqlServerTransaction, none);
    facts.append(SqlInfo::FlightSqlServerCancel, true);
    facts.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    facts.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    let life = i32::try_from(HandleKind::Prepared.life().as_millis()).unwrap_or(i32::MAX);
    facts.append(SqlInfo::FlightSqlServerStatementTimeout, life);
    for name in [
        SqlInfo::SqlDdlCatalog,
        SqlInfo::SqlDdlSchema,
        SqlInfo::SqlDdlTable,
        SqlInfo::SqlSelectForUpdateSupported,
        SqlInfo::SqlStoredProceduresSupported,
    ] {
        facts.append(name, false);
    }
    for name in [
        SqlInfo::SqlAllTablesAreSelectable,
        SqlInfo::SqlSupportsColumnAliasing,
        SqlInfo::SqlNullPlusNullIsNull,
        SqlInfo::SqlSupportsTableCorrelationNames,
        SqlInfo::SqlSupportsExpressionsInOrderBy,
        SqlInfo::SqlSupportsOrderByUnrelated,
        SqlInfo::SqlSupportsLikeEscapeClause,
        SqlInfo::SqlCorrelatedSubqueriesSupported,
    ] {
        facts.append(name, true);
    }
    let lower = SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32;
    facts.append(SqlInfo::SqlIdentifierCase, lower);
    facts.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    let order = SqlNullOrdering::SqlNullsSortedHigh as i32;
    facts.append(SqlInfo::SqlNullOrdering, order);
    facts.append(SqlInfo::SqlSearchStringEscape, "\\");
    facts.append(SqlInfo::SqlSchemaTerm, "schema");
    facts.append(SqlInfo::SqlCatalogTerm, "catalog");
    facts.append(SqlInfo::SqlCatalogAtStart, true);
    facts.build()
}

/// The types of columns, or the one of this number.
pub(super) fn types(number: Option<i32>) -> Result<RecordBatch> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (kind, number, size) in [
        (Kind::Bool, XdbcDataType::XdbcBit, 1),
        (Kind::SmallInt, XdbcDataType::XdbcInteger, 10),
        (Kind::Int, XdbcDataType::XdbcBigint, 19),
        (Kind::Decimal, XdbcDataType::XdbcDecimal, 38),
        (Kind::Float, XdbcDataType::XdbcDouble, 53),
        (Kind::Text, XdbcDataType::XdbcVarchar, i32::MAX),
        (Kind::Bytes, XdbcDataType::XdbcVarbinary, i32::MAX),
        (Kind::Date, XdbcDataType::XdbcDate, 10),
        (Kind::Timestamp, XdbcDataType::XdbcTimestamp, 32),
    ] {
        types.append(type_info(kind, number, size));
    }
    types.build()?.record_batch(number)
}

fn type_info(kind: Kind, number: XdbcDataType, size: i32) -> XdbcTypeInfo {
    let is_number = matches!(
        kind,
        Kind::SmallInt | Kind::Int | Kind::Decimal | Kind::Float
    );
    let quote = matches!(kind, Kind::Text | Kind::Date | Kind::Timestamp).then(|| "'".to_owned());
    let (general, subcode) = match kind {
        // A date and a year have one number.
        Kind::Date => (
            XdbcDataType::XdbcDatetime,
            Some(XdbcDatetimeSubcode::XdbcSubcodeYear),
        ),
        Kind::Timestamp => (
            XdbcDataType::XdbcDatetime,
            Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
        ),
        _ => (number, None),
    };
    XdbcTypeInfo {
        type_name: kind.sql().to_owned(),
        data_type: number,
        column_size: Some(size),
        literal_prefix: quote.clone(),
        literal_suffix: quote,
        nullable: Nullable::NullabilityNullable,
        case_sensitive: kind == Kind::Text,
        searchable: Searchable::Full,
        unsigned_attribute: is_number.then_some(false),
        auto_increment: is_number.then_some(false),
        local_type_name: Some(kind.sql().to_owned()),
        minimum_scale: is_number.then_some(0),
        maximum_scale: is_number.then_some(0),
        sql_data_type: general,
        datetime_subcode: subcode,
        num_prec_radix: is_number.then_some(if kind == Kind::Float { 2 } else { 10 }),
        ..XdbcTypeInfo::default()
    }
}

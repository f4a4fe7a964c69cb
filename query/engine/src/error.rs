//! What went wrong inside DataFusion or a source, as the user is told it.

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use headframe_query_front::{ErrorCode, QueryError, SqlState};

use crate::source::SourceError;

/// What `?` makes of an error of DataFusion inside this crate; outside it is a [`QueryError`].
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EngineError(QueryError);

impl From<DataFusionError> for EngineError {
    fn from(error: DataFusionError) -> Self {
        Self(from_datafusion(error))
    }
}

impl From<SourceError> for EngineError {
    fn from(error: SourceError) -> Self {
        Self(error.into())
    }
}

impl From<QueryError> for EngineError {
    fn from(error: QueryError) -> Self {
        Self(error)
    }
}

impl From<EngineError> for QueryError {
    fn from(error: EngineError) -> Self {
        error.0
    }
}

/// Sorts an error of DataFusion by who has to do something about it.
pub fn from_datafusion(error: DataFusionError) -> QueryError {
    let sqlstate = sqlstate_of(error.find_root());
    let sorted = sorted(error);
    QueryError {
        sqlstate: sorted.sqlstate.or(sqlstate),
        ..sorted
    }
}

/// What the type of an error says more than its code.
fn sqlstate_of(error: &DataFusionError) -> Option<SqlState> {
    Some(match error {
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::AmbiguousReference { .. } => SqlState::AmbiguousColumn,
            SchemaError::FieldNotFound { .. } => SqlState::UndefinedColumn,
            _ => return None,
        },
        // What a statement asks of a setting, such as the format of EXPLAIN.
        DataFusionError::NotImplemented(_) | DataFusionError::Configuration(_) => {
            SqlState::FeatureNotSupported
        }
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::DivideByZero => SqlState::DivisionByZero,
            ArrowError::ArithmeticOverflow(_) => SqlState::NumericOutOfRange,
            ArrowError::CastError(_) | ArrowError::ParseError(_) => SqlState::InvalidText,
            _ => return None,
        },
        _ => return None,
    })
}

fn sorted(error: DataFusionError) -> QueryError {
    let text = error.strip_backtrace();
    match error.find_root() {
        // The engine tells of a full spill area in words only.
        _ if text.contains("during the spilling process") => QueryError::new(
            ErrorCode::MemoryLimit,
            format!("the query needs more disk to spill to than there may be: {text}"),
            "read fewer columns or a shorter time, group by less, or raise query.spill_mib",
        ),
        // A pattern that is too large comes as an error of the engine itself.
        _ if text.contains("Regular expression did not compile") => QueryError::new(
            ErrorCode::SqlExecution,
            format!("a regular expression is wrong, or larger than 10 MiB when compiled: {text}"),
            "write a shorter pattern with fewer repetitions",
        ),
        DataFusionError::ResourcesExhausted(_) => QueryError::new(
            ErrorCode::MemoryLimit,
            format!("the query needs more memory than it may use: {text}"),
            "read fewer columns or a shorter time, group by less, or raise query.query_memory_mib",
        ),
        DataFusionError::SQL(error, _) => {
            let message = match error.as_ref() {
                ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
                ParserError::RecursionLimitExceeded => {
                    "the statement is nested too deeply".to_owned()
                }
            };
            QueryError::new(
                ErrorCode::SqlSyntax,
                message,
                "the SQL is DataFusion's, close to PostgreSQL's",
            )
        }
        DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::Configuration(_)
        | DataFusionError::NotImplemented(_) => QueryError::new(
            ErrorCode::SqlPlan,
            text,
            "SHOW TABLES lists the tables, DESCRIBE <table> its columns",
        ),
        DataFusionError::ObjectStore(_)
        | DataFusionError::IoError(_)
        | DataFusionError::ParquetError(_) => QueryError::storage(&text),
        DataFusionError::ArrowError(error, _)
            if matches!(
                **error,
                ArrowError::IoError(..) | ArrowError::ParquetError(_)
            ) =>
        {
            QueryError::storage(&text)
        }
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => QueryError::new(
            ErrorCode::SqlExecution,
            text,
            "the statement fails on some row; try_cast and nullif avoid most of these",
        ),
        DataFusionError::External(source) => match source.downcast_ref::<QueryError>() {
            Some(error) => error.clone(),
            None => match source.downcast_ref::<SourceError>() {
                Some(error) => error.clone().into(),
                None => QueryError::storage(&text),
            },
        },
        _ => QueryError::internal(text),
    }
}

impl From<SourceError> for QueryError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::NoSuchVersion { .. } => QueryError::new(
                ErrorCode::NoSuchVersion,
                error.to_string(),
                "leave as_of out, or name a later version or time",
            ),
            SourceError::Unavailable { .. } => QueryError::new(
                ErrorCode::Storage,
                error.to_string(),
                "see /ready; the query may be tried again",
            ),
        }
    }
}

//! Reads a statement and refuses those that would do more than read.
//!
//! The plan is checked once more later; this check comes first so that the error names what was
//! written, not what the planner made of it.

use datafusion::config::Dialect;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Sql;

use crate::datafusion::depth_limits;
use crate::datafusion::statement_size;
use crate::error::from_datafusion;
use headframe_query_front::access::ReadScope;
use headframe_query_front::sql::MAX_SQL_BYTES;
use headframe_query_front::{ErrorCode, QueryError, SqlRequest};

/// Parses exactly one statement that reads.
pub fn parse(state: &SessionState, request: &SqlRequest) -> Result<Statement, QueryError> {
    let dialect = match request.postgres {
        Some(_) => Dialect::PostgreSQL,
        None => state.config().options().sql_parser.dialect,
    };
    parse_text(state, &request.sql, dialect)
}

/// The same for a text of this dialect.
pub fn parse_text(
    state: &SessionState,
    sql: &str,
    dialect: Dialect,
) -> Result<Statement, QueryError> {
    if sql.trim().is_empty() {
        return Err(QueryError::bad_request(
            "the statement is empty",
            "send SQL as text/plain, as {\"sql\": …} or as ?q=",
        ));
    }
    if sql.len() > MAX_SQL_BYTES {
        let message = format!(
            "the statement has {} bytes, more than {MAX_SQL_BYTES}",
            sql.len()
        );
        return Err(QueryError::bad_request(
            message,
            "pass long lists as a parameter or join with a table",
        ));
    }
    let depth = depth_limits::depth(sql);
    if depth > depth_limits::MAX_DEPTH {
        let message = format!(
            "the statement nests {depth} deep, more than {}",
            depth_limits::MAX_DEPTH
        );
        return Err(QueryError::bad_request(
            message,
            "write a long OR as IN (...), and a long chain of joins or unions as several \
             statements",
        ));
    }
    let statement =
        state
            .sql_to_statement(sql, &dialect)
            .map_err(|error| match error.find_root() {
                datafusion::error::DataFusionError::NotImplemented(text)
                    if text.contains("single") =>
                {
                    QueryError::new(
                        ErrorCode::SqlSyntax,
                        text.clone(),
                        "send one statement a request",
                    )
                }
                _ => from_datafusion(error),
            })?;
    check(&statement)?;
    Ok(statement)
}

/// Refuses what tells how everybody's rows are stored to whoever may not see them all.
pub fn check_reader(statement: &Statement, reads: &ReadScope) -> Result<(), QueryError> {
    let explains = match statement {
        Statement::Explain(_) => true,
        Statement::Statement(sql) => matches!(sql.as_ref(), Sql::Explain { .. }),
        _ => false,
    };
    match reads {
        ReadScope::Miner(_) | ReadScope::MinerPlaces { .. } | ReadScope::Nothing if explains => {
            Err(QueryError::new(
                ErrorCode::Forbidden,
                "EXPLAIN is for whoever reads whole tables",
                "send the statement without it",
            ))
        }
        _ => Ok(()),
    }
}

/// The error for a statement that would change something.
pub fn read_only(what: impl std::fmt::Display) -> QueryError {
    let message = format!("this API only reads: {what}");
    QueryError::new(
        ErrorCode::ReadOnly,
        message,
        "SELECT, SHOW TABLES, SHOW COLUMNS, DESCRIBE and EXPLAIN are allowed; rows come in by \
         /api/v1/ingest/{stream}",
    )
}

fn check(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Explain(explain) => check(&explain.statement),
        Statement::Statement(sql) => {
            statement_size::check(sql)?;
            check_sql(sql)
        }
        other => Err(refuse(&other.to_string())),
    }
}

fn check_sql(sql: &Sql) -> Result<(), QueryError> {
    match sql {
        Sql::Query(_)
        | Sql::ShowTables { .. }
        | Sql::ShowColumns { .. }
        | Sql::ExplainTable { .. }
        | Sql::ShowVariable { .. }
        | Sql::ShowFunctions { .. } => Ok(()),
        Sql::Explain { statement, .. } => check_sql(statement),
        other => Err(refuse(&other.to_string())),
    }
}

fn refuse(sql: &str) -> QueryError {
    let words: Vec<&str> = sql.split_whitespace().take(2).collect();
    read_only(format_args!("{} is refused", words.join(" ")))
}

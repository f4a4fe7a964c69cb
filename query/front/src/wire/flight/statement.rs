//! One statement: planned so that a client knows its columns, and run when its ticket is redeemed.
//!
//! A statement is its text. It is planned anew when it runs, over the tables as they are then; when
//! its columns are not what the client was told, it is an error and not a surprise.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::{StreamExt, TryStreamExt, stream};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Response, Status};

use crate::access::{OngoingAccess, Principal, ReadScope};
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::format::Head;
use crate::sql::{At, Parameter, ParameterKind, ParameterValue, SqlRequest};
use crate::wire::flight::columns::{divided, sent_batch, sent_schema};
use crate::wire::flight::{DataStream, status};
use crate::wire::postgres::lexer::{self, Kind, Lexer};

/// Parameters that a statement may have.
const MAX_PARAMETERS: usize = 10_000;

/// A statement as a client prepared it.
pub(super) struct Statement {
    /// Its text; every parameter is `$` and a number.
    sql: String,
    /// Its columns, as clients were told.
    pub(super) schema: SchemaRef,
    /// The types of its parameters.
    pub(super) kinds: Vec<ParameterKind>,
    /// Their values, once they were given.
    parameters: Option<Vec<Parameter>>,
    /// Bytes of the values.
    parameter_bytes: usize,
    /// What it is listed and cancelled by when it runs.
    pub(super) query_id: String,
}

impl Statement {
    /// Plans a statement for this caller.
    pub(super) async fn plan(
        app: &AppState,
        principal: &Principal,
        text: &str,
    ) -> Result<Self, QueryError> {
        let sql = numbered(text)?;
        let count = lexer::parameters(&sql);
        if count > MAX_PARAMETERS {
            let message =
                format!("the statement has {count} parameters, more than {MAX_PARAMETERS}");
            let hint = "pass long lists in the text, or join with a table";
            return Err(QueryError::new(ErrorCode::Parameters, message, hint));
        }
        let unknown = Parameter {
            kind: None,
            value: ParameterValue::Null,
        };
        let request = request(&sql, vec![unknown; count], None);
        let description = app.queries()?.describe_as(principal, request).await?;
        Ok(Self {
            sql,
            schema: sent_schema(&description.schema),
            kinds: description.parameters,
            parameters: (count == 0).then(Vec::new),
            parameter_bytes: 0,
            query_id: String::new(),
        })
    }

    /// The same with these values, which take so many bytes.
    pub(super) fn bound(
        &self,
        parameters: Vec<Parameter>,
        parameter_bytes: usize,
    ) -> Result<Self, QueryError> {
        if parameters.len() != self.kinds.len() {
            let message = format!(
                "{} values were bound, but the statement has {} parameters",
                parameters.len(),
                self.kinds.len()
            );
            let hint = "give each of $1, $2, … (or each ?) one value";
            return Err(QueryError::new(ErrorCode::Parameters, message, hint));
        }
        Ok(Self {
            sql: self.sql.clone(),
            schema: self.schema.clone(),
            kinds: self.kinds.clone(),
            parameters: Some(parameters),
            parameter_bytes,
            query_id: String::new(),
        })
    }

    /// The same, ready to run once under an id of its own.
    pub(super) fn to_run(&self) -> Result<Self, QueryError> {
        let Some(parameters) = self.parameters.clone() else {
            let message = format!(
                "the statement has {} parameters without values",
                self.kinds.len()
            );
            let hint = "bind one row of values before it runs";
            return Err(QueryError::new(ErrorCode::Parameters, message, hint));
        };
        let bound = self.bound(parameters, self.parameter_bytes)?;
        Ok(Self {
            query_id: uuid::Uuid::now_v7().simple().to_string(),
            ..bound
        })
    }

    /// Bytes that it takes here.
    pub(super) fn bytes(&self) -> usize {
        // Each column has a name and a type.
        self.sql.len() + self.parameter_bytes + 128 * self.schema.fields().len()
    }

    /// Runs it and sends its rows as they are made, for as long as its caller would be let in.
    /// Dropping the answer ends it.
    pub(super) async fn run(
        &self,
        app: &AppState,
        principal: &Principal,
        access: Arc<OngoingAccess>,
    ) -> Result<Response<DataStream>, QueryError> {
        let parameters = self.parameters.clone().unwrap_or_default();
        let request = request(&self.sql, parameters, Some(self.query_id.clone()));
        let answer = app
            .queries()?
            .ask_while(&access, principal, request)
            .await?;
        if sent_schema(&answer.schema) != self.schema {
            return Err(QueryError::new(
                ErrorCode::SqlPlan,
                "the columns of the statement are not those that it was planned with",
                "prepare it again; name the columns in place of *, and cast parameters in the list \
                 of columns to their types",
            ));
        }
        let head = Head::from_answer(&answer, &app.answers);
        let schema = self.schema.clone();
        let batches = answer.rows.flat_map(move |batch| {
            let sent = batch.and_then(|batch| sent_batch(&schema, &batch));
            stream::iter(match sent {
                Ok(batch) => divided(batch).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(FlightError::from(status::of_error(&error)))],
            })
        });
        let data = FlightDataEncoderBuilder::new()
            .with_schema(self.schema.clone())
            .with_max_flight_data_size(usize::MAX)
            .build(batches)
            .map_err(status::of_flight);
        let mut response = Response::new(data.boxed() as DataStream);
        describe(response.metadata_mut(), &head);
        Ok(response)
    }

    /// A statement that nobody runs.
    #[cfg(test)]
    pub(super) fn without_columns(sql: String) -> Self {
        Self {
            sql,
            schema: arrow::datatypes::Schema::empty().into(),
            kinds: Vec::new(),
            parameters: None,
            parameter_bytes: 0,
            query_id: String::new(),
        }
    }
}

fn request(sql: &str, parameters: Vec<Parameter>, query_id: Option<String>) -> SqlRequest {
    SqlRequest {
        sql: sql.to_owned(),
        params: serde_json::Value::Null,
        parameters: Some(parameters),
        at: At::Latest,
        timeout: None,
        max_rows: None,
        query_id,
        reads: ReadScope::Nothing,
        postgres: None,
    }
}

/// What an answer over HTTP says in its headers.
fn describe(metadata: &mut MetadataMap, head: &Head) {
    let through = head.coverage.iter().map(|stream| {
        let through = stream.through.unwrap_or(0);
        format!("{}={through}", stream.stream)
    });
    let through = through.collect::<Vec<_>>().join(", ");
    let complete = head.complete().map(|complete| complete.to_string());
    let texts = [
        ("headframe-query-id", Some(head.query_id.clone())),
        ("headframe-complete-through", Some(through)),
        ("headframe-complete", complete),
    ];
    for (name, text) in texts {
        let text = text.filter(|text| !text.is_empty());
        // Ids, stream names and numbers are plain ASCII.
        if let Some(Ok(value)) = text.map(AsciiMetadataValue::try_from) {
            metadata.insert(name, value);
        }
    }
}

/// The statement with `$1`, `$2`, … in place of each `?`, which is how JDBC and ADBC write them.
fn numbered(text: &str) -> Result<String, QueryError> {
    let marks: Vec<usize> = Lexer::new(text)
        .filter(|token| token.kind == Kind::Symbol('?'))
        .map(|token| token.start)
        .collect();
    if marks.is_empty() {
        return Ok(text.to_owned());
    }
    if lexer::parameters(text) > 0 {
        let message = "the statement has parameters of both forms, ? and $1";
        let error = QueryError::new(
            ErrorCode::Parameters,
            message,
            "write all of them as $1, $2, …",
        );
        return Err(error);
    }
    let mut numbered = String::with_capacity(text.len() + 2 * marks.len());
    let mut from = 0;
    for (index, at) in marks.into_iter().enumerate() {
        numbered.push_str(&text[from..at]);
        // What stands beside it without a blank must not become a part of it, or it of that.
        if numbered.ends_with(is_name) {
            numbered.push(' ');
        }
        numbered.push_str(&format!("${}", index + 1));
        from = at + 1;
        if text[from..].starts_with(is_name) {
            numbered.push(' ');
        }
    }
    numbered.push_str(&text[from..]);
    Ok(numbered)
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '$')
}

/// The status of an error, for whoever answers a call.
pub(super) fn failed(error: QueryError) -> Status {
    status::of_error(&error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn question_marks_become_numbers_where_they_are_parameters() {
        let sql = "SELECT '?', \"a?\", ? -- ?\n WHERE x = ? AND y LIKE '%?'";
        let expected = "SELECT '?', \"a?\", $1 -- ?\n WHERE x = $2 AND y LIKE '%?'";
        assert_eq!(numbered(sql).unwrap(), expected);
        assert_eq!(numbered("SELECT $2, $1").unwrap(), "SELECT $2, $1");
        assert_eq!(numbered("x LIKE?AND y=?5").unwrap(), "x LIKE $1 AND y=$2 5");
        assert_eq!(
            numbered("SELECT $1, ?").unwrap_err().code,
            ErrorCode::Parameters
        );
    }

    proptest! {
        #[test]
        fn no_text_confuses_it(text in "[?$0-9'\"a-zäé/*; \\n-]{0,60}") {
            if let Ok(numbered) = numbered(&text) {
                let marks = |text: &str| {
                    Lexer::new(text).filter(|token| token.kind == Kind::Symbol('?')).count()
                };
                prop_assert!(marks(&text) == 0 || lexer::parameters(&numbered) == marks(&text));
            }
        }
    }
}

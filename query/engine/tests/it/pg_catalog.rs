//! What a PostgreSQL session sees: the catalogue as its clients ask for it, parameters with types,
//! and the same tables as everybody.

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use headframe_query_front::access::Principal;
use headframe_query_front::sql::{Parameter, ParameterKind, ParameterValue, PostgresStatement};
use headframe_query_front::{At, QueryError, QueryService, SqlRequest, SqlState};

use crate::server::{config, service, shares, sql_request};

fn of_session(sql: &str, parameters: Vec<Parameter>) -> SqlRequest {
    SqlRequest {
        postgres: Some(PostgresStatement {
            user: "somebody".to_owned(),
            backend: 7,
            settings: [("application_name".to_owned(), "test".to_owned())].into(),
            parameters,
        }),
        ..sql_request(sql, At::Latest)
    }
}

async fn batches_of(
    service: &QueryService,
    request: SqlRequest,
) -> Result<Vec<RecordBatch>, QueryError> {
    service.ask(request).await?.rows.try_collect().await
}

pub async fn answer_of(
    service: &QueryService,
    sql: &str,
    parameters: Vec<Parameter>,
) -> Result<Vec<Vec<String>>, QueryError> {
    let mut rows = Vec::new();
    for batch in batches_of(service, of_session(sql, parameters)).await? {
        for row in 0..batch.num_rows() {
            let cell = |array: &std::sync::Arc<dyn Array>| match array.is_null(row) {
                true => "-".to_owned(),
                false => ArrayFormatter::try_new(array, &FormatOptions::default())
                    .unwrap()
                    .value(row)
                    .to_string(),
            };
            rows.push(batch.columns().iter().map(cell).collect());
        }
    }
    Ok(rows)
}

async fn rows(service: &QueryService, sql: &str) -> Vec<Vec<String>> {
    let rows = answer_of(service, sql, Vec::new()).await;
    rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn given(kind: Option<ParameterKind>, value: ParameterValue) -> Parameter {
    Parameter { kind, value }
}

fn text(text: &str) -> ParameterValue {
    ParameterValue::Text(text.to_owned())
}

#[tokio::test]
async fn a_session_knows_whose_it_is() {
    let service = service(&config(), vec![shares()]);
    let sql = "SELECT current_user, session_user AS s, current_database(), current_schema(), \
               pg_backend_pid(), current_setting('application_name'), \
               current_setting('server_version_num')::int / 100, \
               current_setting('no.such', true), set_config('jit', 'off', false)";
    let expected = [
        "somebody",
        "somebody",
        "headframe",
        "public",
        "7",
        "test",
        "1600",
        "-",
        "off",
    ];
    assert_eq!(rows(&service, sql).await, [expected]);
    let version = rows(&service, "SELECT version()").await;
    assert!(version[0][0].starts_with("PostgreSQL 16.6 "), "{version:?}");
    let version = rows(&service, "SELECT pg_catalog.version()").await;
    assert!(version[0][0].starts_with("PostgreSQL 16.6 "), "{version:?}");
}

#[tokio::test]
async fn a_format_of_explain_that_there_is_not_is_no_defect_of_ours() {
    let service = service(&config(), vec![shares()]);
    let explained = answer_of(&service, "EXPLAIN (FORMAT JSON) SELECT 1", Vec::new()).await;
    let state = explained.unwrap_err().sqlstate;
    assert_eq!(state, Some(SqlState::FeatureNotSupported));
}

#[tokio::test]
async fn numbers_of_relations_stay_and_lead_to_columns_and_comments() {
    let service = service(&config(), vec![shares()]);
    let find = "SELECT c.oid FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON \
                n.oid = c.relnamespace WHERE c.relname OPERATOR(pg_catalog.~) '^(shares)$' \
                COLLATE pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid)";
    let found = rows(&service, find).await;
    assert_eq!(found, rows(&service, find).await);
    let number = &found[0][0];
    let columns = format!(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
         col_description(a.attrelid, a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = \
         '{number}' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    let columns = rows(&service, &columns).await;
    assert!(columns.iter().all(|column| column[3] != "-"), "{columns:?}");
    let decimals = "SELECT count(*), min(format_type(atttypid, atttypmod)) FROM pg_attribute WHERE \
                    atttypid = 1700 AND atttypmod > 0";
    let decimals = rows(&service, decimals).await;
    assert_ne!(decimals[0][0], "0", "no amount says how many digits it has");
    assert_eq!(decimals[0][1], "numeric(38,0)");
    let comments = rows(
        &service,
        "SELECT count(*) FROM pg_description WHERE objsubid = 0 AND classoid = 1259",
    );
    assert_ne!(comments.await, [["0"]]);
    let regclass = rows(&service, "SELECT 'shares'::regclass::oid").await;
    assert_eq!(regclass, [[number.as_str()]]);
}

#[tokio::test]
async fn information_schema_has_postgresqls_names_for_sessions_and_ours_for_others() {
    let service = service(&config(), vec![shares()]);
    let sql = "SELECT data_type FROM information_schema.columns WHERE table_name = 'shares' AND \
               column_name IN ('event_time', 'difficulty', 'seq') ORDER BY column_name";
    assert_eq!(
        rows(&service, sql).await,
        [["bigint"], ["timestamp with time zone"], ["bigint"]]
    );
    let plain = batches_of(&service, sql_request(sql, At::Latest))
        .await
        .unwrap();
    let texts = arrow::util::pretty::pretty_format_batches(&plain)
        .unwrap()
        .to_string();
    assert!(texts.contains("BIGINT"), "{texts}");
    let hidden = sql_request("SELECT * FROM pg_catalog.pg_class", At::Latest);
    assert!(
        batches_of(&service, hidden).await.is_err(),
        "others do not see it"
    );
}

#[tokio::test]
async fn parameters_are_what_they_stand_beside() {
    let service = service(&config(), vec![shares()]);
    for (sql, parameter, expected) in [
        // A whole number beside a numeric, as every driver sends it.
        (
            "difficulty::decimal(38,0) > $1",
            given(Some(ParameterKind::Int), ParameterValue::Int(0)),
            "10",
        ),
        (
            "difficulty::decimal(38,0) > $1",
            given(None, text("0")),
            "10",
        ),
        (
            "difficulty::decimal(38,0) > $1",
            given(Some(ParameterKind::Numeric), text("0.5")),
            "10",
        ),
        ("seq <= $1", given(None, text("3")), "3"),
        (
            "seq = $1",
            given(
                Some(ParameterKind::Float),
                ParameterValue::Float(2.5_f64.to_bits()),
            ),
            "0",
        ),
        (
            "event_time > $1",
            given(None, text("2020-01-01T00:00:00Z")),
            "10",
        ),
        (
            "event_time < $1",
            given(Some(ParameterKind::TimestampTz), ParameterValue::Micros(0)),
            "0",
        ),
        (
            "seq = ANY($1)",
            given(
                Some(ParameterKind::List(Box::new(ParameterKind::Int))),
                ParameterValue::List(vec![ParameterValue::Int(1), ParameterValue::Int(4)]),
            ),
            "2",
        ),
        (
            "$1 IS NULL",
            given(Some(ParameterKind::Int), ParameterValue::Null),
            "10",
        ),
    ] {
        let counted = format!("SELECT count(*) FROM shares WHERE {sql}");
        let answer = answer_of(&service, &counted, vec![parameter]).await;
        assert_eq!(
            answer.unwrap_or_else(|error| panic!("{sql}: {error}")),
            [[expected]],
            "{sql}"
        );
    }
    let wrong = vec![given(None, text("soon"))];
    let error = answer_of(&service, "SELECT 1 FROM shares WHERE seq = $1", wrong)
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::InvalidText, "{error}");
}

#[tokio::test]
async fn a_statement_is_described_without_its_values() {
    let service = service(&config(), vec![shares()]);
    let sql = "SELECT seq, difficulty, $2 AS note FROM shares WHERE event_time > $1 AND seq < $3 \
               LIMIT $4";
    let open = || given(None, ParameterValue::Null);
    let parameters = vec![
        open(),
        given(Some(ParameterKind::Text), ParameterValue::Null),
        open(),
        given(Some(ParameterKind::Int), ParameterValue::Null),
    ];
    let described = service
        .describe_as(&Principal::reader(), of_session(sql, parameters))
        .await
        .unwrap();
    let names: Vec<&str> = described
        .schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(names, ["seq", "difficulty", "note"]);
    assert_eq!(
        described.parameters,
        [
            ParameterKind::TimestampTz,
            ParameterKind::Text,
            ParameterKind::Int,
            ParameterKind::Int
        ]
    );
}

#[tokio::test]
async fn errors_say_what_is_not_there() {
    let service = service(&config(), vec![shares()]);
    for (sql, state) in [
        ("SELECT 1 FROM nothing", SqlState::UndefinedTable),
        ("SELECT nothing FROM shares", SqlState::UndefinedColumn),
        ("SELEC 1", SqlState::Syntax),
        ("DELETE FROM shares", SqlState::InsufficientPrivilege),
        ("SELECT 1 / 0", SqlState::DivisionByZero),
        ("SELECT 'x'::int", SqlState::InvalidText),
        ("SELECT $1::int FROM shares", SqlState::UndefinedParameter),
    ] {
        let error = answer_of(&service, sql, Vec::new()).await.unwrap_err();
        assert_eq!(error.sqlstate(), state, "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn a_column_that_a_subquery_makes_of_our_rows_is_not_rewritten() {
    let service = service(&config(), vec![shares()]);
    let sql = "SELECT s.seq, (SELECT max(o.seq) FROM shares o WHERE o.seq = s.seq) FROM shares s \
               WHERE s.seq = 3";
    assert_eq!(rows(&service, sql).await, [["3", "3"]]);
}

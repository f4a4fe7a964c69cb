//! Nothing but reading is possible.

use axum::http::StatusCode;

use crate::server::{small, sql};

#[tokio::test]
async fn statements_that_change_something_are_refused() {
    let router = small().await;
    for statement in [
        "CREATE TABLE t AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE shares",
        "INSERT INTO shares SELECT * FROM shares",
        "UPDATE shares SET worker = 'x'",
        "DELETE FROM shares",
        "TRUNCATE TABLE shares",
        "COPY shares TO '/tmp/stolen.parquet'",
        "COPY (SELECT 1) TO '/tmp/stolen.csv'",
        "EXPLAIN COPY (SELECT 1) TO '/tmp/stolen.csv'",
        "EXPLAIN ANALYZE INSERT INTO shares SELECT * FROM shares",
        "SET datafusion.execution.target_partitions = 1000",
        "RESET datafusion.execution.target_partitions",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "BEGIN",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
    ] {
        let answer = sql(&router, statement).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "read_only"), "{statement}: {}", answer.text());
    }
}

#[tokio::test]
async fn files_of_the_machine_cannot_be_read() {
    let router = small().await;
    for statement in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/hosts.csv\"",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM parquet_metadata('/etc/passwd')",
        "SELECT * FROM shares INTO x",
    ] {
        let answer = sql(&router, statement).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{statement}: {}", answer.text());
        assert!(["sql_plan", "sql_syntax"].contains(&answer.code().as_str()), "{statement}: {}", answer.text());
    }
}

#[tokio::test]
async fn mistakes_are_told_apart() {
    let router = small().await;
    for (statement, code) in [
        ("SELEC 1", "sql_syntax"),
        ("SELECT 1; SELECT 2", "sql_syntax"),
        ("", "bad_request"),
        ("SELECT * FROM sharez", "sql_plan"),
        ("SELECT wrker FROM shares", "sql_plan"),
        ("SELECT 1 / (seq - seq) FROM shares", "sql_execution"),
        ("SELECT CAST(worker AS BIGINT) FROM shares", "sql_execution"),
    ] {
        let answer = sql(&router, statement).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, code), "{statement}: {}", answer.text());
        assert!(answer.json()["error"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    }
}

#[tokio::test]
async fn plans_may_be_looked_at() {
    let router = small().await;
    for statement in ["EXPLAIN SELECT * FROM shares", "EXPLAIN ANALYZE SELECT count(*) FROM hashrate_1m", "DESCRIBE SELECT seq FROM shares"]
    {
        let answer = sql(&router, statement).await;
        assert_eq!(answer.status, StatusCode::OK, "{statement}: {}", answer.text());
    }
}

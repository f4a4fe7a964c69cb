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
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::FORBIDDEN, "read_only"),
            "{statement}: {}",
            answer.text()
        );
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
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{statement}: {}",
            answer.text()
        );
        assert!(
            ["sql_plan", "sql_syntax"].contains(&answer.code().as_str()),
            "{statement}: {}",
            answer.text()
        );
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
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, code),
            "{statement}: {}",
            answer.text()
        );
        assert!(
            answer.json()["error"]["hint"]
                .as_str()
                .is_some_and(|hint| !hint.is_empty())
        );
    }
}

#[tokio::test]
async fn plans_may_be_looked_at() {
    let router = small().await;
    for statement in [
        "EXPLAIN SELECT * FROM shares",
        "EXPLAIN ANALYZE SELECT count(*) FROM hashrate_1m",
        "DESCRIBE SELECT seq FROM shares",
    ] {
        let answer = sql(&router, statement).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{statement}: {}",
            answer.text()
        );
    }
}

/// Each of the long ones overflows a stack, and so ends the process, when it gets as far as the
/// planner.
#[tokio::test]
async fn nesting_without_end_is_refused_and_lists_are_not() {
    let router = small().await;
    for (head, link, tail) in [
        ("SELECT 1", "+1", ""),
        ("SELECT 'a'", "||'a'", ""),
        ("SELECT 1", "::int", ""),
        (
            "SELECT count(*) FROM shares WHERE worker = 'a'",
            " OR worker = 'a'",
            "",
        ),
        (
            "SELECT count(*) FROM shares s",
            " JOIN shares USING (seq)",
            "",
        ),
        ("SELECT 1 FROM (SELECT 1)", ", (SELECT 1)", ""),
        ("", "EXPLAIN ", "SELECT 1"),
        ("", "SELECT 1, 2 UNION ALL ", "SELECT 1, 2"),
    ] {
        let answer = sql(&router, &format!("{head}{}{tail}", link.repeat(2_000))).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{link}: {}",
            answer.text()
        );
        assert!(
            answer.text().contains("more than 200"),
            "{link}: {}",
            answer.text()
        );
    }
    for (head, link, tail) in [
        ("SELECT 1", "+1", ""),
        ("SELECT max(difficulty", "+difficulty", ") FROM shares"),
        ("SELECT 'a'", "||worker", " FROM shares"),
        ("", "SELECT 1 UNION ALL ", "SELECT 1"),
    ] {
        let answer = sql(&router, &format!("{head}{}{tail}", link.repeat(190))).await;
        assert_eq!(answer.status, StatusCode::OK, "{link}: {}", answer.text());
    }
    let joins: Vec<String> = (0..38)
        .map(|n| format!(" JOIN shares s{n} ON s{n}.seq = s.seq AND s{n}.seq < 0"))
        .collect();
    let joined = sql(
        &router,
        &format!("SELECT count(*) FROM shares s{}", joins.concat()),
    )
    .await;
    assert_ne!(joined.status, StatusCode::BAD_REQUEST, "{}", joined.text());
    let list = format!(
        "SELECT count(*) FROM shares WHERE seq IN (0{})",
        ", -1".repeat(5_000)
    );
    assert_eq!(sql(&router, &list).await.status, StatusCode::OK);
}

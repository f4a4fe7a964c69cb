//! A short statement cannot make the process allocate without bounds, and honest ones do not
//! notice.

use std::time::Duration;

use axum::http::StatusCode;
use headframe_query_engine::Engine;
use headframe_query_front::{At, ErrorCode, QueryConfig, SqlEngine, SqlRequest};

use crate::server::{config, router, rows, shares, small, sql, sql_request};

#[tokio::test]
async fn what_would_fill_memory_is_refused() {
    let router = small().await;
    for statement in [
        "SELECT repeat('x', 2000000000)",
        "SELECT length(repeat('x', 2000000000))",
        "SELECT length(repeat(worker, 1000000000)) FROM shares",
        "SELECT repeat(repeat('x', 60000), 60000)",
        "SELECT lpad('x', 2000000000, 'y')",
        "SELECT rpad(worker, 2000000000) FROM shares",
        "SELECT array_repeat(1, 1000000000)",
        "SELECT cardinality(range(1, 1000000000))",
        "SELECT cardinality(range(1000000000))",
        "SELECT cardinality(generate_series(seq, seq + 1000000000000)) FROM shares",
        "SELECT range(TIMESTAMP '2020-01-01', TIMESTAMP '2026-01-01', INTERVAL '1 second')",
        "SELECT array_resize(make_array(1), 1000000000, 2)",
        "SELECT replace(repeat('a', 60000), 'a', repeat('b', 60000))",
        "SELECT regexp_replace(repeat('a', 60000), '', repeat('b', 60000), 'g')",
        "SELECT concat(repeat('a', 60000), repeat('b', 60000))",
        "SELECT repeat('a', 60000) || repeat('b', 60000)",
    ] {
        let answer = sql(&router, statement).await;
        assert_eq!(
            answer.status.as_u16(),
            507,
            "{statement}: {}",
            answer.text()
        );
        assert!(
            answer.text().contains("memory_limit") && answer.text().contains("may make"),
            "{statement}: {}",
            answer.text()
        );
    }
    // Each step doubles; fourteen make gigabytes of it.
    let doubled = (0..14).fold(
        "SELECT repeat(worker, 60000) AS s FROM shares".to_owned(),
        |inner, _| format!("SELECT s || s AS s FROM ({inner})"),
    );
    let answer = sql(&router, &format!("SELECT max(length(s)) FROM ({doubled})")).await;
    assert_eq!(answer.status.as_u16(), 507, "{}", answer.text());
}

#[tokio::test]
async fn long_constants_make_short_batches() {
    let router = small().await;
    let long = "x".repeat(900_000);
    let answer = sql(
        &router,
        &format!(
            "SELECT count(*) AS n, max(length(t)) AS l FROM (SELECT '{long}' AS t, a.seq FROM \
             shares a, shares b)"
        ),
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(answer.text().contains("900000"), "{}", answer.text());
}

#[tokio::test]
async fn honest_text_and_lists_are_as_before() {
    let router = small().await;
    for (expression, expected) in [
        ("repeat('ab', 3)", "ababab"),
        ("lpad('7', 3, '0')", "007"),
        ("'a' || 'b' || 1", "ab1"),
        ("'a' || 1.5", "a1.5"),
        ("coalesce('a' || NULL, 'none')", "none"),
        ("array_to_string([1, 2] || [3], '-')", "1-2-3"),
        ("array_to_string(range(0, 10, 3), ',')", "0,3,6,9"),
        ("array_to_string(generate_series(3, 1, -1), ',')", "3,2,1"),
        (
            "CAST(cardinality(range(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', INTERVAL '1 \
             hour')) AS VARCHAR)",
            "24",
        ),
        ("array_to_string(array_repeat('x', 3), ',')", "x,x,x"),
        ("replace('banana', 'an', 'AN')", "bANANa"),
        ("regexp_replace('banana', '(a)n', '\\1N', 'g')", "baNaNa"),
        ("concat_ws('/', 'a', NULL, 'b')", "a/b"),
        ("list_repeat('y', 1)[1]", "y"),
    ] {
        let answer = sql(&router, &format!("SELECT {expression} AS v")).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{expression}: {}",
            answer.text()
        );
        assert!(
            answer.text().contains(&format!("\"{expected}\"")),
            "{expression}: {}",
            answer.text()
        );
    }
    let names = sql(&router, "SELECT worker || '-' || pool FROM shares LIMIT 1").await;
    assert_eq!(names.status, StatusCode::OK, "{}", names.text());
    let grouped = sql(
        &router,
        "SELECT pool || '/' || worker AS who, count(*) FROM shares WHERE miner || '' = miner GROUP \
         BY 1 ORDER BY 1",
    )
    .await;
    assert_eq!(grouped.status, StatusCode::OK, "{}", grouped.text());
}

/// The optimiser took two such steps for one.
#[tokio::test]
async fn a_step_that_looks_like_the_one_before_is_still_a_step() {
    let router = small().await;
    let steps = |step: &str, filter: &str, first: &str| {
        (0..3).fold(first.to_owned(), |inner, _| {
            format!("SELECT {step} FROM ({inner}) {filter}")
        })
    };
    for (statement, expected) in [
        (steps("n + 1 AS n", "", "SELECT 1 AS n"), "\"n\":4"),
        (
            steps("n + 1 AS n", "", "SELECT seq * 0 AS n FROM shares LIMIT 1"),
            "\"n\":3",
        ),
        (
            steps("n + 1 AS n, m", "WHERE n >= 0", "SELECT 0 AS n, 5 AS m"),
            "\"n\":3,\"m\":5",
        ),
        (
            steps("n || 'x' AS n", "", "SELECT 'a' AS n"),
            "\"n\":\"axxx\"",
        ),
        (
            steps("n + 1 AS n", "", "SELECT max(seq) * 0 AS n FROM shares"),
            "\"n\":3",
        ),
        (
            format!(
                "SELECT n FROM ({}) AS t WHERE t.n = 4 ORDER BY t.n",
                steps("n + 1 AS n", "", "SELECT 1 AS n")
            ),
            "\"n\":4",
        ),
    ] {
        let answer = sql(&router, &statement).await;
        assert!(
            answer.text().contains(expected),
            "{statement}: {}",
            answer.text()
        );
    }
    let hidden = sql(
        &router,
        "SELECT lower(s.worker) AS worker, a.pool FROM shares s JOIN shares a ON a.seq = s.seq \
         LIMIT 1",
    )
    .await;
    assert_eq!(hidden.status, StatusCode::OK, "{}", hidden.text());
    let ordered = sql(
        &router,
        "SELECT upper(worker) AS worker, count(*) AS n FROM shares GROUP BY worker ORDER BY \
         worker, n",
    )
    .await;
    assert_eq!(ordered.status, StatusCode::OK, "{}", ordered.text());
}

/// A configuration with this much memory for a query.
fn memory(mib: usize) -> QueryConfig {
    QueryConfig {
        query_memory_mib: mib,
        ..config()
    }
}

#[tokio::test]
async fn columns_that_fit_alone_share_the_memory_of_one_query() {
    let router = router(memory(64), vec![shares()]).await;
    // Each is another expression: the same one would be evaluated once for all.
    let statement = |columns: usize| {
        let columns = (0..columns).map(|n| format!("repeat('x', {n} + 500 + a.value % 2) AS c{n}"));
        let columns = columns.collect::<Vec<_>>().join(", ");
        format!("SELECT {columns} FROM generate_series(1, 8000) AS a")
    };
    let few = sql(&router, &statement(4)).await;
    assert_eq!(few.status, StatusCode::OK, "{}", few.text());
    let many = sql(&router, &statement(40)).await;
    assert_eq!(many.status.as_u16(), 507, "{} bytes", many.body.len());
    let said = many.text();
    assert!(
        said.contains("memory_limit") && said.contains("values of functions"),
        "{said}"
    );
    // What was refused is paid back.
    let again = sql(&router, &statement(4)).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
}

#[tokio::test]
async fn windows_pay_for_the_rows_they_hold() {
    let router = router(memory(16), vec![shares()]).await;
    let statement = |window: &str| {
        format!(
            "SELECT max(s) AS m, count(*) AS n FROM (SELECT sum(a.value) OVER ({window}) AS s FROM \
             generate_series(1, 1500000) AS a)"
        )
    };
    let all = sql(&router, &statement("")).await;
    assert_eq!(all.status.as_u16(), 507, "{}", all.text());
    let said = all.text();
    assert!(
        said.contains("memory_limit") && said.contains("window["),
        "{said}"
    );
    let passing = statement("ROWS BETWEEN 1 PRECEDING AND CURRENT ROW");
    let passing = rows(&router, &passing).await;
    assert_eq!(passing[0]["m"], 2_999_999, "{passing:?}");
    let parts = "SELECT DISTINCT count(*) OVER (PARTITION BY worker) AS n FROM shares a, \
                 generate_series(1, 10)";
    assert!(!rows(&router, parts).await.is_empty());
}

#[tokio::test]
async fn planning_ends_at_the_deadline() {
    let engine = Engine::new(config(), vec![shares()], vec![]).unwrap();
    let clauses = (1..10).map(|n| {
        let before = n - 1;
        format!("c{n} AS (SELECT DISTINCT sum(x) OVER (ORDER BY x) AS x FROM c{before})")
    });
    let clauses = clauses.collect::<Vec<_>>().join(", ");
    let sql = format!("WITH c0 AS (SELECT seq AS x FROM shares), {clauses} SELECT * FROM c9");
    for millis in [0, 1] {
        let request = SqlRequest {
            timeout: Some(Duration::from_millis(millis)),
            ..sql_request(&sql, At::Latest)
        };
        let error = engine.execute(&request).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::TimeLimit, "{error}");
        assert!(error.message.contains("planning"), "{error}");
    }
    assert!(engine.execute(&sql_request(&sql, At::Latest)).await.is_ok());
}

#[tokio::test]
async fn statements_that_grow_while_they_are_planned_are_refused() {
    let router = small().await;
    let sum = format!("x{}", " + 1".repeat(150));
    let clauses = (1..20).map(|n| format!("c{n} AS (SELECT {sum} AS x FROM c{})", n - 1));
    let clauses = clauses.collect::<Vec<_>>().join(", ");
    let deep = format!("WITH c0 AS (SELECT seq AS x FROM shares), {clauses} SELECT x FROM c19");
    let columns = (0..20).map(|n| format!("seq + {n}")).collect::<Vec<_>>();
    let cube = format!(
        "SELECT count(*) FROM shares GROUP BY CUBE ({})",
        columns.join(", ")
    );
    for (statement, limit) in [(deep, "more than 400"), (cube, "more than 4096")] {
        let answer = sql(&router, &statement).await;
        assert_eq!(answer.code(), "bad_request", "{}", answer.text());
        assert!(answer.text().contains(limit), "{}", answer.text());
    }
    let pattern = "SELECT regexp_like(worker, '((a{1,100}){1,100}){1,100}') FROM shares";
    let answer = sql(&router, pattern).await;
    assert_eq!(answer.code(), "sql_execution", "{}", answer.text());
}

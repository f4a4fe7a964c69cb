//! A short statement cannot make the process allocate without bounds, and honest ones do not
//! notice.

use axum::http::StatusCode;

use crate::server::{small, sql};

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
    let answer =
        sql(&router, &format!("SELECT count(*) AS n, max(length(t)) AS l FROM (SELECT '{long}' AS t, a.seq FROM shares a, shares b)"))
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
            "CAST(cardinality(range(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', INTERVAL '1 hour')) AS VARCHAR)",
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
    let grouped =
        sql(&router, "SELECT pool || '/' || worker AS who, count(*) FROM shares WHERE miner || '' = miner GROUP BY 1 ORDER BY 1").await;
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
    let hidden = sql(&router, "SELECT lower(s.worker) AS worker, a.pool FROM shares s JOIN shares a ON a.seq = s.seq LIMIT 1").await;
    assert_eq!(hidden.status, StatusCode::OK, "{}", hidden.text());
    let ordered = sql(&router, "SELECT upper(worker) AS worker, count(*) AS n FROM shares GROUP BY worker ORDER BY worker, n").await;
    assert_eq!(ordered.status, StatusCode::OK, "{}", ordered.text());
}

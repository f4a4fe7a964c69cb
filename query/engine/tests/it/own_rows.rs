//! A miner's SQL: a thousand generated statements answer over everybody's rows what they answer
//! over tables that hold this miner's rows only, and nothing of anybody else shows in an answer, an
//! error or a description of the tables.

use std::time::Duration;

use headframe_query_front::access::{Principal, ReadScope, Role};
use headframe_query_front::sql::PostgresStatement;
use headframe_query_front::{
    Answer, At, ErrorCode, QueryError, QueryService, SqlRequest, SqlState,
};
use headframe_schemas::stream;

use crate::cases::cases;
use crate::server::{config, service, sql_request};

mod limits;
pub mod statements;
pub mod world;

use limits::Limits;
use statements::{Dice, Expect};
use world::{FOREIGN, OWN};

fn miner() -> Principal {
    Principal {
        role: Some(Role::Miner(OWN.into())),
        ..Principal::reader()
    }
}

/// The rows of an answer as sorted text, with the names of the columns before them.
async fn rows_of(answer: Result<Answer, QueryError>) -> Result<Vec<String>, QueryError> {
    use futures::TryStreamExt;
    let answer = answer?;
    let columns = answer.schema.fields().iter().map(|field| field.name());
    let columns: Vec<&str> = columns.map(String::as_str).collect();
    let mut rows = vec![columns.join("|")];
    let coverage = answer.coverage.iter();
    let coverage = coverage.map(|read| (read.version, read.through, read.acknowledged));
    for numbers in coverage {
        assert!(matches!(numbers, (None, None, None) | (Some(_), ..)));
    }
    let batches: Vec<arrow::array::RecordBatch> = answer.rows.try_collect().await?;
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        let lines = headframe_query_front::format::ndjson::lines(batch)?;
        rows.extend(String::from_utf8(lines).unwrap().lines().map(str::to_owned));
    }
    rows[1..].sort_unstable();
    Ok(rows)
}

/// A statement of either wire.
fn request(sql: &str, by_postgres: bool) -> SqlRequest {
    let postgres = by_postgres.then(|| PostgresStatement {
        user: "ann".to_owned(),
        ..PostgresStatement::default()
    });
    SqlRequest {
        postgres,
        ..sql_request(sql, At::Latest)
    }
}

async fn ask(
    service: &QueryService,
    whose: &Principal,
    sql: &str,
    by_postgres: bool,
) -> Result<Vec<String>, QueryError> {
    rows_of(service.ask_as(whose, request(sql, by_postgres)).await).await
}

/// The same within limits that are met by chance: of rows, and of time, which is over at once.
async fn ask_within(
    service: &QueryService,
    whose: &Principal,
    sql: &str,
    by_postgres: bool,
    limits: Limits,
) -> Result<Vec<String>, QueryError> {
    let request = SqlRequest {
        max_rows: limits.rows,
        timeout: limits.is_late.then_some(Duration::ZERO),
        ..request(sql, by_postgres)
    };
    rows_of(service.ask_as(whose, request).await).await
}

/// Panics when text says something of another miner.
fn check_foreign(text: &str, sql: &str) -> Result<(), String> {
    match FOREIGN.iter().find(|foreign| text.contains(**foreign)) {
        Some(foreign) => Err(format!("{sql}\nshows {foreign}:\n{text}")),
        None => Ok(()),
    }
}

/// Compares two answers to a statement; tells whether it was answered.
fn compare(
    sql: &str,
    found: Result<Vec<String>, QueryError>,
    expected: Result<Vec<String>, QueryError>,
) -> Result<bool, String> {
    match (found, expected) {
        (Ok(found), Ok(expected)) if found == expected => {
            let said = found.join("\n");
            statements::without_echo(sql, &said, check_foreign).map(|()| true)
        }
        (Err(found), Err(expected)) if found.code == expected.code => {
            let said = format!("{} {}", found.message, found.hint);
            statements::without_echo(sql, &said, check_foreign).map(|()| false)
        }
        (found, expected) => Err(format!("{sql}\nfound {found:?}\nexpected {expected:?}")),
    }
}

/// Asks statements by chance over everybody's rows and over the miner's alone.
async fn compare_many(seed: u64) {
    let everybody = service(&config(), world::sources(|_| true).await);
    let alone = service(&config(), world::sources(|miner| miner == OWN).await);
    let (miner, reader) = (miner(), Principal::operator());
    let mut dice = Dice::new(seed);
    let (mut answered, mut refused, mut limited, mut differences) = (0, 0, 0, Vec::new());
    for number in 0..cases(250) {
        let (sql, expect) = statements::any(&mut dice);
        let by_postgres = number % 2 == 1;
        // Whoever reads the whole of the miner's own tables is an independent witness, where the
        // tables have the same columns for both.
        let witness = match expect {
            Expect::SameRows => &reader,
            Expect::SameAsMiner => &miner,
        };
        let limits = Limits::any(&mut dice);
        let found = ask_within(&everybody, &miner, &sql, by_postgres, limits).await;
        let expected = ask_within(&alone, witness, &sql, by_postgres, limits).await;
        let is_limit =
            |error: &QueryError| matches!(error.code, ErrorCode::RowLimit | ErrorCode::TimeLimit);
        limited += u32::from(expected.as_ref().is_err_and(is_limit));
        match compare(&sql, found, expected) {
            Ok(true) => answered += 1,
            Ok(false) => refused += 1,
            Err(difference) => differences.push(difference),
        }
    }
    let count = differences.len();
    differences.truncate(10);
    assert!(count == 0, "{count} differ:\n{}", differences.join("\n\n"));
    let half = cases(250) / 2;
    assert!(answered >= half, "{answered} answered, {refused} refused");
    assert!(
        refused * 20 >= half,
        "{answered} answered, {refused} refused"
    );
    assert!(limited * 20 >= half, "{limited} met a limit");
}

/// How many statements it takes until the same comparison sees that somebody is answered over these
/// tables what a miner should not be; `None` when all of a quarter's are not enough.
async fn statements_until_seen(
    seed: u64,
    leaking: &QueryService,
    alone: &QueryService,
    whose: &Principal,
) -> Option<usize> {
    let mut dice = Dice::new(seed);
    for number in 0..250 {
        let (sql, expect) = statements::any(&mut dice);
        let by_postgres = number % 2 == 1;
        let (miner, reader) = (miner(), Principal::operator());
        let witness = match expect {
            Expect::SameRows => &reader,
            Expect::SameAsMiner => &miner,
        };
        let found = ask(leaking, whose, &sql, by_postgres).await;
        let expected = ask(alone, witness, &sql, by_postgres).await;
        if compare(&sql, found, expected).is_err() {
            return Some(number + 1);
        }
    }
    None
}

/// The comparison below is worth something only if it fails where a filter is gone.
#[tokio::test]
async fn a_filter_that_is_gone_is_seen_within_a_few_statements() {
    let everybody = service(&config(), world::sources(|_| true).await);
    let alone = service(&config(), world::sources(|miner| miner == OWN).await);
    // Every filter is gone for whoever reads as an operator.
    for seed in [0x5eed_0f41, 0x00d1_ce02, 0x00d1_ce03, 0x00d1_ce04] {
        let seen = statements_until_seen(seed, &everybody, &alone, &Principal::operator()).await;
        assert!(seen.is_some_and(|count| count <= 10), "{seed}: {seen:?}");
    }
}

/// The same for the filter of one table alone.
#[tokio::test]
async fn a_filter_that_is_gone_from_one_table_is_seen() {
    let alone = service(&config(), world::sources(|miner| miner == OWN).await);
    let mut tables = 0;
    for stream in stream::ALL
        .iter()
        .filter(|stream| stream.miner_rows().is_some())
    {
        let name = stream.name();
        let sources = world::sources_with_leak(|_| true, Some(name)).await;
        let leaking = service(&config(), sources);
        let seen = statements_until_seen(0x5eed_0f41, &leaking, &alone, &miner()).await;
        assert!(seen.is_some(), "{name} leaks and nobody sees it");
        tables += 1;
    }
    assert!(tables >= 9, "{tables}");
}

// A thousand statements, a quarter in each test so that they run side by side.

#[tokio::test]
async fn a_miner_sees_what_tables_of_its_own_rows_would_show() {
    compare_many(0x5eed_0f41).await;
}

#[tokio::test]
async fn a_miner_sees_what_tables_of_its_own_rows_would_show_2() {
    compare_many(0x00d1_ce02).await;
}

#[tokio::test]
async fn a_miner_sees_what_tables_of_its_own_rows_would_show_3() {
    compare_many(0x00d1_ce03).await;
}

#[tokio::test]
async fn a_miner_sees_what_tables_of_its_own_rows_would_show_4() {
    compare_many(0x00d1_ce04).await;
}

#[tokio::test]
async fn without_a_reader_there_is_no_table() {
    let everybody = service(&config(), world::sources(|_| true).await);
    for table in [
        "shares",
        "payouts",
        "ledger",
        "hashrate_1m",
        "dead_letters",
        "sessions",
    ] {
        let sql = format!("SELECT count(*) FROM {table}");
        let error = ask(&everybody, &Principal::anonymous(), &sql, false).await;
        assert_eq!(error.unwrap_err().sqlstate(), SqlState::UndefinedTable);
    }
    let tables = "SELECT count(*) AS n FROM information_schema.tables";
    for by_postgres in [false, true] {
        let rows = ask(&everybody, &Principal::anonymous(), tables, by_postgres).await;
        assert_eq!(rows.unwrap(), ["n", r#"{"n":0}"#]);
    }
}

#[tokio::test]
async fn who_reads_does_not_see_where_people_came_from() {
    let everybody = service(&config(), world::sources(|_| true).await);
    let (viewer, auditor) = (
        Principal::reader(),
        Principal {
            role: Some(Role::Auditor),
            ..Principal::reader()
        },
    );
    for (table, is_personal) in [
        ("access", true),
        ("sessions", true),
        ("bans", true),
        ("dead_letters", true),
        ("shares", false),
        ("payments", false),
        ("pool_hashrate_1m", false),
        ("balances", false),
    ] {
        let sql = format!("SELECT count(*) AS n FROM {table}");
        let described = format!(
            "SELECT count(*) AS n FROM information_schema.tables WHERE table_name = '{table}'"
        );
        for by_postgres in [false, true] {
            let found = ask(&everybody, &viewer, &sql, by_postgres).await;
            assert_eq!(found.is_err(), is_personal, "{table} {found:?}");
            if let Err(error) = found {
                assert_eq!(error.sqlstate(), SqlState::UndefinedTable, "{table}");
            }
            let listed = ask(&everybody, &viewer, &described, by_postgres).await;
            let n = if is_personal {
                r#"{"n":0}"#
            } else {
                r#"{"n":1}"#
            };
            assert_eq!(listed.unwrap()[1], n, "{table}");
            assert!(ask(&everybody, &auditor, &sql, by_postgres).await.is_ok());
            let listed = ask(&everybody, &auditor, &described, by_postgres).await;
            assert_eq!(listed.unwrap()[1], r#"{"n":1}"#, "{table}");
        }
    }
}

#[tokio::test]
async fn a_miner_is_told_no_number_that_counts_everybodys_rows() {
    let everybody = service(&config(), world::sources(|_| true).await);
    let answer = everybody
        .ask_as(
            &miner(),
            sql_request("SELECT count(*) FROM shares", At::Latest),
        )
        .await
        .unwrap();
    let read = &answer.coverage[0];
    assert_eq!(
        (read.version, read.through, read.acknowledged),
        (None, None, None)
    );
    assert_eq!((read.complete, answer.times.files), (Some(true), 0));
    let past = sql_request("SELECT count(*) FROM shares", At::Version(0));
    let error = everybody.ask_as(&miner(), past).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::BadRequest);
    for sql in [
        "EXPLAIN SELECT * FROM shares",
        "EXPLAIN ANALYZE SELECT * FROM shares",
        "EXPLAIN VERBOSE SELECT 1",
        "explain (analyze true) select count(*) from shares",
    ] {
        for by_postgres in [false, true] {
            let error = ask(&everybody, &miner(), sql, by_postgres).await;
            let state = error.unwrap_err().sqlstate();
            let refused = [SqlState::InsufficientPrivilege, SqlState::Syntax];
            assert!(refused.contains(&state), "{sql} {state:?}");
        }
    }
    let scope = ReadScope::Miner(OWN.to_owned());
    assert!(everybody.running().list_for(&scope).len() <= 1);
}

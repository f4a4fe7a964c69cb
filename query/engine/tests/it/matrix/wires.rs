//! Every table by every role over the other wires: PostgreSQL's, asked by psql, and Flight SQL.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use axum::Router;
use futures::TryStreamExt;
use headframe_query_engine::catalog::access_table::access_table;
use headframe_query_front::route::{self, CALLERS};
use headframe_schemas::stream;
use tokio_util::sync::CancellationToken;

use super::closed;
use crate::account_store::PASSWORD;
use crate::own_rows::world::FOREIGN;

/// A table as somebody reads it.
#[derive(Debug)]
struct TableAnswer {
    columns: Vec<String>,
    /// A line each.
    rows: String,
}

/// What somebody gets of a table, or the code of the refusal.
type Read = Result<TableAnswer, String>;

/// All tables in one session of psql.
fn over_postgres(port: u16, user: &str, tables: &[&str]) -> BTreeMap<String, Read> {
    let mut script = String::new();
    for (number, table) in tables.iter().enumerate() {
        // Whoever is only refused waits longer and longer.
        if number % 6 == 0 {
            script.push_str("SELECT 1;\n");
        }
        script.push_str(&format!(
            "\\echo @table {table}\nSELECT * FROM {table};\n\\echo @state :SQLSTATE\n"
        ));
    }
    let mut psql = Command::new("psql")
        .args(["-X", "-q", "-w", "-A", "-P", "footer=off"])
        .args(["-h", "127.0.0.1", "-d", "headframe", "-U", user])
        .args(["-p", &port.to_string()])
        .env("PGPASSWORD", PASSWORD)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql; deploy/setup.sh test brings it");
    let mut stdin = psql.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
    let output = psql.wait_with_output().unwrap();
    // Whoever is not let in reads nothing of it.
    let _ = writer.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{user}: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let answers = text.split("@table ").skip(1).map(|answer| {
        let (table, answer) = answer.split_once('\n').unwrap();
        let (read, state) = answer.split_once("@state ").unwrap();
        let read = match state.lines().next().unwrap() {
            "00000" => {
                let (head, rows) = read.split_once('\n').unwrap();
                Ok(TableAnswer {
                    columns: head.split('|').map(str::to_owned).collect(),
                    rows: rows.to_owned(),
                })
            }
            state => Err(state.to_owned()),
        };
        (table.to_owned(), read)
    });
    answers.collect()
}

fn lines(batch: &RecordBatch) -> String {
    let options = FormatOptions::default();
    let columns = batch.columns().iter();
    let columns = columns.map(|column| ArrayFormatter::try_new(column, &options).unwrap());
    let columns: Vec<ArrayFormatter> = columns.collect();
    let line = |row| {
        let cells = columns.iter().map(|column| column.value(row).to_string());
        cells.collect::<Vec<_>>().join("|") + "\n"
    };
    (0..batch.num_rows()).map(line).collect()
}

async fn over_flight(
    router: &Router,
    token: &str,
    table: &str,
) -> Result<TableAnswer, FlightError> {
    let mut client = FlightSqlServiceClient::new(router.clone());
    client.set_token(token.to_owned());
    let info = client
        .execute(format!("SELECT * FROM {table}"), None)
        .await?;
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches: Vec<RecordBatch> = client.do_get(ticket).await?.try_collect().await?;
    let schema = info.try_decode_schema()?;
    let columns = schema.fields().iter().map(|field| field.name().clone());
    Ok(TableAnswer {
        columns: columns.collect(),
        rows: batches.iter().map(lines).collect(),
    })
}

fn code(error: FlightError) -> String {
    match error {
        FlightError::Tonic(status) => format!("{:?}", status.code()),
        other => other.to_string(),
    }
}

/// Compares what was read with what the documents say of it.
fn check(what: &str, table: &str, cell: &str, is_miner: bool, read: &Read, refusal: &str) {
    let answer = match (cell, read) {
        ("no", Err(code)) => return assert_eq!(code, refusal, "{what}"),
        ("no", Ok(answer)) => panic!("{what} is read: {answer:?}"),
        (_, Err(code)) => panic!("{what} is refused: {code}"),
        (_, Ok(answer)) => answer,
    };
    if !is_miner {
        return assert_eq!(cell, "yes", "{what}");
    }
    let TableAnswer { columns, rows } = answer;
    let is_stream = stream::find(table).is_some();
    assert!(!is_stream || !rows.is_empty(), "{what} has rows of it");
    let foreign = FOREIGN.iter().find(|foreign| rows.contains(**foreign));
    assert_eq!(foreign, None, "{what}: {rows}");
    let hidden = cell.strip_prefix("without ").unwrap_or_default();
    for column in hidden.split(", ").chain(["seq", "row", "producer"]) {
        let column = column.trim_matches('`').to_owned();
        assert!(!columns.contains(&column), "{what} shows {column}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_reads_the_same_tables_over_the_other_wires() {
    let (server, tokens, _file) = closed().await;
    let (router, port) = (server.router(), server.postgres_address().unwrap().port());
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(stop.clone()));
    let table = access_table();
    let rows = table.lines().skip(2 + route::ALL.len());
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let tables: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let mut compared = 0;
    for (role, token) in &tokens {
        let is_miner = *role == "miner";
        let asks =
            |caller: &&route::Caller| caller.role == Some(*role) && caller.is_own == is_miner;
        let column = CALLERS.iter().position(|caller| asks(&caller)).unwrap();
        let by_postgres =
            tokio::task::block_in_place(|| over_postgres(port, &format!("the-{role}"), &tables));
        for (row, table) in rows.iter().zip(&tables) {
            let cell = row[column + 1];
            let what = format!("{table} for {role}");
            let read = &by_postgres[*table];
            check(
                &format!("postgres: {what}"),
                table,
                cell,
                is_miner,
                read,
                "42P01",
            );
            let read = over_flight(&router, token, table).await.map_err(code);
            check(
                &format!("flight: {what}"),
                table,
                cell,
                is_miner,
                &read,
                "InvalidArgument",
            );
            compared += 2;
        }
    }
    assert!(compared >= 5 * 2 * 30, "{compared}");
    stop.cancel();
    running.await.unwrap().unwrap();
}

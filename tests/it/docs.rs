//! What the documents show is true: every statement in them runs, and every table of them that has
//! a source is made from it.

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use headframe_query_engine::catalog::money;
use headframe_schemas::{rollup, stream};
use serde_json::json;

use crate::server::{Headframe, free_port};

fn read(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The text of the fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

/// Statements in a document: SQL blocks, and those that a shell line gives to `headframe sql`.
fn statements(text: &str) -> Vec<String> {
    let sql = blocks(text, "sql").into_iter().map(str::to_owned);
    let shell = text
        .lines()
        .filter_map(|line| line.split("headframe sql \"").nth(1)?.split('"').next());
    sql.chain(shell.map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_in_the_documents_runs() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let running = Headframe::start(folder.path(), nats.url(), free_port(), "pipelines,query");
    running.row("SELECT 1").await;
    let mut found = 0;
    for path in [
        "README.md",
        "docs/sql.md",
        "docs/ingest.md",
        "docs/exactly-once.md",
        "docs/configuration.md",
        "docs/pool-operator.md",
        "docs/payments.md",
    ] {
        for statement in statements(&read(path)) {
            found += 1;
            let request = reqwest::Client::new().post(format!("{}/api/v1/sql", running.url));
            let answer = request
                .json(&json!({"sql": statement, "format": "json"}))
                .send()
                .await
                .unwrap();
            let status = answer.status();
            assert!(
                status.is_success(),
                "{path}: {statement}: {}",
                answer.text().await.unwrap()
            );
        }
    }
    assert!(found >= 8, "only {found} statements were found");
    // The row of the ingest page is one that the door takes.
    let page = read("docs/ingest.md");
    let row = page
        .split("-d '")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .unwrap();
    let posted = reqwest::Client::new()
        .post(format!("{}/api/v1/ingest/energy", running.url))
        .body(row.to_owned());
    let answer = posted
        .header("Content-Type", "application/x-ndjson")
        .send()
        .await
        .unwrap();
    let said: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(said["accepted"], json!(1), "{said}");
    running.kill();
    nats.shutdown().await;
}

fn streams() -> String {
    let mut text = "| stream | rows |\n|---|---|\n".to_owned();
    for stream in stream::ALL {
        text.push_str(&format!("| `{}` | {} |\n", stream.name(), stream.doc()));
    }
    text
}

fn tables() -> String {
    let mut text = "| table or view | rows |\n|---|---|\n".to_owned();
    for stream in stream::ALL {
        text.push_str(&format!("| `{}` | {} |\n", stream.name(), stream.doc()));
    }
    for view in money::ALL {
        text.push_str(&format!("| `{}` | {} |\n", view.name, view.doc));
    }
    text.push_str(
        "| `dead_letters` | Rows of any stream that nobody could read, with their bytes \
                   and the reason. |\n",
    );
    for rollup in rollup::ALL {
        let mut families: Vec<String> = Vec::new();
        for view in rollup.views() {
            let family = view
                .name
                .rsplit_once('_')
                .map_or(view.name.clone(), |(family, _)| family.to_owned());
            if !families.contains(&family) {
                families.push(family);
            }
        }
        for family in families {
            let views: Vec<String> = rollup::TIERS
                .iter()
                .map(|tier| format!("`{family}_{}`", tier.name))
                .collect();
            text.push_str(&format!(
                "| {} | Windows over `{}`. |\n",
                views.join(", "),
                rollup.stream().name()
            ));
        }
    }
    text
}

/// Set `HEADFRAME_BLESS=1` to write what the program says into the documents.
#[test]
fn tables_in_the_documents_are_those_of_the_program() {
    for (path, name, wanted) in [
        ("README.md", "streams", streams()),
        ("docs/sql.md", "tables", tables()),
    ] {
        let text = read(path);
        let (open, close) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
        let (before, rest) = text
            .split_once(&open)
            .unwrap_or_else(|| panic!("{path} has no region {name}"));
        let (found, after) = rest
            .split_once(close)
            .unwrap_or_else(|| panic!("{path}: the region {name} has no end"));
        if found == wanted {
            continue;
        }
        assert!(
            std::env::var_os("HEADFRAME_BLESS").is_some(),
            "{path}: the table {name} is old; HEADFRAME_BLESS=1 rewrites it"
        );
        let target = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::write(target, format!("{before}{open}{wanted}{close}{after}")).unwrap();
    }
}

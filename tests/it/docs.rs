//! What the documents show is true: every statement in them runs, and every table of them that has
//! a source is made from it.

use std::io::Write;
use std::process::{Command, Stdio};

use headframe_ingest::source::{self, AddressForm};
use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use headframe_pipelines::pipeline;
use headframe_pipelines::violation::metric;
use headframe_query_engine::catalog::views;
use headframe_schemas::{resource, rollup, stream, violation};
use serde_json::json;

use crate::server::{Headframe, free_port};

pub fn read(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The text of the fenced blocks of a language.
pub fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
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
    // The pipeline that its statements read from is README's own.
    let more = blocks(&read("README.md"), "toml").concat();
    let port = free_port();
    let running = Headframe::start_with(folder.path(), nats.url(), port, "pipelines,query", &more);
    running.row("SELECT 1").await;
    let mut found = 0;
    for path in [
        "README.md",
        "docs/sql.md",
        "docs/accounts.md",
        "docs/ingest.md",
        "docs/exactly-once.md",
        "docs/configuration.md",
        "docs/pool-operator.md",
        "docs/payments.md",
        "docs/coopmine-setup.md",
        "docs/energy.md",
        "docs/evidence.md",
        "docs/registry.md",
        "docs/anomalies.md",
        "docs/violations.md",
        "docs/pipelines.md",
        "docs/sources.md",
    ] {
        for statement in statements(&read(path)) {
            found += 1;
            let request = crate::server::http().post(format!("{}/api/v1/sql", running.url));
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
    let posted = crate::server::http()
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

/// Every item between backticks that has the form `crate:Item`.
fn items(line: &str) -> Vec<(&str, &str)> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter_map(|word| word.split_once(':')).collect()
}

/// Whether a Rust file below the folder defines the item.
fn is_defined(folder: &std::path::Path, item: &str) -> bool {
    let definitions = ["struct", "enum", "trait", "fn"].map(|kind| format!("{kind} {item}"));
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return is_defined(&path, item);
        }
        let text = match path.extension() {
            Some(extension) if extension == "rs" => std::fs::read_to_string(&path).unwrap(),
            _ => return false,
        };
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        definitions
            .iter()
            .any(|definition| text.split(definition.as_str()).skip(1).any(ends))
    })
}

#[test]
fn each_step_of_a_share_is_an_item_of_the_code() {
    let page = read("docs/architecture.md");
    let steps: Vec<&str> = page
        .lines()
        .filter(|line| {
            line.split_once(". `")
                .is_some_and(|(n, _)| n.parse::<u8>().is_ok())
        })
        .collect();
    assert!((10..=25).contains(&steps.len()), "{} steps", steps.len());
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for step in steps {
        let items = items(step);
        assert!(!items.is_empty(), "{step} names no item");
        for (crate_name, item) in items {
            assert!(
                is_defined(&top.join(crate_name), item),
                "there is no {crate_name}:{item}"
            );
        }
    }
    assert!(!is_defined(&top.join("stratum"), "NoSuchThing"));
    assert!(
        !is_defined(&top.join("stratum"), "BoundPoo"),
        "a part of a name is none"
    );
}

/// The page about extending shows whole changes; each must fit the code of today.
#[test]
fn every_change_on_the_page_about_extending_applies() {
    let page = read("docs/extending.md");
    let changes = blocks(&page, "diff");
    assert!(changes.len() >= 6, "only {} changes", changes.len());
    for change in changes {
        let mut git = Command::new("git")
            .args(["apply", "--check", "-"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        git.stdin
            .take()
            .unwrap()
            .write_all(change.as_bytes())
            .unwrap();
        let output = git.wait_with_output().unwrap();
        let reason = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{reason}: {change}");
    }
}

fn streams() -> String {
    let mut text = "| stream | rows |\n|---|---|\n".to_owned();
    for stream in stream::ALL {
        text.push_str(&format!("| `{}` | {} |\n", stream.name(), stream.doc()));
    }
    text
}

/// The streams that have a durable for subscribers.
fn subscribable() -> String {
    let mut text = "| stream | rows |\n|---|---|\n".to_owned();
    for stream in stream::ALL.iter().filter(|stream| stream.is_subscribable()) {
        text.push_str(&format!("| `{}` | {} |\n", stream.name(), stream.doc()));
    }
    text
}

fn pipelines() -> String {
    let mut text = "| pipeline | streams | what it does |\n|---|---|---|\n".to_owned();
    for pipeline in pipeline::ALL {
        let taken: Vec<String> = stream::ALL
            .iter()
            .filter(|stream| pipeline.takes(**stream))
            .map(|stream| format!("`{}`", stream.name()))
            .collect();
        let streams = match taken.len() == stream::ALL.len() {
            true => "every one".to_owned(),
            false => taken.join(", "),
        };
        let (name, doc) = (pipeline.name(), pipeline.doc());
        text.push_str(&format!("| `{name}` | {streams} | {doc} |\n"));
    }
    text
}

fn tables() -> String {
    let mut text = "| table or view | rows |\n|---|---|\n".to_owned();
    for stream in stream::ALL {
        text.push_str(&format!("| `{}` | {} |\n", stream.name(), stream.doc()));
    }
    for view in views::all() {
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

fn sources() -> String {
    let mut text = String::new();
    for source in source::ALL {
        let address = match source.address() {
            AddressForm::Http => "`http://host[:port]`".to_owned(),
            AddressForm::Host(port) => format!("`host[:port]`, port {port} when left out"),
            AddressForm::Mqtt => "`mqtt://host[:port]` or `mqtts://host[:port]`, ports 1883 and \
                                  8883 when left out"
                .to_owned(),
        };
        let (kind, doc) = (source.kind(), source.doc());
        text.push_str(&format!("### `{kind}`\n\n{doc} Address: {address}.\n\n"));
        if source.keys().is_empty() {
            continue;
        }
        text.push_str("| key | meaning |\n|---|---|\n");
        for (key, meaning) in source.keys() {
            text.push_str(&format!("| `{key}` | {meaning} |\n"));
        }
        text.push('\n');
    }
    text
}

/// Set `HEADFRAME_BLESS=1` to write what the program says into the documents.
#[test]
fn tables_in_the_documents_are_those_of_the_program() {
    for (path, name, wanted) in [
        ("README.md", "streams", streams()),
        ("README.md", "pipelines", pipelines()),
        ("docs/sql.md", "tables", tables()),
        ("docs/subscribe.md", "subscribable", subscribable()),
        ("docs/registry.md", "resources", resource::markdown_table()),
        ("docs/sources.md", "sources", sources()),
        ("docs/violations.md", "metrics", metric::markdown_table()),
        (
            "docs/violations.md",
            "decisions",
            violation::markdown_table(),
        ),
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

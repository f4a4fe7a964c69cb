//! The OpenAPI document is one, by the word of a validator and of a generator of clients that are
//! not ours: what it makes is used.

use std::path::Path;
use std::process::{Command, Output};

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use headframe_query_front::route::openapi;
use serde_json::{Value, json};

use crate::clients::python;
use crate::server::{Headframe, free_port, http};

/// What the generator does after it: nothing, which formats what nobody reads.
const GENERATOR: &str = "post_hooks: []\n";

fn validate(document: &Value) -> Output {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".parts/venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: `make test` installs it with the packages this test needs",
        python.display()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), document.to_string()).unwrap();
    Command::new(python)
        .args(["-B", "-m", "openapi_spec_validator"])
        .arg(file.path())
        .output()
        .unwrap()
}

#[test]
fn the_openapi_document_is_valid() {
    let mut document = openapi::document();
    let output = validate(&document);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // The validator looks at all of it: an undescribed variable of a path is not valid.
    let worker = &mut document["paths"]["/api/v1/miners/{address}/workers"]["get"];
    worker["parameters"][0]["name"] = json!("adress");
    assert!(!validate(&document).status.success());
}

/// Runs a script of Python that is to say nothing but what it should.
fn run(command: &mut Command, what: &str) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{what}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_generated_lists_makes_pages_and_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
    let nats = ManagedServer::start(config).await.unwrap();
    let roles = "pipelines,query";
    let running = Headframe::start(folder.path(), nats.url(), free_port(), roles);
    running.row("SELECT 1").await;

    let (document, settings) = (
        folder.path().join("openapi.json"),
        folder.path().join("g.yml"),
    );
    let request = http().get(format!("{}/api/v1/openapi.json", running.url));
    let served = request.send().await.unwrap().bytes().await.unwrap();
    std::fs::write(&document, served).unwrap();
    std::fs::write(&settings, GENERATOR).unwrap();
    let mut generate = python();
    generate.args(["-m", "openapi_python_client", "generate", "--meta", "none"]);
    generate
        .arg("--path")
        .arg(&document)
        .arg("--config")
        .arg(&settings);
    generate
        .arg("--output-path")
        .arg(folder.path().join("generated"));
    run(&mut generate, "the generator");

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/generated_client.py");
    let mut client = python();
    client.arg(script).arg(&running.url).arg(folder.path());
    let said = run(&mut client, "the generated client");
    assert!(said.contains("all values agree"), "{said}");
    running.kill();
    nats.shutdown().await;
}

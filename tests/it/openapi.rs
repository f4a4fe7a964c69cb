//! The OpenAPI document is one, by the word of a validator that is not ours.

use std::path::Path;
use std::process::{Command, Output};

use headframe_query_front::route::openapi;
use serde_json::{Value, json};

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

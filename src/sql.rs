//! `headframe sql`: one statement to a running server, the answer to standard output.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use futures::StreamExt;

/// Asks and prints. An error of the server ends the command with its message.
pub async fn ask(url: &str, statement: &str, format: &str, token_file: Option<&Path>) -> anyhow::Result<()> {
    let format = if format == "table" { "text" } else { format };
    let body = serde_json::json!({"sql": statement, "format": format});
    let mut request = reqwest::Client::new().post(format!("{}/api/v1/sql", url.trim_end_matches('/'))).json(&body);
    if let Some(file) = token_file {
        let token = std::fs::read_to_string(file).with_context(|| format!("cannot read the token file {}", file.display()))?;
        request = request.bearer_auth(token.lines().next().unwrap_or_default());
    }
    let answer = request.send().await.map_err(|error| unreachable(url, &error))?;
    if !answer.status().is_success() {
        bail!("{}", refused(&answer.text().await?));
    }
    let mut bytes = answer.bytes_stream();
    let mut out = std::io::stdout().lock();
    while let Some(part) = bytes.next().await {
        out.write_all(&part?)?;
    }
    out.flush()?;
    Ok(())
}

/// What to do when there is no answer at all.
fn unreachable(url: &str, error: &reqwest::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_builder() {
        return anyhow!("cannot ask {url:?}: {cause}; write the address as http://host:port");
    }
    if error.is_connect() {
        return anyhow!(
            "no server answers at {url}: {cause}; start one with `headframe demo` or `headframe up --config FILE`, \
             or name another with --url or HEADFRAME_URL"
        );
    }
    anyhow!("asking {url} failed: {cause}")
}

/// The server's error as a sentence; whatever else answers there is shown as it is.
fn refused(body: &str) -> String {
    let parsed: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let error = &parsed["error"];
    match (error["message"].as_str(), error["hint"].as_str()) {
        (Some(message), Some(hint)) => format!("{message}\nhint: {hint}"),
        (Some(message), None) => message.to_owned(),
        _ => body.trim_end().to_owned(),
    }
}

//! `headframe sql`: one statement to a running server, the answer to standard output.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
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
    let answer = request.send().await.with_context(|| format!("no server answers at {url}; start one with `headframe demo`"))?;
    if !answer.status().is_success() {
        bail!("{}", answer.text().await?);
    }
    let mut bytes = answer.bytes_stream();
    let mut out = std::io::stdout().lock();
    while let Some(part) = bytes.next().await {
        out.write_all(&part?)?;
    }
    out.flush()?;
    Ok(())
}

//! `headframe sql`: one statement to a running server, the answer to standard output.

use std::io::Write;

use futures::StreamExt;

use crate::remote::Remote;

/// Asks and prints. An error of the server ends the command with its message.
pub async fn ask(remote: &Remote, statement: &str, format: &str) -> anyhow::Result<()> {
    let format = if format == "table" { "text" } else { format };
    let body = serde_json::json!({"sql": statement, "format": format});
    let answer = remote
        .answer(remote.post("/api/v1/sql")?.json(&body))
        .await?;
    let mut bytes = answer.bytes_stream();
    let mut out = std::io::stdout().lock();
    while let Some(part) = bytes.next().await {
        out.write_all(&part?)?;
    }
    out.flush()?;
    Ok(())
}

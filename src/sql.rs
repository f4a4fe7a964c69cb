//! `headframe sql`: one statement to a running server, the answer to standard output.

use std::io::Write;

use futures::StreamExt;

use crate::api_client::ApiClient;

/// Asks and prints. An error of the server ends the command with its message.
pub async fn run(client: &ApiClient, statement: &str, format: &str) -> anyhow::Result<()> {
    let format = if format == "table" { "text" } else { format };
    let body = serde_json::json!({"sql": statement, "format": format});
    let answer = client.send(client.post("/api/v1/sql")?.json(&body)).await?;
    let mut bytes = answer.bytes_stream();
    let mut out = std::io::stdout().lock();
    while let Some(part) = bytes.next().await {
        out.write_all(&part?)?;
    }
    out.flush()?;
    Ok(())
}

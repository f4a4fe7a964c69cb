//! `headframe sql`: one statement to a running server, the answer to standard output.

use std::io::Write;

use futures::StreamExt;

use super::Command;
use super::api_client::ApiClient;

/// Ask a running server.
#[derive(Debug, clap::Parser)]
#[command(name = "sql")]
pub struct Sql {
    /// The statement.
    statement: String,
    #[command(flatten)]
    client: ApiClient,
    /// table, json, ndjson, csv, arrow or parquet.
    #[arg(long, default_value = "table")]
    format: String,
}

impl Command for Sql {
    async fn run(self) -> anyhow::Result<()> {
        print_answer(&self.client, &self.statement, &self.format).await
    }
}

/// Sends the statement and prints the answer; the server's error is the command's.
async fn print_answer(client: &ApiClient, statement: &str, format: &str) -> anyhow::Result<()> {
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

//! `headframe sql-worker`: runs the statements that a server sends it. Servers start it; nobody
//! else needs to.

use anyhow::Context as _;
use headframe_query_engine::worker;

use super::Command;

/// Run the statements that a server sends; servers start it themselves.
#[derive(Debug, clap::Parser)]
#[command(name = "sql-worker", hide = true)]
pub struct SqlWorker {}

impl Command for SqlWorker {
    /// Reads its settings from standard input and serves until that is closed.
    async fn run(self) -> anyhow::Result<()> {
        let mut line = String::new();
        std::io::stdin()
            .read_line(&mut line)
            .context("cannot read the settings of the worker from standard input")?;
        let settings = serde_json::from_str(&line)
            .context("the first line of standard input is not the settings of a worker")?;
        worker::end_with_input().context("cannot watch standard input")?;
        worker::run(settings).await?;
        Ok(())
    }
}

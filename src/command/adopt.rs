//! `headframe adopt`: continues a table from the stream there is now, after an operator decided
//! that what the old stream lost stays lost.

use std::path::PathBuf;

use anyhow::bail;
use headframe_ingest::{Nats, provision_stream};
use headframe_schemas::{Stream, Table, stream};
use headframe_sinks::{Lake, TableWriter};
use tokio_util::sync::CancellationToken;

use super::Command;
use crate::config::Config;
use crate::service;

/// Continue a table from a stream that was deleted and made anew, or that lost its newest
/// messages.
#[derive(Debug, clap::Parser)]
#[command(name = "adopt")]
pub struct Adopt {
    /// The stream, which is also the table.
    stream: String,
    /// The configuration, in TOML.
    #[arg(long)]
    config: PathBuf,
}

impl Command for Adopt {
    const DEFAULT_LOG: &'static str = service::DEFAULT_LOG;

    async fn run(self) -> anyhow::Result<()> {
        let mut config = Config::load(Some(&self.config))?;
        let Some(stream): Option<&'static dyn Stream> = stream::find(&self.stream) else {
            bail!("there is no stream {:?}", self.stream)
        };
        let lake = Lake::open(&config.lake_url(), &config.lake.options)?;
        let managed = service::start_nats_server(&mut config).await?;
        let nats = Nats::connect(&config.nats).await?;
        let identity = provision_stream(&nats.js, stream, &config.streams).await?;
        let first_seq = identity.first_seq.max(1);
        let mut writer =
            TableWriter::open_to_rebind(&lake, Table::raw(stream), CancellationToken::new())
                .await?;
        let binding = writer.rebind(identity.created_ns, first_seq).await?;
        println!(
            "table {} continues from stream sequence {first_seq} with base {}",
            stream.name(),
            binding.base
        );
        if let Some(server) = managed {
            server.shutdown().await;
        }
        Ok(())
    }
}

//! The nats-server that a process starts and supervises itself.

use anyhow::Context as _;
use headframe_ingest::{ManagedServer, NatsConfig, ServerConfig, find_nats_server};

use super::data_folder;
use crate::config::Config;

/// Starts nats-server when this process is to supervise it, and writes its address into the
/// configuration.
pub async fn start_nats_server(config: &mut Config) -> anyhow::Result<Option<ManagedServer>> {
    data_folder::make_private(&config.data_dir)
        .with_context(|| format!("cannot make data_dir {}", config.data_dir.display()))?;
    if !config.managed_nats {
        return Ok(None);
    }
    let server_config = ServerConfig {
        port: config.nats_port,
        ..ServerConfig::new(find_nats_server()?, config.data_dir.join("nats"))
    };
    let server = ManagedServer::start(server_config).await?;
    config.nats = NatsConfig {
        name: config.nats.name.clone(),
        connect_timeout_s: config.nats.connect_timeout_s,
        ..server.client_config()
    };
    Ok(Some(server))
}

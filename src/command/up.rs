//! `headframe up`: runs the roles of a configuration file until it is told to stop.

use std::path::PathBuf;

use super::Command;
use crate::config::{Config, Role, ignored_variables};
use crate::service;

/// Run the roles of a configuration file.
#[derive(Debug, clap::Parser)]
#[command(name = "up")]
pub struct Up {
    /// The configuration, in TOML.
    #[arg(long)]
    config: PathBuf,
    /// Only these roles, separated by commas.
    #[arg(long, value_delimiter = ',')]
    roles: Option<Vec<Role>>,
}

impl Command for Up {
    const DEFAULT_LOG: &'static str = service::DEFAULT_LOG;

    async fn run(self) -> anyhow::Result<()> {
        let config = Config::load_for(Some(&self.config), self.roles)?;
        let ignored = ignored_variables();
        if !ignored.is_empty() {
            tracing::warn!(
                variables = %ignored.join(", "),
                "variables of other mining control systems have no counterpart and change nothing"
            );
        }
        Box::pin(service::run_until_stopped(config)).await
    }
}

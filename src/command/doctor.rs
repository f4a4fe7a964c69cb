//! `headframe doctor`: the arguments of the checks, which themselves are in `crate::doctor`.

use std::path::PathBuf;

use super::Command;
use crate::doctor::{self, Format};

/// Look at everything a pool and its pipelines need, and say what to do; exit code 1 when
/// something will not work.
#[derive(Debug, clap::Parser)]
#[command(name = "doctor")]
pub struct Doctor {
    /// The configuration, in TOML; without one only the machine is looked at.
    #[arg(long)]
    config: Option<PathBuf>,
    /// How findings are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Only these checks, by the names that findings carry, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

impl Command for Doctor {
    async fn run(self) -> anyhow::Result<()> {
        doctor::run(self.config, self.format, &self.only).await
    }
}

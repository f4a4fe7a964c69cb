//! `headframe config`: checks a configuration file, or prints it in full.

use std::path::PathBuf;

use clap::Subcommand;

use super::Command;
use crate::config;

/// Look at a configuration file.
#[derive(Debug, clap::Parser)]
#[command(name = "config")]
pub struct Config {
    /// What to do with it.
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether it can be used.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print it with every default and override filled in.
    Print {
        /// The file; the defaults alone when absent.
        file: Option<PathBuf>,
    },
}

impl Command for Config {
    async fn run(self) -> anyhow::Result<()> {
        match self.action {
            Action::Check { file } => {
                config::Config::load(Some(&file))?;
                println!("{} is fine", file.display());
            }
            Action::Print { file } => print!("{}", config::Config::print(file.as_deref())?),
        }
        Ok(())
    }
}

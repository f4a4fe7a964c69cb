//! `headframe site`: the controller of a mining site, which is a program of its own as well.

use headframe_site::command_line::SiteCommand;

use super::Command;

/// Control a mining site: from a utility's signal to machines that stop, and start again.
#[derive(Debug, clap::Parser)]
#[command(name = "site")]
pub struct Site {
    #[command(subcommand)]
    command: SiteCommand,
}

impl Command for Site {
    const DEFAULT_LOG: &'static str = "info";

    async fn run(self) -> anyhow::Result<()> {
        self.command.run().await
    }
}

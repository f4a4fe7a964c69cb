//! The `headframe-site` binary: the controller of a mining site, on a machine of its own.

use clap::Parser;
use headframe_site::command_line::SiteCommand;
use tracing_subscriber::EnvFilter;

/// Controls a mining site: from a utility's signal to machines that stop, and start again.
#[derive(Parser)]
#[command(name = "headframe-site", version)]
struct Program {
    #[command(subcommand)]
    command: SiteCommand,
}

fn main() -> anyhow::Result<()> {
    let program = Program::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log on a full disk would otherwise end the task that logs: saying that a line cannot be
        // written panics where that cannot be said either.
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(program.command.run())
}

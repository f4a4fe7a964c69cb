//! The `headframe` command: parses the command line, starts logging and hands over.

use std::io::IsTerminal;

use clap::Parser;

mod api_client;
mod audit;
mod bans;
mod blocks;
mod cli;
mod config;
mod daemon;
mod demo;
mod doctor;
mod mine;
mod payments;
mod sql;
mod system;
mod whatif;

/// Stack of each thread. Planning a query goes as deep as the query nests; this is several times
/// what the deepest one allowed takes.
const STACK_BYTES: usize = 8 << 20;

fn main() -> std::process::ExitCode {
    let cli = cli::Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("HEADFRAME_LOG")
        .unwrap_or_else(|_| cli.command.default_log().into());
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    // A log that lies on a full disk loses lines; complaining about that to the same disk would end
    // the process.
    log.log_internal_errors(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build();
    let done = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(cli.command.run()));
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

//! The `headframe-load` command: runs one load and prints its measurements.

use std::process::ExitCode;

use clap::Parser;
use headframe_bench::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HEADFRAME_LOG")
        .unwrap_or_else(|_| "warn,async_nats=error".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match Box::pin(Cli::parse().load.run()).await {
        Ok(measured) => {
            println!("{measured}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

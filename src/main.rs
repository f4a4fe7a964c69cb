//! The `headframe` command: parses the command line, starts logging and hands over.

use std::io::IsTerminal;

mod command;
mod config;
mod demo;
mod doctor;
mod service;

/// Stack of each thread. Planning goes as deep as a query nests; this is several times what the
/// deepest allowed query takes.
const STACK_BYTES: usize = 8 << 20;

fn main() -> std::process::ExitCode {
    let (command, arguments) = command::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("HEADFRAME_LOG")
        .unwrap_or_else(|_| command.default_log.into());
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
    let result = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(command.run(&arguments)));
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

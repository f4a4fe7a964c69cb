//! The command line: what a command is, and every command there is.
//!
//! A command is one file in this folder and one line in [`ALL`]; its name, its help and its
//! arguments come from its own type.

use clap::ArgMatches;
use futures::future::LocalBoxFuture;

mod adopt;
mod api_client;
mod audit;
mod bans;
mod blocks;
mod config;
mod demo;
mod doctor;
mod duration;
mod mine;
mod payments;
mod registry;
mod sim;
mod site;
mod sql;
mod sql_worker;
mod top;
mod up;
mod users;
mod whatif;

/// Every command, in the order of the help text.
pub const ALL: &[Entry] = &[
    Entry::new::<demo::Demo>(),
    Entry::new::<up::Up>(),
    Entry::new::<sql::Sql>(),
    Entry::new::<top::Top>(),
    Entry::new::<mine::Mine>(),
    Entry::new::<users::Users>(),
    Entry::new::<bans::Bans>(),
    Entry::new::<blocks::Blocks>(),
    Entry::new::<payments::Payments>(),
    Entry::new::<registry::Registry>(),
    Entry::new::<sim::Sim>(),
    Entry::new::<site::Site>(),
    Entry::new::<doctor::Doctor>(),
    Entry::new::<audit::Audit>(),
    Entry::new::<whatif::Whatif>(),
    Entry::new::<config::Config>(),
    Entry::new::<adopt::Adopt>(),
    Entry::new::<sql_worker::SqlWorker>(),
];

/// One command: the type holds its arguments, and its doc comment is its help.
pub trait Command: clap::Parser + 'static {
    /// What is logged when `HEADFRAME_LOG` does not say: a command that prints its own answer logs
    /// only what is wrong.
    const DEFAULT_LOG: &'static str = "warn,async_nats=error";

    /// Runs the command to its end.
    async fn run(self) -> anyhow::Result<()>;
}

/// A command without its type, so that all of them stand in one list.
pub struct Entry {
    /// What is logged when `HEADFRAME_LOG` does not say.
    pub default_log: &'static str,
    clap: fn() -> clap::Command,
    run: fn(&ArgMatches) -> LocalBoxFuture<'static, anyhow::Result<()>>,
}

impl Entry {
    const fn new<C: Command>() -> Self {
        Self {
            default_log: C::DEFAULT_LOG,
            clap: C::command,
            run: run::<C>,
        }
    }

    /// Runs the command with what was given on the command line.
    pub async fn run(&self, arguments: &ArgMatches) -> anyhow::Result<()> {
        (self.run)(arguments).await
    }
}

fn run<C: Command>(arguments: &ArgMatches) -> LocalBoxFuture<'static, anyhow::Result<()>> {
    match C::from_arg_matches(arguments) {
        Ok(command) => Box::pin(command.run()),
        Err(error) => Box::pin(std::future::ready(Err(error.into()))),
    }
}

/// The whole command line.
fn command_line() -> clap::Command {
    clap::Command::new("headframe")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "A mining pool that pays exactly once, and the data platform under it: shares from \
             JetStream into Delta tables, answered in SQL",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(ALL.iter().map(|entry| (entry.clap)()))
}

/// The command that was given, and its arguments; ends the process with a usage message when there
/// is none.
pub fn parse() -> (&'static Entry, ArgMatches) {
    let mut matches = command_line().get_matches();
    let selected = matches.remove_subcommand().and_then(|(name, arguments)| {
        let entry = ALL.iter().find(|entry| (entry.clap)().get_name() == name)?;
        Some((entry, arguments))
    });
    selected.unwrap_or_else(|| {
        command_line()
            .error(
                clap::error::ErrorKind::MissingSubcommand,
                "no command was given",
            )
            .exit()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_parses_and_explains_itself() {
        command_line().debug_assert();
        let mut names = BTreeSet::new();
        for entry in ALL {
            let clap = (entry.clap)();
            let name = clap.get_name().to_owned();
            let about = clap
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(about.split_whitespace().count() >= 3, "{name}: {about:?}");
            for argument in clap
                .get_arguments()
                .filter(|argument| !argument.is_hide_set())
            {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "{name} {id} has no help");
            }
            assert!(names.insert(name.clone()), "{name} stands twice in ALL");
        }
    }
}

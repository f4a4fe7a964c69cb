//! Commands of the coordinator: pause, resume, throttle, end.

use super::hashing::Hashing;
use crate::config::MiningSection;
use crate::proto::messages::Command;

/// What obeying a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obeyed {
    /// So many threads hash now.
    Threads(usize),
    /// It is not obeyed, and why.
    Refused(String),
    /// The worker ends.
    Ends,
}

/// Obeys a command.
pub(super) fn obey(command: &Command, hashing: &Hashing, mining: &MiningSection) -> Obeyed {
    let (started, _) = hashing.thread_counts();
    let obeyed = decide(command, started, mining.watts_per_thread);
    if let Obeyed::Threads(count) = obeyed {
        hashing.set_active(count);
    }
    tracing::info!(command = %command.kind, value = command.value, ?obeyed, "command");
    obeyed
}

fn decide(command: &Command, started: usize, watts_per_thread: f64) -> Obeyed {
    let value = usize::try_from(command.value).unwrap_or(usize::MAX);
    match &*command.kind {
        "pause" => Obeyed::Threads(0),
        "resume" => Obeyed::Threads(started),
        "throttle_threads" => Obeyed::Threads(value.min(started)),
        "throttle_watts" if watts_per_thread > 0.0 => {
            // Rounded down: the figure is a limit.
            let threads = (f64::from(command.value) / watts_per_thread) as usize;
            Obeyed::Threads(threads.min(started))
        }
        "throttle_watts" => Obeyed::Refused(
            "this worker does not know what a thread draws; set mining.watts_per_thread".to_owned(),
        ),
        "shutdown" => Obeyed::Ends,
        other => Obeyed::Refused(format!("this worker does not know the command {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_number_of_threads() {
        let decided = |kind: &str, value: u32, watts: f64| {
            let command = Command {
                id: 1,
                kind: kind.to_owned(),
                value,
            };
            decide(&command, 8, watts)
        };
        assert_eq!(decided("pause", 0, 0.0), Obeyed::Threads(0));
        assert_eq!(decided("resume", 0, 0.0), Obeyed::Threads(8));
        assert_eq!(decided("throttle_threads", 3, 0.0), Obeyed::Threads(3));
        assert_eq!(decided("throttle_threads", 99, 0.0), Obeyed::Threads(8));
        assert_eq!(decided("throttle_watts", 50, 12.0), Obeyed::Threads(4));
        assert_eq!(decided("throttle_watts", 5, 12.0), Obeyed::Threads(0));
        assert!(matches!(
            decided("throttle_watts", 50, 0.0),
            Obeyed::Refused(_)
        ));
        assert_eq!(decided("shutdown", 0, 0.0), Obeyed::Ends);
        assert!(matches!(decided("dance", 0, 0.0), Obeyed::Refused(_)));
    }
}

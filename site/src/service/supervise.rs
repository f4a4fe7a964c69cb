//! The loop that supervises: every `health.loop_s` it looks at what the control loop left behind.
//!
//! It asks whether steps are taken, whether every input was read lately, and whether commands come
//! to an end. What it finds is part of the next step, so that it is written down and said. That no
//! step comes it says by itself, past the loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::clock::SiteClock;
use crate::command::Target;
use crate::command_log::CommandLog;
use crate::control::health::Health;
use crate::control::observation::Supervision;
use crate::control::policy::ms;
use crate::control::{Policy, State};
use crate::controller::Controller;
use crate::inbox::Inbox;
use crate::notice::{Notice, NoticeEvent, Severity};
use crate::status::Status;

/// Names in one finding; of further ones there is only the number.
const MOST_NAMES: usize = 20;
/// Notices that no step raised have this number.
const NO_NUMBER: u64 = 0;

/// What it looks at, and whom it tells.
struct Supervisor {
    policy: Policy,
    status: watch::Receiver<Option<Arc<Status>>>,
    inbox: Arc<Inbox>,
    notices: mpsc::Sender<NoticeEvent>,
    clock: SiteClock,
}

/// Supervises a controller until its tasks end.
pub(super) fn start(
    controller: &Controller,
    inbox: &Arc<Inbox>,
    clock: SiteClock,
    tasks: &mut JoinSet<()>,
) {
    let supervisor = Supervisor {
        policy: controller.site().policy.clone(),
        status: controller.status(),
        inbox: inbox.clone(),
        notices: controller.notices().clone(),
        clock,
    };
    tasks.spawn(supervisor.run());
}

impl Supervisor {
    async fn run(self) {
        let period = Duration::from_secs(self.policy.health.loop_s.max(1));
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last: Option<u64> = None;
        let (mut is_first, mut was_advancing) = (true, true);
        loop {
            ticks.tick().await;
            let status = self.status.borrow().clone();
            let step = status.as_ref().map(|status| status.decision.number);
            // What has just started need not have taken a step.
            let is_advancing = is_first || step != last;
            is_first = false;
            if was_advancing && !is_advancing {
                self.say_stuck();
            }
            (last, was_advancing) = (step, is_advancing);
            let now = self.clock.now();
            if let Some(status) = status {
                let (state, commands) = (&status.memory.state, &status.memory.commands);
                let mut found = supervise(&self.policy, state, commands, now.elapsed_ms);
                found.is_advancing = is_advancing;
                self.inbox.supervised(found);
            }
        }
    }

    fn say_stuck(&self) {
        let text = format!(
            "No step for {} s. Nothing is decided, and no signal is followed. Look at the \
             controller's machine; start the controller again if nothing else helps.",
            self.policy.health.loop_s
        );
        tracing::error!(text, "the control loop stands still");
        let notice = Notice {
            id: NO_NUMBER,
            severity: Severity::Emergency,
            topic: "controller/stuck".to_owned(),
            title: "the control loop stands still".to_owned(),
            text,
            at: self.clock.now(),
        };
        if let Err(error) = self.notices.try_send(NoticeEvent::Raised(notice)) {
            tracing::error!(%error, "that could not be said");
        }
    }
}

/// What is not as it should be in a state.
fn supervise(policy: &Policy, state: &State, commands: &CommandLog, now_ms: u64) -> Supervision {
    let period_ms = ms(policy.health.loop_s);
    let is_unread = |one: &&crate::control::health::InputHealth| {
        let is_trusted = matches!(one.health, Health::Fresh | Health::Bypassed);
        !is_trusted && now_ms.saturating_sub(one.last_ms) >= period_ms
    };
    let inputs = state.inputs.0.iter();
    let unread = inputs.filter(|(_, one)| is_unread(one));
    let longest_s = policy
        .restore
        .proof_within_s
        .max(policy.dispatch.mode_within_s);
    let longest_ms = ms(longest_s) + period_ms;
    let stuck = commands
        .open()
        .filter(|one| now_ms.saturating_sub(one.at.elapsed_ms) >= longest_ms);
    Supervision {
        is_advancing: true,
        unread: bounded(unread.map(|(name, _)| name.clone())),
        stuck: bounded(stuck.map(|one| match &one.target {
            Target::Machine(name) => format!("{name} (command {})", one.id),
            Target::Fan(number) => format!("fan {number} (command {})", one.id),
            Target::Feeder(name) => format!("feeder {name} (command {})", one.id),
        })),
    }
}

fn bounded(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::command::{Action, Command, Path};
    use crate::control::health::Inputs;
    use crate::control::{Observation, Site};
    use crate::moment::Moment;
    use serde_json::json;

    #[test]
    fn inputs_that_are_not_read_and_commands_without_an_end_are_found() {
        let plan = json!({"name": "north", "design_kw": 10.0, "machines": [
            {"name": "m-1", "hashrate_ths": 100.0, "power_w": 3000.0}]});
        let plan = serde_json::from_value(plan).unwrap();
        let site = Site::new(Policy::default(), plan).unwrap();
        let at = Moment {
            elapsed_ms: 0,
            utc_us: 0,
        };
        let mut state = State::new(&site, 1, at);
        state.inputs = Inputs::default();
        state.inputs.read("meter/site", at);
        let mut commands = CommandLog::default();
        let command = |id: u64, target: Target| Command {
            id,
            decision: 1,
            target,
            action: Action::On,
            path: Path::Device,
            at,
        };
        let given = [command(7, Target::Fan(2))];
        commands.follow(&site, &Observation::default(), &state, &given);
        let found = |seconds: u64| supervise(&site.policy, &state, &commands, seconds * 1_000);
        assert_eq!(found(119).unread, Vec::<String>::new());
        assert_eq!(found(120).unread, ["meter/site"]);
        let policy = &site.policy;
        let longest_s = policy
            .restore
            .proof_within_s
            .max(policy.dispatch.mode_within_s)
            + 120;
        assert_eq!(found(longest_s - 1).stuck, Vec::<String>::new());
        assert_eq!(found(longest_s).stuck, ["fan 2 (command 7)"]);
        let many = bounded((0..25).map(|number| number.to_string()));
        assert_eq!((many.len(), many.last().unwrap().as_str()), (21, "5 more"));
    }
}

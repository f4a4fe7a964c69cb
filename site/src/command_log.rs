//! How far each command came: a pure function of the states before and after a step, the reports of
//! actuators and the commands that the step gave out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::command::{Action, Command, CommandReport, PowerMode, Progress, Target};
use crate::control::machine::{MachinePhase, MachineState};
use crate::control::{Observation, Site, State};

/// Why a command of an earlier start is not followed.
const RESTARTED: &str = "the controller was started again; what is so is read back";
/// Why a command was given out again.
const NOT_VERIFIED: &str = "what was measured did not show it in time";

/// Commands that are neither done nor given up, by number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandLog {
    open: BTreeMap<u64, Command>,
}

/// A command came further.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandProgress {
    /// The command.
    pub command: Command,
    /// How far.
    pub progress: Progress,
}

impl CommandLog {
    /// Commands that are not done.
    pub fn open(&self) -> impl Iterator<Item = &Command> {
        self.open.values()
    }

    /// Gives up what an earlier start gave out.
    pub fn restart(&mut self) -> Vec<CommandProgress> {
        self.give_up(|_| true)
    }

    /// Gives up what the call before gave out and no reading proves. Machines are followed on by
    /// their power.
    pub fn go_on(&mut self) -> Vec<CommandProgress> {
        self.give_up(|command| !matches!(command.target, Target::Machine(_)))
    }

    fn give_up(&mut self, is_given_up: impl Fn(&Command) -> bool) -> Vec<CommandProgress> {
        let given_up = self.open.extract_if(.., |_, command| is_given_up(command));
        let given_up = given_up.map(|(_, command)| CommandProgress {
            command,
            progress: Progress::Failed(RESTARTED.to_owned()),
        });
        given_up.collect()
    }

    /// Follows one step.
    pub fn follow(
        &mut self,
        site: &Site,
        observation: &Observation,
        after: &State,
        commands: &[Command],
    ) -> Vec<CommandProgress> {
        let mut steps = self.take_reports(&observation.reports);
        steps.extend(self.take_measurements(site, after));
        for command in commands {
            steps.extend(self.replace(command));
            self.open.insert(command.id, command.clone());
            steps.push(CommandProgress {
                command: command.clone(),
                progress: Progress::Queued,
            });
        }
        steps
    }

    fn take_reports(&mut self, reports: &[CommandReport]) -> Vec<CommandProgress> {
        let mut steps = Vec::new();
        for report in reports {
            let Some(command) = self.open.get(&report.command).cloned() else {
                continue;
            };
            // A machine's failure is open until the next way is tried or it is given up.
            let is_machine = matches!(command.target, Target::Machine(_));
            let is_end = matches!(report.progress, Progress::Verified | Progress::Failed(_));
            if is_end && !is_machine {
                self.open.remove(&report.command);
            }
            // A machine is verified by its power alone.
            let progress = match (&report.progress, is_machine) {
                (Progress::Verified, true) => Progress::Acknowledged,
                (progress, _) => progress.clone(),
            };
            steps.push(CommandProgress { command, progress });
        }
        steps
    }

    /// Commands to machines whose measured power shows that they are done, or given up.
    fn take_measurements(&mut self, site: &Site, after: &State) -> Vec<CommandProgress> {
        let mut steps = Vec::new();
        self.open.retain(|id, command| {
            let Target::Machine(name) = &command.target else {
                return true;
            };
            let machine = site.machine(name).and_then(|at| after.machines.get(at));
            let progress = machine.and_then(|machine| outcome(command, *id, machine));
            if let Some(progress) = progress {
                let command = command.clone();
                steps.push(CommandProgress { command, progress });
                return false;
            }
            machine.is_some()
        });
        steps
    }

    /// What becomes of an open command when a newer one goes to the same target.
    fn replace(&mut self, newer: &Command) -> Option<CommandProgress> {
        let mut same = self.open.values().filter(|one| one.target == newer.target);
        let id = same.next()?.id;
        let command = self.open.remove(&id)?;
        let progress = match (command.action == newer.action, command.path == newer.path) {
            (true, false) => Progress::Escalated(newer.id),
            (true, true) => Progress::Failed(NOT_VERIFIED.to_owned()),
            (false, _) => Progress::Superseded(newer.id),
        };
        Some(CommandProgress { command, progress })
    }
}

fn outcome(command: &Command, id: u64, machine: &MachineState) -> Option<Progress> {
    if machine.command.is_some_and(|life| life.id == id) {
        return None;
    }
    match (command.action, machine.phase) {
        (Action::Off, MachinePhase::Stopped) | (Action::On, MachinePhase::Running) => {
            Some(Progress::Verified)
        }
        (Action::Mode(mode), MachinePhase::Running) => {
            let is_low = machine.low_since_ms.is_some();
            let is_so = !machine.is_mode_doubtful && is_low == (mode == PowerMode::Low);
            Some(match is_so {
                true => Progress::Verified,
                false => Progress::Failed(NOT_VERIFIED.to_owned()),
            })
        }
        (Action::LimitWatts(_), MachinePhase::Running) => Some(Progress::Verified),
        (_, MachinePhase::Stuck) => Some(Progress::Failed("no way of it worked".to_owned())),
        _ => None,
    }
}

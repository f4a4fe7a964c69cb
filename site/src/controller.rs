//! The loop: takes what came in, decides, writes it down, hands commands and notices on.
//!
//! Nothing that can hang stands in its way. The journal has some hundred milliseconds; commands and
//! notices go into queues of their own; what is shown is handed over as it is. A step is taken
//! every few seconds, and at once when a signal or an order comes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::clock::{ClockWatch, SiteClock};
use crate::command::Command;
use crate::control::Site;
use crate::entry::{Memory, StepEntry};
use crate::forward::ForwardState;
use crate::history::{History, Sample};
use crate::inbox::{Gathered, Inbox};
use crate::journal::{DiskState, Journal, JournalError, JournalReader, JournalSettings, Recovered};
use crate::moment::Moment;
use crate::notice::Notice;
use crate::request::SignalReading;
use crate::status::Status;
use crate::watchdog::Watchdog;

/// Numbers of commands and notices that are left out at a restart: those of steps that no disk took
/// may have been used.
const SKIPPED_NUMBERS: u64 = 100_000;
/// The least between two steps, so that a flood of readings is one step.
const LEAST_PAUSE: Duration = Duration::from_millis(200);

/// Where the loop hands things on to.
#[derive(Debug)]
pub struct Outlets {
    /// Commands, those of a step together.
    pub commands: mpsc::Sender<Vec<Command>>,
    /// Notices.
    pub notices: mpsc::Sender<Notice>,
}

/// What others tell the loop, beside the inbox.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    /// Why notices cannot be sent.
    pub notifier: Option<String>,
    /// Why Foreman cannot be used.
    pub foreman: Option<String>,
}

/// The controller of one start.
#[derive(Debug)]
pub struct Controller {
    site: Arc<Site>,
    memory: Memory,
    journal: Journal,
    clock: SiteClock,
    clock_watch: ClockWatch,
    inbox: Arc<Inbox>,
    outlets: Outlets,
    troubles: watch::Receiver<Troubles>,
    forward: Option<watch::Receiver<ForwardState>>,
    newest: watch::Sender<u64>,
    status: watch::Sender<Option<Arc<Status>>>,
    signals: Vec<SignalReading>,
    disk_trouble: Option<String>,
    progress_of_restart: Vec<crate::command_log::CommandProgress>,
    loop_time: Duration,
}

/// What the journal gave at the start.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// The memory to go on with.
    pub memory: Memory,
    /// Commands that an earlier start gave out and nobody followed.
    pub given_up: Vec<crate::command_log::CommandProgress>,
    /// The clock, which goes on after the last step.
    pub clock: SiteClock,
    /// What could not be read.
    pub complaints: Vec<String>,
}

/// Opens the journal and replays what a restart needs.
///
/// # Errors
///
/// The folder cannot be used.
pub fn open(
    site: &Site,
    folder: &Path,
    settings: JournalSettings,
    seed: u64,
) -> Result<Opened, JournalError> {
    let seconds = SiteClock::starting_after(None).now().utc_us / 1_000_000;
    let first_seq = seconds.max(0).unsigned_abs() << 16;
    let (journal, recovered): (_, Recovered<Memory, StepEntry>) =
        Journal::open(folder, first_seq, settings)?;
    let mut complaints = recovered.complaints;
    let Some(mut memory) = recovered.snapshot else {
        let clock = SiteClock::starting_after(None);
        return Ok(Opened {
            journal,
            memory: Memory::new(site, seed, clock.now()),
            given_up: Vec::new(),
            clock,
            complaints,
        });
    };
    if memory.state.plan_version == site.plan_version {
        for entry in &recovered.entries {
            memory.replay(site, entry);
        }
    } else {
        complaints.push("the plan of the site changed: machines and fans are read anew".to_owned());
    }
    let last_entry = recovered.entries.last().map(|entry| entry.now);
    let last = last_entry.max(memory.state.stepped);
    let clock = SiteClock::starting_after(last);
    memory.state = memory.state.after_restart(site, clock.now());
    let counters = &mut memory.state.counters;
    counters.command += SKIPPED_NUMBERS;
    counters.notice += SKIPPED_NUMBERS;
    counters.decision += SKIPPED_NUMBERS;
    let given_up = memory.commands.restart();
    Ok(Opened {
        journal,
        memory,
        given_up,
        clock,
        complaints,
    })
}

impl Controller {
    /// A controller that was opened.
    pub fn new(
        site: Arc<Site>,
        opened: Opened,
        inbox: Arc<Inbox>,
        outlets: Outlets,
        troubles: watch::Receiver<Troubles>,
        loop_time: Duration,
    ) -> Self {
        for complaint in &opened.complaints {
            tracing::warn!(complaint, "the journal of an earlier start");
        }
        Self {
            site,
            memory: opened.memory,
            journal: opened.journal,
            clock: opened.clock,
            clock_watch: ClockWatch::new(),
            inbox,
            outlets,
            troubles,
            forward: None,
            newest: watch::Sender::new(0),
            status: watch::Sender::new(None),
            signals: Vec::new(),
            disk_trouble: None,
            progress_of_restart: opened.given_up,
            loop_time,
        }
    }

    /// Shows how far facts have come, too.
    pub fn show_forwarding(&mut self, forward: watch::Receiver<ForwardState>) {
        self.forward = Some(forward);
    }

    /// What is shown; nothing before the first step.
    pub fn status(&self) -> watch::Receiver<Option<Arc<Status>>> {
        self.status.subscribe()
    }

    /// The sequence of the newest entry.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Reads the journal while it is written.
    pub fn reader(&self) -> JournalReader {
        self.journal.reader()
    }

    /// Takes steps until it is stopped.
    pub async fn run(mut self, watchdog: Watchdog, stop: CancellationToken) {
        let mut ticks = interval_at(Instant::now(), self.loop_time);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        watchdog.ready();
        loop {
            let inbox = self.inbox.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
                () = inbox.urgent() => {}
            }
            self.step().await;
            if let Some(status) = &*self.status.borrow() {
                watchdog.alive(&status.decision.reason);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LEAST_PAUSE) => {}
            }
        }
        watchdog.stopping();
    }

    /// Takes one step.
    pub async fn step(&mut self) {
        let mut gathered = self.inbox.take();
        if gathered.lost_lines > 0 {
            let rows = gathered.lost_lines;
            tracing::warn!(
                rows,
                "rows of devices are left out: too many came in one step"
            );
        }
        self.note_signals(&gathered.observation.signals);
        let troubles = self.troubles.borrow_and_update().clone();
        let observation = &mut gathered.observation;
        observation.clock = self.clock_watch.quality();
        observation.journal_trouble.clone_from(&self.disk_trouble);
        observation.notifier_trouble = troubles.notifier;
        observation.foreman_trouble = troubles.foreman;
        let Gathered {
            observation,
            lines,
            deliveries,
            step,
            ..
        } = gathered;
        let before = self.memory.clone();
        let now = self.clock.now();
        let stepped = self.memory.step(&self.site, observation.rounded(), now);
        let mut entry = stepped.entry;
        entry.lines = lines;
        entry.deliveries = deliveries;
        let mut progress = std::mem::take(&mut self.progress_of_restart);
        progress.append(&mut entry.progress);
        entry.progress = progress;
        self.write(&before, &entry).await;
        self.hand_on(stepped.commands, &entry.notices);
        self.show(now, Arc::new(stepped.decision));
        self.inbox.stepped(step);
    }

    async fn write(&mut self, before: &Memory, entry: &StepEntry) {
        let (seq, disk) = self.journal.append(before, entry).await;
        let trouble = match disk {
            DiskState::Written => None,
            DiskState::Trouble(reason) => Some(reason),
        };
        if trouble.is_some() != self.disk_trouble.is_some() {
            match &trouble {
                Some(reason) => tracing::error!(reason, "the controller goes on from memory"),
                None => tracing::info!("the journal is written again"),
            }
        }
        self.disk_trouble = trouble;
        self.newest.send_replace(seq);
    }

    fn hand_on(&self, commands: Vec<Command>, notices: &[Notice]) {
        if !commands.is_empty()
            && let Err(error) = self.outlets.commands.try_send(commands)
        {
            // The state knows them as sent; what is measured shows that they did not happen, and
            // they are given out again.
            tracing::error!(%error, "commands could not be handed to their devices");
        }
        for notice in notices {
            if let Err(error) = self.outlets.notices.try_send(notice.clone()) {
                tracing::error!(%error, title = notice.title, "a notice could not be handed on");
            }
        }
    }

    fn note_signals(&mut self, readings: &[SignalReading]) {
        for reading in readings {
            let known = self.signals.iter_mut();
            match known.into_iter().find(|one| one.source == reading.source) {
                Some(known) => known.clone_from(reading),
                None => self.signals.push(reading.clone()),
            }
        }
    }

    fn show(&self, now: Moment, decision: Arc<crate::control::DecisionRecord>) {
        let kept = |status: &Arc<Status>| (status.recent.clone(), status.history.clone());
        let (recent, history) = self.status.borrow().as_ref().map(kept).unwrap_or_default();
        let status = Status {
            at: now,
            site: self.site.clone(),
            memory: Arc::new(self.memory.clone()),
            recent: Status::remember(&recent, &decision),
            history: History::with(&history, Sample::new(&decision)),
            decision,
            signals: Arc::new(self.signals.clone()),
            disk_trouble: self.disk_trouble.clone(),
            forward: self.forward.as_ref().map(|state| state.borrow().clone()),
            loop_s: self.loop_time.as_secs_f64(),
        };
        self.status.send_replace(Some(Arc::new(status)));
    }
}

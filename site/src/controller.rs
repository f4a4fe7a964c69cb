//! The loop: takes what came in, decides, writes it down, hands commands and notices on.
//!
//! Nothing that can hang stands in its way. The journal has some hundred milliseconds; commands and
//! notices go into queues of their own; what is shown is handed over as it is. A step is taken
//! every few seconds, and at once when a signal or an order comes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::clock::{ClockWatch, SiteClock};
use crate::command::{Command, Progress};
use crate::control::Site;
use crate::entry::{Memory, SnapshotRef, StepEntry};
use crate::event_list::{EventList, PlacedEvent};
use crate::forward::ForwardState;
use crate::history::{History, Sample};
use crate::inbox::{Gathered, Inbox};
use crate::journal::{DiskState, Journal, JournalReader};
use crate::moment::Moment;
use crate::notice::{Notice, NoticeEvent};
use crate::request::SignalReading;
use crate::safe_state::{SafeStore, StandingState};
use crate::start::Opened;
use crate::status::Status;
use crate::watchdog::Watchdog;

/// The least between two steps, so that a flood of readings is one step.
const LEAST_PAUSE: Duration = Duration::from_millis(200);

/// Where the loop hands things on to.
#[derive(Debug)]
pub struct OutputQueues {
    /// Commands, those of a step together.
    pub commands: mpsc::Sender<Vec<Command>>,
    /// Notices, and what was acknowledged.
    pub notices: mpsc::Sender<NoticeEvent>,
}

/// What others tell the loop, beside the inbox.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    /// Why notices cannot be sent.
    pub notifier: Option<String>,
    /// Why the last command to Foreman failed, and since when its commands do.
    pub foreman: Option<(String, Instant)>,
}

/// Foreman is tried again so long after a command to it failed.
const FOREMAN_PAUSE: Duration = Duration::from_secs(300);

impl Troubles {
    /// Takes the end of a command to Foreman in.
    pub fn note_foreman(&mut self, progress: &Progress) {
        match progress {
            Progress::Failed(reason) => self.foreman = Some((reason.clone(), Instant::now())),
            Progress::Acknowledged | Progress::Verified => self.foreman = None,
            _ => {}
        }
    }
}

/// The controller of one start.
#[derive(Debug)]
pub struct Controller {
    site: Arc<Site>,
    memory: Memory,
    journal: Journal,
    safe: SafeStore,
    /// Orders and trips of the last step are on the disk.
    is_durable: bool,
    clock: SiteClock,
    clock_watch: ClockWatch,
    inbox: Arc<Inbox>,
    outlets: OutputQueues,
    troubles: watch::Receiver<Troubles>,
    forward: Option<watch::Receiver<ForwardState>>,
    newest: watch::Sender<u64>,
    status: watch::Sender<Option<Arc<Status>>>,
    signals: Vec<SignalReading>,
    disk_trouble: Option<String>,
    progress_of_restart: Vec<crate::command_log::CommandProgress>,
    loop_time: Duration,
    events: Arc<EventList>,
    /// Where the list of events is kept.
    data_dir: Option<PathBuf>,
}

impl Controller {
    /// A controller that was opened.
    pub fn new(
        site: Arc<Site>,
        opened: Opened,
        inbox: Arc<Inbox>,
        outlets: OutputQueues,
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
            safe: opened.safe,
            is_durable: true,
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
            events: Arc::default(),
            data_dir: None,
        }
    }

    /// Shows how far facts have come, too.
    pub fn show_forwarding(&mut self, forward: watch::Receiver<ForwardState>) {
        self.forward = Some(forward);
    }

    /// Goes on with the list of events of a folder, and keeps it there.
    pub fn keep_events(&mut self, data_dir: &Path) {
        self.events = Arc::new(EventList::open(data_dir));
        self.data_dir = Some(data_dir.to_owned());
    }

    /// What is shown; nothing before the first step.
    pub fn status(&self) -> watch::Receiver<Option<Arc<Status>>> {
        self.status.subscribe()
    }

    /// The sequence of the newest entry.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Where notices go.
    pub fn notices(&self) -> &mpsc::Sender<NoticeEvent> {
        &self.outlets.notices
    }

    /// The site and its policy.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// The number that the next notice will have.
    pub fn next_notice(&self) -> u64 {
        self.memory.state.counters.notice
    }

    /// Waits until the facts of every step are in their streams; for ever while there is no
    /// connection, not at all where there is to be none.
    pub async fn forwarded(&self) {
        let Some(mut forward) = self.forward.clone() else {
            return;
        };
        let newest = *self.newest.borrow();
        // It ends with an error when nobody sends any more.
        let _sent = forward.wait_for(|state| state.sent_seq >= newest).await;
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
        if let Some((reason, at)) = troubles.foreman {
            observation.foreman_trouble = Some(reason);
            observation.is_foreman_tried_again = at.elapsed() >= FOREMAN_PAUSE;
        }
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
        let seq = self.write(&before, &entry).await;
        self.note_events(seq, &entry);
        self.hand_on(stepped.commands, &entry.notices);
        self.hand_on_acknowledged(&entry.observation.acknowledged);
        let refused = stepped.decision.refused.clone();
        self.show(now, Arc::new(stepped.decision));
        self.inbox.stepped(step, refused);
    }

    /// Writes an entry down: its sequence.
    async fn write(&mut self, before: &Memory, entry: &StepEntry) -> u64 {
        let state = &self.memory.state;
        let signals = self.inbox.signals_kept(entry.now);
        let kept = StandingState::from_state(state, signals, self.journal.newest_segment());
        let snapshot = SnapshotRef::new(before, &self.site);
        let (safe, (seq, disk)) = tokio::join!(
            self.safe.keep(kept, state.counters, entry.now),
            self.journal.append(&snapshot, entry),
        );
        self.is_durable = safe.is_ok();
        let trouble = match disk {
            DiskState::Written => safe.err(),
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
        seq
    }

    /// Adds the curtailments that a step ended to the list.
    fn note_events(&mut self, seq: u64, entry: &StepEntry) {
        if entry.events.is_empty() {
            return;
        }
        let mut list = EventList::clone(&self.events);
        for scored in &entry.events {
            list.add(PlacedEvent::new(self.journal.id(), seq, scored.clone()));
        }
        self.events = Arc::new(list);
        let (Some(data_dir), list) = (self.data_dir.clone(), self.events.clone()) else {
            return;
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = list.save(&data_dir) {
                // The journal has them; a start takes them from there.
                tracing::warn!(%error, "events.json is not written");
            }
        });
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
            let event = NoticeEvent::Raised(notice.clone());
            if let Err(error) = self.outlets.notices.try_send(event) {
                tracing::error!(%error, title = notice.title, "a notice could not be handed on");
            }
        }
    }

    fn hand_on_acknowledged(&self, acknowledged: &[u64]) {
        for (topic, notice) in self.memory.state.notices.about(acknowledged) {
            let topic = topic.to_owned();
            let event = NoticeEvent::Acknowledged { topic, notice };
            if let Err(error) = self.outlets.notices.try_send(event) {
                tracing::error!(%error, "an acknowledgement could not be handed on");
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
            events: self.events.clone(),
            disk_trouble: self.disk_trouble.clone(),
            is_durable: self.is_durable,
            forward: self.forward.as_ref().map(|state| state.borrow().clone()),
            loop_s: self.loop_time.as_secs_f64(),
        };
        self.status.send_replace(Some(Arc::new(status)));
    }
}

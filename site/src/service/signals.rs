//! The signals of a running controller.

use std::sync::Arc;
use std::time::Duration;

use headframe_ingest::source::Exchange;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::clock::SiteClock;
use crate::config::SiteConfig;
use crate::inbox::Inbox;
use crate::request::SignalReading;
use crate::rest::SiteSignals;
use crate::safe_state::SignalsKept;
use crate::signal::{ConfiguredSignal, Given, LayoutShown, RawBody, Usage, UsageReportError};

/// The signals of a site.
pub(super) struct Signals {
    all: Vec<ConfiguredSignal>,
    clock: SiteClock,
    inbox: Arc<Inbox>,
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} signals", self.all.len())
    }
}

impl SiteSignals for Signals {
    fn give(&self, signal: &str, body: Value, by: &str) -> Result<(), Option<String>> {
        let found = self.find(signal).ok_or(None)?;
        let mut given: Given = serde_json::from_value(body).map_err(|e| Some(e.to_string()))?;
        given.by = match given.by.trim() {
            "" => by.to_owned(),
            named => format!("{named} ({by})"),
        };
        let given = found.give(given, self.clock.now());
        given.map_err(|error| Some(error.to_string()))?;
        if let Some(held) = found.held() {
            self.inbox.give(signal, held);
        }
        Ok(())
    }

    fn layout(&self, signal: &str) -> Option<LayoutShown> {
        self.find(signal)?.layout()
    }

    fn accept_layout(&self, signal: &str, layout: &str) -> Result<(), Option<String>> {
        let found = self.find(signal).ok_or(None)?;
        found.accept_layout(layout).map_err(Some)?;
        self.note_layout(found);
        Ok(())
    }

    fn evidence(&self, signal: &str) -> Option<Vec<RawBody>> {
        Some(self.find(signal)?.evidence())
    }
}

impl Signals {
    /// Reads the secrets of all signals, and asks nothing yet.
    pub(super) fn open(
        config: &SiteConfig,
        exchange: &Exchange,
        clock: SiteClock,
        inbox: &Arc<Inbox>,
    ) -> anyhow::Result<Arc<Self>> {
        let name = &config.plan.name;
        let all = config.signal.iter();
        let all = all.map(|signal| ConfiguredSignal::new(signal.clone(), name, exchange.clone()));
        Ok(Arc::new(Self {
            all: all.collect::<Result<_, _>>()?,
            clock,
            inbox: inbox.clone(),
        }))
    }

    fn find(&self, signal: &str) -> Option<&ConfiguredSignal> {
        self.all.iter().find(|one| one.config.name == signal)
    }

    /// Lets the next step keep the layout that a signal's page is expected to have.
    fn note_layout(&self, signal: &ConfiguredSignal) {
        if let Some(layout) = signal.kept_layout() {
            self.inbox.expect_layout(&signal.config.name, layout);
        }
    }

    /// Gives signals what they were given before this start, where it still counts, and the layouts
    /// that their pages had.
    pub(super) fn restore(&self, kept: &SignalsKept) {
        for signal in &self.all {
            let name = &signal.config.name;
            if let Some(held) = kept.given.get(name) {
                signal.restore(held.clone());
                self.inbox.give(name, held.clone());
            }
            if let Some(layout) = kept.layouts.get(name) {
                signal.restore_layout(layout);
                self.note_layout(signal);
            }
        }
    }

    /// The names of all signals.
    pub(super) fn names(&self) -> Vec<String> {
        self.all.iter().map(|one| one.config.name.clone()).collect()
    }

    /// The name of one.
    pub(super) fn name(&self, index: usize) -> String {
        let signal = self.all.get(index);
        signal.map_or_else(String::new, |one| one.config.name.clone())
    }

    /// Those whose askers want to know how the site did, by their place.
    pub(super) fn wanting_reports(&self) -> Vec<usize> {
        let all = self.all.iter().enumerate();
        let wanting = all.filter(|(_, signal)| signal.wants_reports());
        wanting.map(|(index, _)| index).collect()
    }

    /// Says how the site did.
    pub(super) async fn report(&self, index: usize, usage: &Usage) -> Result<(), UsageReportError> {
        match self.all.get(index) {
            Some(signal) => signal.report(usage, self.clock.now()).await,
            None => Ok(()),
        }
    }

    /// Reads each signal again and again, in a task of its own.
    pub(super) fn watch_all(self: &Arc<Self>, pause: Duration, tasks: &mut JoinSet<()>) {
        for index in 0..self.all.len() {
            let signals = self.clone();
            tasks.spawn(async move { signals.watch(index, pause).await });
        }
    }

    /// Reads one signal again and again.
    async fn watch(&self, index: usize, pause: Duration) {
        let Some(signal) = self.all.get(index) else {
            return;
        };
        let pause = signal.config.interval().unwrap_or(pause);
        let mut ticks = tokio::time::interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let reading: SignalReading = signal.read(self.clock.now()).await;
            self.note_layout(signal);
            self.inbox.signal(reading);
        }
    }
}

//! What a start begins with: the memory that journal and safe state give, or what was lost of it.
//!
//! The steps of the journal are replayed with the policy and the plan that they were taken with, so
//! that each order is judged as it was then. Trips, lockouts, the override and bypasses come from a
//! file of their own, whatever plan the new start has. What cannot be read is a trip; where nothing
//! can be written, nothing is started until a person says so.

use std::path::Path;

use crate::clock::SiteClock;
use crate::command_log::CommandProgress;
use crate::config::SiteConfig;
use crate::control::output::Counters;
use crate::control::policy::ms;
use crate::control::trip::{Latch, TripCause};
use crate::control::{Site, SitePlan};
use crate::entry::{Memory, Snapshot, StepEntry};
use crate::journal::{Journal, JournalSettings, Recovered};
use crate::moment::Moment;
use crate::safe_state::{Found, OpenError, SafeState, SafeStore, SignalsKept, StandingState};
use crate::versions;

/// Numbers of commands and notices that are left out at a restart: those of steps that no disk took
/// may have been used.
const SKIPPED_NUMBERS: u64 = 100_000;

/// A call of cron goes on as the one before left it, unless that is longer ago than so many loops.
const LOOPS_BETWEEN_CALLS: u64 = 3;

/// How a start follows on the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartKind {
    /// Everything is read back and waited for anew.
    Anew,
    /// It is a call of cron: the site is as the last call left it, and timers go on.
    GoesOn,
}

/// What a start begins with.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// What is kept beside it.
    pub safe: SafeStore,
    /// The memory to go on with.
    pub memory: Memory,
    /// What is kept of signals.
    pub signals: SignalsKept,
    /// Commands that an earlier start gave out and nobody followed.
    pub given_up: Vec<CommandProgress>,
    /// The clock, which goes on after the last step.
    pub clock: SiteClock,
    /// What could not be read.
    pub complaints: Vec<String>,
}

/// Opens the folder that a configuration names, and writes policy and plan down beside the journal.
///
/// # Errors
///
/// As [`open`]; or the system has no randomness.
pub async fn from_config(
    config: &SiteConfig,
    site: &Site,
    kind: StartKind,
) -> anyhow::Result<Opened> {
    let settings = JournalSettings {
        max_bytes: config.journal_max_bytes,
        ..JournalSettings::default()
    };
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed)
        .map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
    let seed = u64::from_le_bytes(seed);
    let opened = open_as(site, &config.data_dir, settings, seed, kind).await?;
    if let Err(error) = versions::keep(&config.data_dir, site) {
        tracing::warn!(%error, "policy and plan are not written down beside the journal");
    }
    Ok(opened)
}

/// Opens the folder of a controller and replays what a restart needs.
///
/// # Errors
///
/// Another controller works with the folder, or the thread of the journal cannot be started.
pub async fn open(
    site: &Site,
    data_dir: &Path,
    settings: JournalSettings,
    seed: u64,
) -> Result<Opened, OpenError> {
    open_as(site, data_dir, settings, seed, StartKind::Anew).await
}

async fn open_as(
    site: &Site,
    data_dir: &Path,
    settings: JournalSettings,
    seed: u64,
    kind: StartKind,
) -> Result<Opened, OpenError> {
    let (mut safe, found) = SafeStore::open(data_dir)?;
    let seconds = SiteClock::starting_after(None).now().utc_us / 1_000_000;
    let first_seq = seconds.max(0).unsigned_abs() << 16;
    let opened = Journal::open(&data_dir.join("journal"), first_seq, settings);
    let (journal, recovered): (_, Recovered<Snapshot, StepEntry>) =
        opened.map_err(|error| OpenError {
            folder: data_dir.to_owned(),
            reason: error.to_string(),
        })?;
    let lost = missing_memory(&found, &recovered);
    let mut complaints = recovered.complaints.clone();
    complaints.extend(found.complaints.iter().cloned());
    complaints.extend(found.damage.iter().cloned());
    let replayed = replay(site, recovered, &mut complaints);
    let kept_at = found.state.as_ref().map(|state| state.at);
    let clock = SiteClock::starting_after(replayed.as_ref().and_then(|one| one.1).max(kept_at));
    let now = clock.now();
    let mut memory = match replayed {
        Some((memory, _)) => memory,
        None => Memory::new(site, seed, now),
    };
    let is_first = memory.state.stepped.is_none() && found.state.is_none();
    let goes_on = kind == StartKind::GoesOn
        && lost.is_empty()
        && is_recent(&memory, site, found.state.as_ref(), now);
    if !is_first && !goes_on {
        memory.state = memory.state.after_restart(site, now);
    }
    let signals = restore(&mut memory, found.state.as_ref(), now);
    if !is_first {
        skip_numbers(&mut memory.state.counters);
    }
    if !lost.is_empty() {
        latch_lost(&mut memory, &lost, now);
    }
    // Whether the disk takes anything is seen before anything is decided.
    let segment = found.state.map_or(0, |state| state.kept.segment);
    let kept = StandingState::from_state(&memory.state, signals.clone(), segment);
    if let Err(reason) = safe.keep(kept, memory.state.counters, now).await {
        complaints.push(reason.clone());
        memory.state.authority.start_hold = Some(reason);
    }
    let given_up = match goes_on {
        true => memory.commands.go_on(),
        false => memory.commands.restart(),
    };
    Ok(Opened {
        journal,
        safe,
        memory,
        signals,
        given_up,
        clock,
        complaints,
    })
}

/// What an earlier start knew and this one does not.
fn missing_memory(found: &Found, recovered: &Recovered<Snapshot, StepEntry>) -> Vec<String> {
    let mut lost = recovered.damage.clone();
    lost.extend(found.damage.iter().cloned());
    match (&found.state, recovered.newest_segment) {
        (Some(state), newest) if newest.unwrap_or(0) < state.kept.segment => {
            lost.push("the newest files of the journal are gone".to_owned());
        }
        (None, Some(_)) if found.damage.is_empty() => {
            // A journal of before there was such a file does not miss it.
            let snapshot = recovered.snapshot.as_ref();
            if snapshot.is_some_and(|snapshot| snapshot.policy.is_some()) {
                lost.push("safety.json is gone".to_owned());
            }
        }
        _ => {}
    }
    lost
}

/// The memory after the last step of the journal, and when that was.
fn replay(
    site: &Site,
    recovered: Recovered<Snapshot, StepEntry>,
    complaints: &mut Vec<String>,
) -> Option<(Memory, Option<Moment>)> {
    let mut snapshot = recovered.snapshot?;
    let (policy, plan) = (snapshot.policy.take(), snapshot.plan.take());
    let mut memory = snapshot.into_memory();
    let policy = policy.and_then(|value| serde_json::from_value(value).ok());
    let plan: Option<SitePlan> = plan.and_then(|value| serde_json::from_value(value).ok());
    let then = policy.zip(plan);
    let then = then.and_then(|(policy, plan)| Site::new(policy, plan).ok());
    let is_same_plan = memory.state.plan_version == site.plan_version;
    match then.as_ref().or(is_same_plan.then_some(site)) {
        Some(then) => {
            for entry in &recovered.entries {
                memory.replay(then, entry);
            }
        }
        None => complaints.push(
            "the plan that the journal was written with cannot be read: its last steps are left \
             out"
            .to_owned(),
        ),
    }
    let last = recovered.entries.last().map(|entry| entry.now);
    let last = last.max(memory.state.stepped);
    Some((memory, last))
}

/// The journal has the last step of this plan, and that was not long ago.
fn is_recent(memory: &Memory, site: &Site, kept: Option<&SafeState>, now: Moment) -> bool {
    let state = &memory.state;
    let is_whole = kept.is_some_and(|kept| kept.counters.decision <= state.counters.decision);
    let most_ms = LOOPS_BETWEEN_CALLS * ms(site.policy.health.loop_s);
    let is_soon = state
        .stepped
        .is_some_and(|last| now.ms_since(last) <= most_ms);
    is_whole && is_soon && state.plan_version == site.plan_version
}

/// Puts what is kept beside the journal into the memory: what is kept of signals.
fn restore(memory: &mut Memory, kept: Option<&SafeState>, now: Moment) -> SignalsKept {
    let Some(state) = kept else {
        return SignalsKept::default();
    };
    let is_newest = state.counters.decision > memory.state.counters.decision;
    state.kept.restore(&mut memory.state, is_newest, now);
    go_on(&mut memory.state.counters, &state.counters);
    let mut given = state.kept.given.clone();
    given.retain(|_, one| one.until.elapsed_ms > now.elapsed_ms);
    SignalsKept {
        given,
        layouts: state.kept.layouts.clone(),
    }
}

fn go_on(counters: &mut Counters, kept: &Counters) {
    counters.command = counters.command.max(kept.command);
    counters.notice = counters.notice.max(kept.notice);
    counters.decision = counters.decision.max(kept.decision);
}

fn skip_numbers(counters: &mut Counters) {
    counters.command += SKIPPED_NUMBERS;
    counters.notice += SKIPPED_NUMBERS;
    counters.decision += SKIPPED_NUMBERS;
}

fn latch_lost(memory: &mut Memory, lost: &[String], now: Moment) {
    const SHOWN: usize = 3;
    let shown = lost[..lost.len().min(SHOWN)].join("; ");
    let latches = &mut memory.state.trips.latches;
    let known = latches.entry(TripCause::MemoryLost);
    known.or_insert_with(|| Latch {
        detail: format!(
            "what stood before this start is not known: orders, trips and lockouts may be lost: \
             {shown}"
        ),
        at: now,
        clear_since_ms: None,
    });
}

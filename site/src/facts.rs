//! The rows of an entry of the journal, for the streams that anybody reads.

use headframe_schemas::Record;
use headframe_schemas::column::Column;
use headframe_schemas::stream;
use headframe_schemas::stream::curtailment::CurtailmentRow;
use headframe_schemas::stream::curtailment_events::CurtailmentEventRow;
use headframe_schemas::stream::notifications::NotificationRow;
use headframe_schemas::stream::signals::SignalRow;
use headframe_schemas::stream::site_commands::SiteCommandRow;
use serde::Serialize;
use serde_json::json;

use crate::command::{Action, Path, PowerMode, Progress, Target};
use crate::command_log::CommandProgress;
use crate::control::DecisionRecord;
use crate::control::metering::Quality;
use crate::entry::{Delivery, StepEntry};
use crate::episode::ScoredEvent;
use crate::forward::FactLine;
use crate::notice::Notice;
use crate::request::{Request, SignalReading, SignalValue};

/// Bytes of a long text, as its column takes them.
const LONG_TEXT: usize = 1_024;
/// Bytes of the JSON of caps and inputs.
const MOST_JSON: usize = 64 * 1024;

/// All rows of an entry, in an order that follows from the entry alone. `journal` is the sequence
/// of the journal's first entry, `seq` that of this one.
pub fn rows(journal: u64, seq: u64, entry: &StepEntry) -> Vec<FactLine> {
    let place = Place { journal, seq };
    let journal = format!("{journal:x}");
    let mut lines = Lines::default();
    for line in &entry.lines {
        if let Some(stream) = stream::find(&line.stream) {
            lines.0.push(FactLine {
                stream,
                key: line.key.clone(),
                json: line.row.to_string(),
            });
        }
    }
    for reading in &entry.observation.signals {
        for row in signal_rows(entry, reading) {
            lines.add(&row);
        }
    }
    if let Some(decision) = &entry.decision {
        lines.add(&decision_row(entry, decision, place));
    }
    for event in &entry.events {
        lines.add(&event_row(entry, event, &journal));
    }
    for progress in &entry.progress {
        lines.add(&command_row(entry, progress, &journal));
    }
    for notice in &entry.notices {
        lines.add(&raised(entry, notice, &journal));
    }
    for delivery in &entry.deliveries {
        lines.add(&delivered(entry, delivery, &journal));
    }
    lines.0
}

#[derive(Default)]
struct Lines(Vec<FactLine>);

impl Lines {
    fn add<R: Record + Serialize>(&mut self, row: &R) {
        // Rows of numbers and texts are always JSON.
        if let Ok(json) = serde_json::to_string(row) {
            self.0.push(FactLine {
                stream: R::STREAM,
                key: row.key().to_owned(),
                json,
            });
        }
    }
}

/// A word as serde writes it.
fn word_of<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn shortened(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

fn within_column(text: &str) -> String {
    shortened(text, Column::MAX_TEXT_BYTES)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A row for each request; one for a reading that asks nothing, or that is unknown.
fn signal_rows(entry: &StepEntry, reading: &SignalReading) -> Vec<SignalRow> {
    let row = |level: String, request: Option<&Request>, reason: Option<String>| SignalRow {
        event_time: reading.read_at.utc_us,
        site: entry.site.clone(),
        signal: within_column(&reading.source),
        class: word_of(&reading.class),
        level,
        cap_kw: request.and_then(|request| request.cap_kw),
        starts_at: request.and_then(|request| request.starts_at_us),
        ends_at: request.and_then(|request| request.ends_at_us),
        event: request
            .and_then(|request| request.event.as_deref())
            .map(within_column),
        reason,
    };
    match &reading.value {
        SignalValue::Unknown(reason) => {
            let reason = shortened(reason, LONG_TEXT / 2);
            vec![row("unknown".to_owned(), None, Some(reason))]
        }
        SignalValue::Known(requests) if requests.is_empty() => {
            vec![row("normal".to_owned(), None, None)]
        }
        SignalValue::Known(requests) => {
            let rows = requests.iter();
            rows.map(|request| row(word_of(&request.level), Some(request), None))
                .collect()
        }
    }
}

/// Where an entry is.
#[derive(Clone, Copy)]
struct Place {
    journal: u64,
    seq: u64,
}

impl Place {
    /// The entry of an earlier decision, where this journal has it: each step has one of both.
    fn entry_of(self, decision: u64, earlier: u64) -> Option<u64> {
        let steps = decision.checked_sub(earlier)?;
        let seq = self.seq.checked_sub(steps)?;
        (seq >= self.journal).then_some(seq)
    }
}

/// What a decision used, each with the place of its reading in the journal.
fn inputs(decision: &DecisionRecord, place: Place) -> serde_json::Value {
    let used = decision.inputs.iter().map(|used| {
        let mut shown = json!(used);
        let seq = used
            .step
            .and_then(|step| place.entry_of(decision.number, step));
        shown["seq"] = json!(seq);
        shown
    });
    used.collect()
}

fn decision_row(entry: &StepEntry, decision: &DecisionRecord, place: Place) -> CurtailmentRow {
    let count = |count: u32| i64::from(count);
    let counts = decision.machines;
    let verdict = &decision.verdict;
    let winner = verdict.cap(&decision.caps);
    let caps = json!({"winner": verdict.winner, "losers": verdict.losers, "caps": decision.caps});
    let changed = decision.before.power != decision.after.power;
    let air = |used: &&crate::control::decision::InputUsed| used.source == "temperature/control";
    CurtailmentRow {
        event_time: entry.now.utc_us,
        site: entry.site.clone(),
        journal: format!("{:x}", place.journal),
        decision: signed(decision.number),
        state: word_of(&decision.after.power),
        previous: changed.then(|| word_of(&decision.before.power)),
        thermal: word_of(&decision.after.thermal),
        authority: word_of(&decision.after.authority),
        target_kw: verdict.target_kw,
        measured_kw: decision.measured_kw,
        is_estimated: decision.quality == Quality::Estimated,
        winner: winner.map(|cap| within_column(&format!("{} {}", cap.level, cap.source))),
        reason: shortened(&decision.reason, LONG_TEXT),
        caps: bounded_json(&caps),
        inputs: bounded_json(&inputs(decision, place)),
        machines_running: count(counts.running),
        machines_stopping: count(counts.stopping),
        machines_stopped: count(counts.stopped),
        machines_starting: count(counts.starting),
        machines_stuck: count(counts.stuck),
        machines_unknown: count(counts.unknown),
        temperature_c: decision.inputs.iter().find(air).and_then(|used| used.value),
        fans_on: i64::try_from(decision.fans_on).ok(),
        commands: i64::try_from(decision.commands.len()).unwrap_or(i64::MAX),
        policy: decision.policy.clone(),
    }
}

/// JSON that its column takes; what is too long says so instead.
fn bounded_json(value: &serde_json::Value) -> String {
    let text = value.to_string();
    match text.len() <= MOST_JSON {
        true => text,
        false => json!({"too_long_bytes": text.len()}).to_string(),
    }
}

fn command_row(entry: &StepEntry, step: &CommandProgress, journal: &str) -> SiteCommandRow {
    let command = &step.command;
    let (target_kind, target) = match &command.target {
        Target::Machine(name) => ("machine", name.clone()),
        Target::Fan(number) => ("fan", number.to_string()),
        Target::Feeder(name) => ("feeder", name.clone()),
    };
    let (action, value) = match command.action {
        Action::Off => ("off", None),
        Action::On => ("on", None),
        Action::Mode(PowerMode::Low) => ("mode_low", None),
        Action::Mode(PowerMode::Normal) => ("mode_normal", None),
        Action::Mode(PowerMode::High) => ("mode_high", None),
        Action::LimitWatts(watts) => ("limit_watts", Some(i64::from(watts))),
    };
    let path = match command.path {
        Path::Device => "device",
        Path::Foreman => "foreman",
        Path::Outlet => "outlet",
        Path::Feeder => "feeder",
    };
    let (state, successor, reason) = match &step.progress {
        Progress::Queued => ("queued", None, None),
        Progress::Sent => ("sent", None, None),
        Progress::Acknowledged => ("acknowledged", None, None),
        Progress::Verified => ("verified", None, None),
        Progress::Failed(reason) => ("failed", None, Some(shortened(reason, LONG_TEXT / 2))),
        Progress::Escalated(to) => ("escalated", Some(signed(*to)), None),
        Progress::Superseded(by) => ("superseded", Some(signed(*by)), None),
    };
    SiteCommandRow {
        event_time: entry.now.utc_us,
        site: entry.site.clone(),
        journal: journal.to_owned(),
        command: signed(command.id),
        decision: signed(command.decision),
        target_kind: target_kind.to_owned(),
        target: within_column(&target),
        action: action.to_owned(),
        value,
        path: path.to_owned(),
        state: state.to_owned(),
        successor,
        reason,
    }
}

fn event_row(entry: &StepEntry, scored: &ScoredEvent, journal: &str) -> CurtailmentEventRow {
    let ScoredEvent { event, card, .. } = scored;
    let failed = card.failed_commands_pct / 100.0 * scored.commands as f64;
    CurtailmentEventRow {
        event_time: entry.now.utc_us,
        site: entry.site.clone(),
        journal: journal.to_owned(),
        event: signed(scored.decision),
        signal: within_column(&scored.signal),
        level: i64::from(scored.level),
        asked_at: event.asked_at.utc_us,
        deadline_at: Some(event.deadline.utc_us),
        released_at: Some(event.released_at.utc_us),
        target_kw: event.target_kw,
        baseline_kw: Some(event.baseline_kw),
        detect_s: card.detect_s,
        first_s: card.first_command_s,
        target_s: card.target_s,
        compliance_pct: card.compliance_pct,
        performance_factor: card.performance_factor,
        overshoot_kwh: Some(card.overshoot_kwh),
        excess_kwh: Some(card.excess_kwh),
        tracking_error_pct: card.tracking_error_pct,
        rebound_pct: Some(card.rebound_peak_pct),
        restore_s: card.restore_t95_s,
        lost_ths_h: Some(card.lost_ths_h),
        commands: i64::try_from(scored.commands).unwrap_or(i64::MAX),
        commands_failed: failed.round() as i64,
        notices: i64::from(scored.notices),
        is_estimated: scored.is_estimated,
    }
}

fn raised(entry: &StepEntry, notice: &Notice, journal: &str) -> NotificationRow {
    NotificationRow {
        event_time: notice.at.utc_us,
        site: entry.site.clone(),
        journal: journal.to_owned(),
        notice: signed(notice.id),
        severity: word_of(&notice.severity),
        topic: within_column(&notice.topic),
        title: shortened(&notice.title, LONG_TEXT / 2),
        text: Some(shortened(&notice.text, 8 * LONG_TEXT)),
        state: "raised".to_owned(),
        channel: None,
        attempt: None,
        receipt: None,
        reason: None,
    }
}

fn delivered(entry: &StepEntry, delivery: &Delivery, journal: &str) -> NotificationRow {
    let (state, receipt, reason) = match (&delivery.outcome, &delivery.channel) {
        (Ok(said), None) => ("acknowledged", None, said.clone()),
        (Ok(receipt), Some(_)) => ("delivered", receipt.clone(), None),
        (Err(reason), _) => ("failed", None, Some(reason.clone())),
    };
    NotificationRow {
        event_time: delivery.at.utc_us,
        text: None,
        state: state.to_owned(),
        channel: delivery.channel.as_deref().map(within_column),
        attempt: delivery.attempt.map(i64::from),
        receipt: receipt.as_deref().map(within_column),
        reason: reason.map(|reason| shortened(&reason, LONG_TEXT / 2)),
        ..raised(entry, &delivery.notice, journal)
    }
}

//! `whatif`: recorded curtailments under another policy, and the proof that the journal replays.

use std::fmt::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, SecondsFormat};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::print_text;
use super::source::{JournalArgs, Source};
use crate::journal::SegmentPlace;
use crate::moment::Moment;
use crate::policy_file::{self, Change};
use crate::policy_trial::{ComparedEvent, LIMITS, ScoreColumn, Search, Trial};
use crate::recording::{Follower, Piece, RecordedPeriod, of_period};
use crate::verify::{Verification, Verifier};

/// A curtailment that lasts longer after the period is not waited for: a week.
const LONGEST_US: i64 = 7 * 86_400_000_000;

/// What is replayed.
#[derive(Debug, Args)]
pub struct WhatIf {
    #[command(flatten)]
    journal: JournalArgs,
    /// A file with the keys of [policy] that are to differ from the configuration's, TOML.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Take every recorded step again, and fail where a decision is not the recorded one, bit for
    /// bit.
    #[arg(long)]
    verify: bool,
    /// Curtailments that were asked for from this time on, such as 2026-03-01 or
    /// 2026-03-01T12:00:00Z.
    #[arg(long, value_parser = time)]
    from: Option<i64>,
    /// Curtailments that were asked for before this time.
    #[arg(long, value_parser = time)]
    to: Option<i64>,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The answer.
#[derive(Debug, Serialize)]
struct WhatIfAnswer {
    site: String,
    /// The version of the policy that was tried.
    policy: String,
    changes: Vec<Change>,
    reach: RecordedPeriod,
    holes: Vec<String>,
    verification: Option<Verification>,
    events: Vec<ComparedEvent>,
    /// Of the events that could be compared.
    all: Option<AllEvents>,
    limits: [&'static str; 5],
}

#[derive(Debug, Serialize)]
struct AllEvents {
    events: usize,
    recorded: ScoreColumn,
    modelled: ScoreColumn,
    other: ScoreColumn,
}

impl WhatIf {
    /// Does it, and prints what comes of it.
    ///
    /// # Errors
    ///
    /// There is no journal or nothing in the period, the policy makes no sense, or recorded
    /// decisions come out otherwise.
    pub async fn run(self) -> anyhow::Result<()> {
        let answer = self.answer().await?;
        match self.format {
            Format::Text => print_text(&page(&answer, self.policy.is_some())),
            Format::Json => print_text(&(serde_json::to_string_pretty(&answer)? + "\n")),
        }
        match answer.verification.as_ref().map_or(0, |one| one.differing) {
            0 => Ok(()),
            differing => anyhow::bail!("{differing} steps or states come out otherwise"),
        }
    }

    async fn answer(&self) -> anyhow::Result<WhatIfAnswer> {
        if self.policy.is_none() && !self.verify {
            anyhow::bail!("there is nothing to do: say --policy FILE, --verify, or both");
        }
        let (from_us, to_us) = (self.from.unwrap_or(i64::MIN), self.to.unwrap_or(i64::MAX));
        if from_us >= to_us {
            anyhow::bail!("--from must be before --to");
        }
        let (source, versions) = self.journal.open().await?;
        let base = versions.current().clone();
        let (policy, changes) = match &self.policy {
            Some(file) => policy_file::load(file, &base.policy)?,
            None => (base.policy.clone(), Vec::new()),
        };
        let places = source.places().await?;
        let mut search = Search::new(from_us, to_us);
        // A curtailment is written when it is over, after the period perhaps.
        let segments = of_period(&places, from_us, to_us.saturating_add(LONGEST_US));
        let mut pieces = Follower::default();
        for place in segments {
            let content = source.read(place).await?;
            pieces.follow(content, |piece| {
                if let Piece::Step(step) = piece {
                    search.take(&step);
                }
                anyhow::Ok(())
            })?;
        }
        if search.reach.steps == 0 {
            anyhow::bail!("{}", no_steps_message(&places, segments));
        }
        let reach = search.reach;
        let version = policy.version();
        let trial = Trial::new(policy, search.events);
        let (events, verification, holes) =
            retake(&source, segments, trial, Verifier::new(versions)).await?;
        Ok(WhatIfAnswer {
            site: base.plan.name.clone(),
            policy: version,
            changes,
            reach,
            holes,
            verification: self.verify.then_some(verification),
            all: of_all(&events),
            events,
            limits: LIMITS,
        })
    }
}

async fn retake(
    source: &Source,
    segments: &[SegmentPlace],
    mut trial: Trial,
    mut verifier: Verifier,
) -> anyhow::Result<(Vec<ComparedEvent>, Verification, Vec<String>)> {
    let mut pieces = Follower::default();
    for place in segments {
        let content = source.read(place).await?;
        pieces.follow(content, |piece| {
            let is_hole = matches!(piece, Piece::Hole(_));
            verifier.take(piece, |retaken| trial.take(&retaken));
            if is_hole {
                trial.hole();
            }
            anyhow::Ok(())
        })?;
    }
    let verification = verifier.finish(|retaken| trial.take(&retaken));
    Ok((trial.finish(), verification, pieces.holes()))
}

/// Why a period is empty.
fn no_steps_message(places: &[SegmentPlace], segments: &[SegmentPlace]) -> String {
    let begins = places.iter().find_map(|place| place.begins);
    let last = places.iter().rev().find_map(|place| place.begins);
    match (begins, last) {
        (Some(begins), Some(last)) => format!(
            "nothing was recorded in this period; the journal begins at {} and its last file at {}",
            utc(begins),
            utc(last)
        ),
        _ => format!(
            "none of {} files of the journal can be read",
            segments.len().max(places.len())
        ),
    }
}

fn of_all(events: &[ComparedEvent]) -> Option<AllEvents> {
    let compared: Vec<_> = events
        .iter()
        .filter_map(|one| Some((one.recorded, one.modelled?, one.other?)))
        .collect();
    let column = |of: fn(&(ScoreColumn, ScoreColumn, ScoreColumn)) -> ScoreColumn| {
        ScoreColumn::of_all(&compared.iter().map(of).collect::<Vec<_>>())
    };
    (!compared.is_empty()).then(|| AllEvents {
        events: compared.len(),
        recorded: column(|one| one.0),
        modelled: column(|one| one.1),
        other: column(|one| one.2),
    })
}

fn utc(at: Moment) -> String {
    let time = DateTime::from_timestamp_micros(at.utc_us).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The answer for people.
fn page(answer: &WhatIfAnswer, is_compared: bool) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    let reach = (answer.reach.first.map(utc), answer.reach.last.map(utc));
    line(format!(
        "{}: {} steps from {} to {}",
        answer.site,
        answer.reach.steps,
        reach.0.unwrap_or_default(),
        reach.1.unwrap_or_default()
    ));
    for hole in &answer.holes {
        line(format!("hole in the journal: {hole}"));
    }
    if let Some(verification) = &answer.verification {
        verified(verification, &mut line);
    }
    if !is_compared {
        return text;
    }
    line(format!("policy {}:", answer.policy));
    if answer.changes.is_empty() {
        line("  no key differs from the configuration's".to_owned());
    }
    for change in &answer.changes {
        line(format!(
            "  {} {} instead of {}",
            change.key, change.after, change.before
        ));
    }
    if answer.events.is_empty() {
        line("nobody asked for less power in this period".to_owned());
    }
    for event in &answer.events {
        one(event, &mut line);
    }
    if let Some(all) = answer.all.as_ref().filter(|all| all.events > 1) {
        line(format!(
            "\n{} curtailments together (times and shares are means)",
            all.events
        ));
        columns(
            &all.recorded,
            Some(&all.modelled),
            Some(&all.other),
            &mut line,
        );
    }
    line("\nWhat a replay cannot know:".to_owned());
    for limit in answer.limits {
        line(format!("* {limit}"));
    }
    text
}

fn verified(verification: &Verification, line: &mut impl FnMut(String)) {
    let Verification {
        steps,
        decisions,
        commands,
        states,
        ..
    } = verification;
    let left_out: u64 = verification.left_out.values().sum();
    let said = match (verification.differing, steps, left_out) {
        (_, 0, _) => "no step could be taken again".to_owned(),
        (0, _, 0) => "all the same, bit for bit".to_owned(),
        (0, _, _) => format!("all of these the same, bit for bit; {left_out} could not be taken"),
        _ => "NOT all the same".to_owned(),
    };
    line(format!(
        "replayed: {steps} steps, {decisions} written decisions, {commands} commands, {states} \
         states: {said}"
    ));
    for (policy, steps) in &verification.policies {
        line(format!("  {steps} steps under policy {policy}"));
    }
    for (why, steps) in &verification.left_out {
        line(format!("  {steps} steps left out: {why}"));
    }
    for difference in &verification.differences {
        line(format!("  {difference}"));
    }
}

fn one(event: &ComparedEvent, line: &mut impl FnMut(String)) {
    let target = &event.event;
    line(format!(
        "\n{}: {} asked at {} for {:.1} kW of {:.1} kW, until {}; policy {}",
        event.id,
        event.signal,
        utc(target.asked_at),
        target.target_kw,
        target.baseline_kw,
        utc(target.released_at),
        event.policy,
    ));
    if event.is_exact {
        line("  the policy was in force: its decisions are the recorded ones, exactly".to_owned());
    }
    if let Some(note) = &event.note {
        line(format!("  {note}"));
    }
    columns(
        &event.recorded,
        event.modelled.as_ref(),
        event.other.as_ref(),
        line,
    );
}

fn columns(
    recorded: &ScoreColumn,
    modelled: Option<&ScoreColumn>,
    other: Option<&ScoreColumn>,
    line: &mut impl FnMut(String),
) {
    line(format!(
        "  {:24} {:>12} {:>16} {:>12}",
        "", "recorded", "same, modelled", "with FILE"
    ));
    let values = |column: Option<&ScoreColumn>| column.map(ScoreColumn::lines);
    let (modelled, other) = (values(modelled), values(other));
    for (at, (name, value)) in recorded.lines().into_iter().enumerate() {
        let cell = |lines: &Option<[(&str, String); 10]>| {
            lines
                .as_ref()
                .map_or("-".to_owned(), |lines| lines[at].1.clone())
        };
        line(format!(
            "  {name:24} {value:>12} {:>16} {:>12}",
            cell(&modelled),
            cell(&other)
        ));
    }
}

/// Microseconds since 1970.
fn time(text: &str) -> Result<i64, String> {
    let day = || {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
    };
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.timestamp_micros())
        .ok()
        .or_else(day)
        .ok_or_else(|| format!("{text:?} is no time; write 2026-03-01 or 2026-03-01T12:00:00Z"))
}

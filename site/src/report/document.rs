//! A report as headings, paragraphs and tables, which a page and a print have alike.

use headframe_query_front::power_chart::PowerChart;

use super::utc::utc;
use super::{Evidence, Report};
use crate::moment::Moment;
use crate::request::{Level, SignalClass};
use crate::score::Quarter;

/// Seconds of the chart after the end of the event.
const AFTER_S: i64 = 60;

/// The report.
#[derive(Debug)]
pub(super) struct Document {
    pub title: String,
    pub blocks: Vec<Block>,
}

/// A part of it.
#[derive(Debug)]
pub(super) enum Block {
    Heading(&'static str),
    Paragraph(String),
    /// Names with values.
    Facts(Vec<(&'static str, String)>),
    Table(Table),
    /// A chart, and the words below it.
    Chart(PowerChart, String),
}

/// Rows under a head.
#[derive(Debug)]
pub(super) struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<String>>,
    /// What stands there without rows.
    pub empty: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub name: &'static str,
    pub is_number: bool,
}

const fn text(name: &'static str) -> Column {
    Column {
        name,
        is_number: false,
    }
}

const fn number(name: &'static str) -> Column {
    Column {
        name,
        is_number: true,
    }
}

pub(super) fn document(report: &Report) -> Document {
    let scored = &report.event.scored;
    let target = &scored.event;
    let mut blocks = vec![
        Block::Paragraph(format!(
            "At {} {} asked for at most {:.1} kW. The site drew {:.1} kW before; the meter was at \
             or below the target after {}, and the event was released at {}.",
            utc(target.asked_at.utc_us),
            scored.signal,
            target.target_kw,
            target.baseline_kw,
            seconds(scored.card.target_s),
            utc(target.released_at.utc_us),
        )),
        Block::Heading("Who asked"),
        Block::Facts(requester_rows(report)),
        Block::Heading("Scores"),
        Block::Facts(scores(report)),
        Block::Heading("Target and metered power"),
        Block::Chart(chart(report), words_of_chart(report)),
        Block::Heading("Times (UTC)"),
        Block::Table(times(report)),
        Block::Heading("Quarter hours between deadline and release"),
        Block::Table(quarter_hours(&report.quarters)),
        Block::Paragraph(
            "The factor of a quarter hour is (baseline - mean) / (baseline - target), no less than \
             0 and no more than 1; that of the event is their mean, weighted by the metered \
             seconds."
                .to_owned(),
        ),
        Block::Heading("Machines in the order in which they were stopped"),
        Block::Table(stopped_machines(report)),
        Block::Heading("Failed commands, and where they went on"),
        Block::Table(failures(report)),
        Block::Heading("Evidence"),
        Block::Facts(evidence(report)),
        Block::Paragraph(
            "The SHA-256 is of the steps' lines in the journal, from the first to the last, each \
             without its checksum and with a line feed at its end. \"headframe-site report EVENT \
             --evidence FILE\" writes them; sha256sum FILE gives the same."
                .to_owned(),
        ),
    ];
    for (at, note) in report.notes.iter().enumerate() {
        blocks.insert(1 + at, Block::Paragraph(note.clone()));
    }
    Document {
        title: format!("Curtailment {} of {}", report.event.id, report.site),
        blocks,
    }
}

fn seconds(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.1} s"))
}

fn with_unit(value: Option<f64>, digits: usize, unit: &str) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}{unit}"))
}

fn requester_rows(report: &Report) -> Vec<(&'static str, String)> {
    let scored = &report.event.scored;
    let level = match scored.level {
        3 => "3, a mandatory event",
        4 => "4, a contract or an allocation",
        5 => "5, a person's override",
        6 => "6, economy",
        0..=2 => "safety",
        _ => "-",
    };
    let class = report.class.map(|class| match class {
        SignalClass::Mandatory => "mandatory",
        SignalClass::Contract => "contract",
        SignalClass::Economic => "economic",
    });
    let request = report.request.as_ref();
    let asks = request.map(|request| match request.level {
        Level::Emergency => "emergency",
        Level::Curtail => "curtail",
        Level::Advisory => "advisory",
        Level::Normal => "normal",
    });
    let dash = || "-".to_owned();
    let quality = match scored.is_estimated {
        true => "ESTIMATED in part",
        false => "metered",
    };
    vec![
        ("Site", report.site.clone()),
        ("Design power", format!("{:.1} kW", report.design_kw)),
        ("Signal", scored.signal.clone()),
        ("Class", class.map_or_else(dash, str::to_owned)),
        ("Level at the arbiter", level.to_owned()),
        ("What it said", asks.map_or_else(dash, str::to_owned)),
        (
            "Its name of the event",
            request
                .and_then(|request| request.event.clone())
                .unwrap_or_else(dash),
        ),
        ("Quality of the power", quality.to_owned()),
    ]
}

fn scores(report: &Report) -> Vec<(&'static str, String)> {
    let (scored, card) = (&report.event.scored, &report.event.scored.card);
    let failed = card.failed_commands_pct / 100.0 * scored.commands as f64;
    vec![
        ("Target", format!("{:.1} kW", scored.event.target_kw)),
        ("Baseline", format!("{:.1} kW", scored.event.baseline_kw)),
        (
            "Performance factor",
            with_unit(card.performance_factor, 4, ""),
        ),
        (
            "Samples at or below the target",
            with_unit(card.compliance_pct, 2, " %"),
        ),
        ("Time to the target", seconds(card.target_s)),
        (
            "Above the target after the deadline",
            format!("{:.2} kWh", card.excess_kwh),
        ),
        (
            "Below the target (overshoot)",
            format!("{:.2} kWh", card.overshoot_kwh),
        ),
        (
            "Tracking error",
            with_unit(card.tracking_error_pct, 2, " %"),
        ),
        (
            "Rebound above the baseline",
            format!("{:.2} %", card.rebound_peak_pct),
        ),
        (
            "Steepest minute of the restore",
            format!("{:.1} kW", card.steepest_minute_kw),
        ),
        (
            "Restored to 95 % of the baseline after",
            seconds(card.restore_t95_s),
        ),
        (
            "Hashrate lost against the best choice of machines",
            format!("{:.1} TH/s·h", card.lost_ths_h),
        ),
        (
            "Commands",
            format!("{}, of which {failed:.0} failed", scored.commands),
        ),
        ("Warnings and emergencies", scored.notices.to_string()),
    ]
}

/// The moments of an event, where they are known.
fn event_times(report: &Report) -> Vec<(&'static str, Option<Moment>)> {
    let (target, card) = (&report.event.scored.event, &report.event.scored.card);
    let after = |from: Moment, seconds: Option<f64>| {
        seconds.map(|seconds| from.plus_ms((seconds * 1_000.0).round() as u64))
    };
    vec![
        ("asked", Some(target.asked_at)),
        ("detected", after(target.asked_at, card.detect_s)),
        ("first action", after(target.asked_at, card.first_command_s)),
        ("target reached", after(target.asked_at, card.target_s)),
        ("deadline", Some(target.deadline)),
        ("released", Some(target.released_at)),
        (
            "restored to 95 %",
            after(target.released_at, card.restore_t95_s),
        ),
        ("over", Some(report.ended)),
    ]
}

fn times(report: &Report) -> Table {
    let target = report.event.scored.event.asked_at;
    let row = |(name, at): (&str, Option<Moment>)| {
        let time = at.map_or("-".to_owned(), |at| utc(at.utc_us));
        let after = at.map(|at| at.ms_since(target) as f64 / 1_000.0);
        vec![name.to_owned(), time, with_unit(after, 1, "")]
    };
    Table {
        columns: vec![
            text("What"),
            text("When"),
            number("Seconds after the signal"),
        ],
        rows: event_times(report).into_iter().map(row).collect(),
        empty: "",
    }
}

fn quarter_hours(quarters: &[Quarter]) -> Table {
    let row = |one: &Quarter| {
        let under = 100.0 * one.under_target as f64 / one.samples.max(1) as f64;
        vec![
            utc(one.begins_us),
            utc(one.ends_us),
            format!("{:.1}", one.metered_s),
            format!("{:.3}", one.mean_kw),
            format!("{:.3}", one.highest_kw),
            format!("{under:.2}"),
            with_unit(one.factor, 4, ""),
        ]
    };
    Table {
        columns: vec![
            text("From"),
            text("To"),
            number("Metered s"),
            number("Mean kW"),
            number("Highest kW"),
            number("Under target %"),
            number("Factor"),
        ],
        rows: quarters.iter().map(row).collect(),
        empty: "None: it was released before its deadline, or nothing was metered.",
    }
}

fn stopped_machines(report: &Report) -> Table {
    let row = |(at, stop): (usize, &super::MachineStop)| {
        let took = stop
            .proven
            .map(|proven| proven.ms_since(stop.at) as f64 / 1_000.0);
        let outcome = match (&stop.trouble, took) {
            (Some(trouble), None) => trouble.clone(),
            (_, Some(took)) => format!("proven by power after {took:.1} s"),
            (None, None) => "not proven".to_owned(),
        };
        vec![
            (at + 1).to_string(),
            utc(stop.at.utc_us),
            stop.machine.clone(),
            with_unit(stop.efficiency_j_th, 1, ""),
            stop.paths.join(", then "),
            outcome,
        ]
    };
    Table {
        columns: vec![
            number("No."),
            text("When"),
            text("Machine"),
            number("J/TH"),
            text("By"),
            text("Outcome"),
        ],
        rows: report.stops.iter().enumerate().map(row).collect(),
        empty: "No machine was stopped.",
    }
}

fn failures(report: &Report) -> Table {
    let row = |one: &super::FailedCommand| {
        vec![
            utc(one.at.utc_us),
            one.command.to_string(),
            one.target.clone(),
            one.action.clone(),
            one.path.clone(),
            one.outcome.clone(),
        ]
    };
    Table {
        columns: vec![
            text("When"),
            number("Command"),
            text("For"),
            text("Action"),
            text("By"),
            text("Outcome"),
        ],
        rows: report.failures.iter().map(row).collect(),
        empty: "No command failed.",
    }
}

fn evidence(report: &Report) -> Vec<(&'static str, String)> {
    let Evidence {
        first_seq,
        last_seq,
        steps,
        journals,
        policies,
        plans,
        sha256,
        holes,
    } = &report.evidence;
    vec![
        ("Event", report.event.id.clone()),
        (
            "Steps of the journal",
            format!("{first_seq} to {last_seq}, {steps} steps"),
        ),
        ("Journal", journals.join(", ")),
        ("Holes", holes.len().to_string()),
        ("Policy", policies.join(", ")),
        ("Plan", plans.join(", ")),
        ("SHA-256", sha256.clone()),
    ]
}

fn chart(report: &Report) -> PowerChart {
    let second = |us: i64| us as f64 / 1e6;
    let target = &report.event.scored.event;
    // A wall clock that was set back does not end before it began.
    let times = report.metered.iter().map(|one| one.0);
    let first = times.clone().min().unwrap_or(target.asked_at.utc_us);
    let last = times.max().unwrap_or(report.ended.utc_us);
    let known = event_times(report).into_iter();
    let drawn = known.filter(|(name, _)| {
        matches!(
            *name,
            "asked" | "target reached" | "deadline" | "released" | "restored to 95 %"
        )
    });
    let mut moments: Vec<(f64, String)> = drawn
        .filter_map(|(name, at)| Some((second(at?.utc_us), name.to_owned())))
        .collect();
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    let to_us = last.max(report.ended.utc_us);
    moments.retain(|(at, _)| *at <= second(to_us));
    PowerChart {
        from_s: first.div_euclid(1_000_000),
        to_s: to_us.div_euclid(1_000_000) + AFTER_S,
        metered: report
            .metered
            .iter()
            .map(|(at, kw)| (second(*at), *kw))
            .collect(),
        target: report
            .targets
            .iter()
            .map(|(at, kw)| (second(*at), *kw))
            .collect(),
        baseline_kw: Some(target.baseline_kw),
        moments,
    }
}

fn words_of_chart(report: &Report) -> String {
    let target = &report.event.scored.event;
    format!(
        "Thick, orange: metered power. Thick, blue: the target, {:.1} kW at first. Thin: the \
         baseline, {:.1} kW, and the moments of the table below.",
        target.target_kw, target.baseline_kw
    )
}

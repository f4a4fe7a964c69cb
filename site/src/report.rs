//! The report of a curtailment, for whoever pays for it: what was asked, what was metered, and the
//! steps of the journal that prove it. As HTML, CSV and PDF.

mod collect;
mod csv;
mod document;
mod html;
mod pdf;
mod utc;

use serde::Serialize;
use thiserror::Error;

use crate::control::Site;
use crate::event_list::PlacedEvent;
use crate::journal::{Archive, JournalError};
use crate::moment::Moment;
use crate::recording::{Follower, of_period};
use crate::request::{Request, SignalClass};
use crate::score::Quarter;
use collect::Collector;

pub use html::CONTENT_SECURITY_POLICY;

/// A form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// A page that loads nothing.
    Html,
    /// A row for each quarter hour.
    Csv,
    /// For print.
    Pdf,
}

impl ReportFormat {
    /// The form that the end of a name says.
    pub fn from_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "html" => Some(Self::Html),
            "csv" => Some(Self::Csv),
            "pdf" => Some(Self::Pdf),
            _ => None,
        }
    }

    /// The end of a name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Pdf => "pdf",
        }
    }

    /// The type that HTTP names.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Pdf => "application/pdf",
        }
    }
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The steps of the event are gone.
    #[error("the journal no longer has the steps of {0}; the oldest are removed in time")]
    Gone(String),
    /// The chart cannot be drawn.
    #[error("{0}")]
    Drawing(String),
}

/// Everything that a report says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The site.
    pub site: String,
    /// The most that it draws.
    pub design_kw: f64,
    /// The event with its scores.
    pub event: PlacedEvent,
    /// What the signal is worth; none where no signal asked.
    pub class: Option<SignalClass>,
    /// What the signal asked, as it was read.
    pub request: Option<Request>,
    /// When its end was written.
    pub ended: Moment,
    /// The quarter hours between deadline and release.
    pub quarters: Vec<Quarter>,
    /// What the meter said over the whole of it: microseconds since 1970, kilowatts.
    pub metered: Vec<(i64, f64)>,
    /// What was asked for: from when on, and how much; none while nothing was.
    pub targets: Vec<(i64, Option<f64>)>,
    /// Machines in the order in which they were stopped.
    pub stops: Vec<MachineStop>,
    /// Commands that failed or took another way.
    pub failures: Vec<FailedCommand>,
    /// Where it can be checked.
    pub evidence: Evidence,
    /// What a reader must know beside it.
    pub notes: Vec<String>,
}

/// A machine that was stopped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineStop {
    /// When it was decided.
    pub at: Moment,
    /// Its name.
    pub machine: String,
    /// Joules per terahash, by the plan.
    pub efficiency_j_th: Option<f64>,
    /// The ways that were taken, in order.
    pub paths: Vec<String>,
    /// When its power showed it.
    pub proven: Option<Moment>,
    /// Why it was not proven.
    pub trouble: Option<String>,
}

/// A command that failed, or was given out again by another way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailedCommand {
    /// When that was known.
    pub at: Moment,
    /// Its number.
    pub command: u64,
    /// What it was for.
    pub target: String,
    /// What was wanted.
    pub action: String,
    /// Its way.
    pub path: String,
    /// Why it failed, or the command that took over.
    pub outcome: String,
}

/// Which steps of which journal say so.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// The first step.
    pub first_seq: u64,
    /// The last step.
    pub last_seq: u64,
    /// Steps from the first to the last.
    pub steps: u64,
    /// Journals that they are of, hexadecimal: one a start of the controller.
    pub journals: Vec<String>,
    /// Policies that were in force, by version.
    pub policies: Vec<String>,
    /// Plans of the site, by version.
    pub plans: Vec<String>,
    /// SHA-256 of the steps' lines, each with its end of line, hexadecimal.
    pub sha256: String,
    /// Steps that are missing between the first and the last.
    pub holes: Vec<String>,
}

/// Reads what a report says from the files of a journal. Each line of the evidence is handed on.
/// Blocks on the disk.
///
/// # Errors
///
/// The journal cannot be read, or has none of it any more.
pub fn collect(
    archive: &Archive,
    site: &Site,
    event: &PlacedEvent,
    mut line: impl FnMut(&str),
) -> Result<Report, ReportError> {
    let places = archive.places();
    let mut collector = Collector::new(site, event);
    let mut follower = Follower::default();
    for place in of_period(&places, collector.begins_us(), i64::MAX) {
        if collector.is_done() {
            break;
        }
        let mut content = archive.read(&place.name)?;
        content.snapshot = None;
        let taken: Result<(), std::convert::Infallible> = follower.follow(content, |piece| {
            collector.take(piece, &mut line);
            Ok(())
        });
        let Ok(()) = taken;
    }
    let gone = || ReportError::Gone(event.id.clone());
    collector.finish().ok_or_else(gone)
}

/// Writes a report.
///
/// # Errors
///
/// Its chart cannot be drawn.
pub fn write(report: &Report, format: ReportFormat) -> Result<Vec<u8>, ReportError> {
    Ok(match format {
        ReportFormat::Html => html::write(report)?.into_bytes(),
        ReportFormat::Csv => csv::write(report).into_bytes(),
        ReportFormat::Pdf => pdf::write(report)?,
    })
}

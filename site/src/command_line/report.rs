//! `report`: a curtailment on paper.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::running::Target;
use super::source::{JournalArgs, Source};
use crate::control::Site;
use crate::event_list;
use crate::journal::Archive;
use crate::report::{self, Report, ReportFormat};

/// What is reported.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The event's id, as /api/v1/site/events and the columns journal and event have it, or `last`.
    event: String,
    #[command(flatten)]
    journal: JournalArgs,
    /// The form of the report; that of the file's name, or HTML, when it is left out.
    #[arg(long, value_enum)]
    format: Option<ReportFormat>,
    /// The file that it is written into; the standard output when it is left out.
    #[arg(long)]
    out: Option<PathBuf>,
    /// A file for the lines of the journal that the report's SHA-256 is of.
    #[arg(long, conflicts_with = "url")]
    evidence: Option<PathBuf>,
}

impl ReportArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let suffix = self.out.as_ref().and_then(|out| out.extension()?.to_str());
        let by_name = suffix.and_then(ReportFormat::from_suffix);
        let format = self.format.or(by_name).unwrap_or(ReportFormat::Html);
        let (source, versions) = self.journal.open().await?;
        let bytes = match &source {
            Source::Running(target) => self.fetch(target, format).await?,
            Source::Folder(archive) => {
                let report = self.collect(archive, versions.current())?;
                report::write(&report, format)?
            }
        };
        match &self.out {
            Some(out) => {
                std::fs::write(out, &bytes).with_context(|| out.display().to_string())?;
                eprintln!("{}: {} bytes", out.display(), bytes.len());
            }
            None => std::io::stdout().write_all(&bytes)?,
        }
        Ok(())
    }

    fn collect(&self, archive: &Archive, site: &Site) -> anyhow::Result<Report> {
        let id = (self.event != "last").then_some(self.event.as_str());
        let found = event_list::search(archive, id)?;
        let event = found.with_context(|| match id {
            Some(id) => format!("the journal has no scored event {id}; `last` is the newest"),
            None => "the journal has no scored event yet".to_owned(),
        })?;
        let Some(path) = &self.evidence else {
            return Ok(report::collect(archive, site, &event, |_| {})?);
        };
        let named = || path.display().to_string();
        let mut file = BufWriter::new(File::create(path).with_context(named)?);
        let mut written = Ok(());
        let report = report::collect(archive, site, &event, |line| {
            if written.is_ok() {
                written = writeln!(file, "{line}");
            }
        })?;
        written.and_then(|()| file.flush()).with_context(named)?;
        Ok(report)
    }

    async fn fetch(&self, target: &Target, format: ReportFormat) -> anyhow::Result<Vec<u8>> {
        let id = match self.event.as_str() {
            "last" => {
                let path = "/api/v1/site/events?limit=1";
                let said: Value = target.ask(Method::GET, path, None).await?;
                let id = said["events"][0]["id"].as_str().map(str::to_owned);
                id.context("the controller has no scored event yet")?
            }
            id => {
                event_list::parse_id(id).with_context(|| format!("{id:?} is no id of an event"))?;
                id.to_owned()
            }
        };
        let path = format!("/api/v1/site/events/{id}/report.{}", format.suffix());
        target.bytes(Method::GET, &path, None).await
    }
}

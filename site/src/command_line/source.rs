//! Where a command reads a journal from: the folder of a controller, or one that runs.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use reqwest::Method;
use serde::Deserialize;

use super::ConfigFile;
use super::running::Target;
use crate::control::{Policy, Site, SitePlan};
use crate::journal::{Archive, Content, SegmentPlace};
use crate::recording;
use crate::versions::Versions;

/// Where the journal is.
#[derive(Debug, Args)]
pub struct JournalArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Ask the controller that runs there instead of reading the data_dir of the configuration.
    #[arg(long)]
    url: Option<String>,
    /// With --url: a file, of mode 0600, with the token; HEADFRAME_SITE_TOKEN goes before it.
    #[arg(long, requires = "url")]
    token_file: Option<PathBuf>,
}

/// A journal that can be read.
#[derive(Debug)]
pub(super) enum Source {
    /// Its files.
    Folder(Archive),
    /// The controller that writes it.
    Running(Target),
}

#[derive(Deserialize)]
struct Answer<T> {
    #[serde(alias = "policy", alias = "plan", alias = "segments")]
    value: T,
}

impl JournalArgs {
    /// Opens it: the journal, the site as it is configured now, and the folder of older versions.
    ///
    /// # Errors
    ///
    /// There is no configuration, no journal, or no controller.
    pub(super) async fn open(&self) -> anyhow::Result<(Source, Versions)> {
        let Some(url) = &self.url else {
            let config = self.config.load()?;
            let site = config.check(false)?;
            let archive = recording::open(&config.data_dir)?;
            let versions = Versions::new(site, Some(&config.data_dir));
            return Ok((Source::Folder(archive), versions));
        };
        let target = Target {
            url: url.clone(),
            token_file: self.token_file.clone(),
        };
        let policy: Policy = get(&target, "/api/v1/site/policy").await?;
        let plan: SitePlan = get(&target, "/api/v1/site/plan").await?;
        let site = Site::new(policy, plan).map_err(|bad| {
            let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("the controller at {url}: {}", bad.join("\n"))
        })?;
        Ok((Source::Running(target), Versions::new(site, None)))
    }
}

async fn get<T: serde::de::DeserializeOwned>(target: &Target, path: &str) -> anyhow::Result<T> {
    let said = target.ask(Method::GET, path, None).await?;
    let answer: Answer<T> = serde_json::from_value(said)
        .with_context(|| format!("{path} of {} is of another version", target.url))?;
    Ok(answer.value)
}

impl Source {
    /// Its segments, the oldest first.
    pub(super) async fn places(&self) -> anyhow::Result<Vec<SegmentPlace>> {
        match self {
            Self::Folder(archive) => Ok(archive.places()),
            Self::Running(target) => get(target, "/api/v1/site/journal/segments").await,
        }
    }

    /// One of them.
    pub(super) async fn read(&self, place: &SegmentPlace) -> anyhow::Result<Content> {
        match self {
            Self::Folder(archive) => Ok(archive.read(&place.name)?),
            Self::Running(target) => {
                let path = format!("/api/v1/site/journal/segments/{}", place.name);
                let bytes = target.bytes(Method::GET, &path, None).await?;
                Ok(Archive::parse(&place.name, &bytes)?)
            }
        }
    }
}

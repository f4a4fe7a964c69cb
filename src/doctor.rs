//! `headframe doctor`: looks at everything a pool and its pipelines need before they are started,
//! and says what to do.
//!
//! It changes nothing and leaves nothing behind. One check a file; a check that has no business on
//! this machine says nothing.

use std::path::PathBuf;

use anyhow::bail;
use async_trait::async_trait;
use clap::{Args, ValueEnum};
use headframe_stratum::StratumConfig;
use serde::Serialize;

use crate::config::{Config, Role};

mod clock;
mod configuration;
mod daemon;
mod data_folder;
mod files;
mod huge_pages;
mod memory;
mod nats;
mod ports;
mod randomx;
mod wallet;

/// Every check, in the order in which they are told.
const ALL: &[&dyn Check] = &[
    &configuration::Configuration,
    &ports::Ports,
    &files::Files,
    &data_folder::DataFolder,
    &clock::Clock,
    &memory::Memory,
    &huge_pages::HugePages,
    &randomx::RandomX,
    &nats::NatsServer,
    &wallet::Wallet,
    &daemon::Daemon,
];

/// What to look at, and how to tell.
#[derive(Debug, Clone, Args)]
pub struct Doctor {
    /// The configuration, in TOML; without one only the machine is looked at.
    #[arg(long)]
    config: Option<PathBuf>,
    /// How findings are told.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    format: Output,
}

/// How findings are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line each for people.
    Text,
    /// One array for programs.
    Json,
}

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, but not as well as it could, or not for long.
    Warn,
    /// It will not work.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

impl Finding {
    fn ok(found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Ok,
            found: found.into(),
            todo: None,
        }
    }

    fn warn(found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            found: found.into(),
            todo: Some(todo.into()),
        }
    }

    fn fail(found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            found: found.into(),
            todo: Some(todo.into()),
        }
    }
}

/// One thing to look at.
#[async_trait]
trait Check: Sync {
    /// What is looked at, in a word or two.
    fn name(&self) -> &'static str;
    /// Looks. No finding means that it does not matter here.
    async fn look(&self, patient: &Patient) -> Vec<Finding>;
}

/// What is looked at: a configuration, or what is wrong with it, and the machine itself.
struct Patient {
    config: Config,
    /// The file, and why it cannot be used.
    file: Option<(PathBuf, Option<String>)>,
}

impl Patient {
    fn new(file: Option<PathBuf>) -> Self {
        let Some(file) = file else {
            return Self {
                config: Config::default(),
                file: None,
            };
        };
        match Config::load(Some(&file)) {
            Ok(config) => Self {
                config,
                file: Some((file, None)),
            },
            // What could be read of it would not be what a process starts with, so only the machine
            // is left to look at.
            Err(error) => Self {
                config: Config::default(),
                file: Some((file, Some(format!("{error:#}")))),
            },
        }
    }

    /// Whether there is a configuration that a process would start with.
    fn is_configured(&self) -> bool {
        matches!(self.file, Some((_, None)))
    }

    fn runs(&self, role: Role) -> bool {
        self.is_configured() && self.config.roles.contains(&role)
    }

    /// The pool's section, when a pool is to run.
    fn pool(&self) -> Option<&StratumConfig> {
        self.runs(Role::Stratum).then_some(&self.config.stratum)
    }
}

#[derive(Serialize)]
struct Told<'a> {
    check: &'static str,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// Looks and tells; an error when something will not work.
pub async fn run(doctor: Doctor) -> anyhow::Result<()> {
    let patient = Patient::new(doctor.config);
    let mut findings = Vec::new();
    for check in ALL {
        for finding in check.look(&patient).await {
            if doctor.format == Output::Text {
                print!("{}", line(check.name(), &finding));
            }
            findings.push((check.name(), finding));
        }
    }
    if doctor.format == Output::Json {
        let told: Vec<Told> = findings
            .iter()
            .map(|(check, finding)| Told { check, finding })
            .collect();
        println!("{}", serde_json::to_string_pretty(&told)?);
    }
    let count = |verdict| {
        findings
            .iter()
            .filter(|(_, finding)| finding.verdict == verdict)
            .count()
    };
    match (count(Verdict::Fail), count(Verdict::Warn)) {
        (0, 0) => Ok(()),
        (0, warnings) => {
            eprintln!("{warnings} of {} findings could be better", findings.len());
            Ok(())
        }
        (failures, _) => bail!(
            "{failures} of {} findings will keep it from working",
            findings.len()
        ),
    }
}

fn line(check: &str, finding: &Finding) -> String {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let todo = finding
        .todo
        .as_ref()
        .map(|todo| format!("      {:<14} → {todo}\n", ""))
        .unwrap_or_default();
    format!("{verdict:<5} {check:<14} {}\n{todo}", finding.found)
}

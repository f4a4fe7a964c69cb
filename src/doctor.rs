//! `headframe doctor`: looks at everything a pool and its pipelines need before they are started,
//! and says what to do.
//!
//! It changes nothing and leaves nothing behind. A check is one file in this folder and one line in
//! [`ALL`]; a check that does not matter on this machine has no findings.

use std::path::PathBuf;

use anyhow::bail;
use async_trait::async_trait;
use clap::ValueEnum;
use headframe_stratum::StratumConfig;
use serde::Serialize;

use crate::config::{Config, Role};

mod certificates;
mod clock;
mod configuration;
mod daemon;
mod data_folder;
mod files;
mod handover;
mod huge_pages;
mod memory;
mod monerod;
mod nats;
mod ports;
mod randomx;
mod wallet;

/// Every check, in the order in which they are printed.
const ALL: &[&dyn Check] = &[
    &configuration::Configuration,
    &ports::Ports,
    &handover::Handover,
    &files::Files,
    &data_folder::DataFolder,
    &certificates::Certificates,
    &clock::Clock,
    &memory::Memory,
    &huge_pages::HugePages,
    &randomx::RandomX,
    &nats::NatsServer,
    &wallet::Wallet,
    &daemon::Daemon,
];

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
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
    /// What is looked at, in a word or two; findings are printed with it.
    fn name(&self) -> &'static str;
    /// Runs the check. No finding means that it does not matter on this machine.
    async fn run(&self, context: &CheckContext) -> Vec<Finding>;
}

/// What checks look at: a configuration, or what is wrong with it, and the machine itself.
struct CheckContext {
    config: Config,
    /// The file, and why it cannot be used.
    file: Option<(PathBuf, Option<String>)>,
}

impl CheckContext {
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
        self.is_configured() && self.config.runs(role)
    }

    /// The pool's section, when a pool is to run.
    fn pool(&self) -> Option<&StratumConfig> {
        self.runs(Role::Stratum).then_some(&self.config.stratum)
    }
}

/// A finding as programs read it.
#[derive(Serialize)]
struct NamedFinding<'a> {
    check: &'static str,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// Runs every check and prints what it found; an error when something will not work.
pub async fn run(config: Option<PathBuf>, format: Format, only: &[String]) -> anyhow::Result<()> {
    let checks = selected(only)?;
    let context = CheckContext::new(config);
    let mut findings = Vec::new();
    for check in checks {
        for finding in check.run(&context).await {
            if format == Format::Text {
                print!("{}", line(check.name(), &finding));
            }
            findings.push((check.name(), finding));
        }
    }
    if format == Format::Json {
        let named: Vec<NamedFinding> = findings
            .iter()
            .map(|(check, finding)| NamedFinding { check, finding })
            .collect();
        println!("{}", serde_json::to_string_pretty(&named)?);
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

/// The checks of these names, or all of them when none is named.
fn selected(names: &[String]) -> anyhow::Result<Vec<&'static dyn Check>> {
    let exists = |name: &String| ALL.iter().any(|check| check.name() == name);
    if let Some(unknown) = names.iter().find(|name| !exists(name)) {
        let known: Vec<&str> = ALL.iter().map(|check| check.name()).collect();
        bail!(
            "there is no check {unknown:?}; there are {}",
            known.join(", ")
        );
    }
    let wanted =
        |check: &dyn Check| names.is_empty() || names.iter().any(|name| name == check.name());
    Ok(ALL.iter().copied().filter(|check| wanted(*check)).collect())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own_that_selects_it() {
        let names: BTreeSet<&str> = ALL.iter().map(|check| check.name()).collect();
        assert_eq!(
            names.len(),
            ALL.len(),
            "two checks have one name: {names:?}"
        );
        for name in names {
            // Findings are printed in columns.
            assert!(!name.is_empty() && name.len() <= 14, "{name:?}");
            let found = selected(&[name.to_owned()]).map(|checks| checks.len());
            assert!(found.is_ok_and(|count| count == 1), "{name}");
        }
        assert!(selected(&[]).is_ok_and(|checks| checks.len() == ALL.len()));
        let refused = selected(&["colour".to_owned()])
            .err()
            .map(|error| error.to_string());
        assert!(refused.is_some_and(|text| text.contains("colour") && text.contains("ports")));
    }
}

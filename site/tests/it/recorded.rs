//! A virtual site whose controller writes a journal, in virtual time, and the program that reads
//! it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use headframe_site::control::policy::SignalRule;
use headframe_site::control::power::PowerRegion;
use headframe_site::control::{Policy, Site};
use headframe_site::entry::{Memory, StepEntry};
use headframe_site::journal::{Archive, Journal, JournalSettings};
use headframe_site::legacy_config::without_nulls;
use headframe_site::plant::PlantConfig;
use headframe_site::request::Level;
use serde_json::json;

use crate::fixture::until;
use crate::run::Run;

/// Steps of a segment: a quarter of an hour.
const SEGMENT: u64 = 180;

/// The controller with its journal.
pub struct RecordedSite {
    pub run: Run,
    pub site: Arc<Site>,
    pub folder: PathBuf,
    memory: Memory,
    journal: Journal,
    /// Of the start before, which the next step gives up.
    given_up: Vec<headframe_site::command_log::CommandProgress>,
    last_seq: u64,
}

fn open(folder: &Path, run: &Run) -> Journal {
    let settings = JournalSettings {
        entries_in_segment: SEGMENT,
        // Virtual time does not wait for the disk.
        patience: Duration::ZERO,
        ..JournalSettings::default()
    };
    let seconds = u64::try_from(run.now.utc_us / 1_000_000).unwrap();
    let folder = folder.join("journal");
    let opened = Journal::open::<Memory, StepEntry>(&folder, seconds << 16, settings);
    opened.unwrap().0
}

impl RecordedSite {
    /// A site at the start of its controller. The folder gets the configuration, too.
    pub fn new(folder: &Path, config: PlantConfig, policy: Policy) -> Self {
        let run = Run::new(config, policy);
        let plan = &run.site.plan;
        // What the plan awaits is read from devices of the same names, which are never polled here.
        let device = |name: &String| {
            json!({"kind": "roomalert", "name": name, "site": plan.name,
                "address": "http://127.0.0.1:9", "shape": "flat"})
        };
        let air = |name: &String| json!({"reading": name, "kind": "container"});
        let rules = run.site.policy.signals.sources.iter();
        let push = |name: &str, rule: &SignalRule| {
            json!({"kind": "push", "name": name,
                "class": rule.class})
        };
        let signal = |(name, rule): (&String, &SignalRule)| push(name, rule);
        let sensors = plan.container_sensors.iter();
        let text = json!({"data_dir": folder, "policy": run.site.policy, "plan": plan,
            "source": sensors.clone().map(device).collect::<Vec<_>>(),
            "readings": {"temperature": sensors.map(air).collect::<Vec<_>>()},
            "signal": rules.map(signal).collect::<Vec<_>>()});
        let text = toml::to_string(&without_nulls(text)).unwrap();
        std::fs::write(folder.join("site.toml"), text).unwrap();
        headframe_site::versions::keep(folder, &run.site).unwrap();
        Self {
            site: run.site.clone(),
            memory: Memory::new(&run.site, 7, run.now),
            journal: open(folder, &run),
            folder: folder.to_owned(),
            given_up: Vec::new(),
            last_seq: 0,
            run,
        }
    }

    /// One step of five seconds, whose entry is changed before it is written.
    pub async fn step_with(&mut self, change: impl FnOnce(&mut StepEntry)) {
        self.run.now = self.run.now.plus_ms(5_000);
        self.run.plant.advance(self.run.now);
        let observation = self.run.observe();
        let before = self.memory.clone();
        let stepped = self.memory.step(&self.site, observation, self.run.now);
        let mut entry = stepped.entry;
        let mut progress = std::mem::take(&mut self.given_up);
        progress.append(&mut entry.progress);
        entry.progress = progress;
        change(&mut entry);
        self.last_seq = self.journal.append(&before, &entry).await.0;
        self.run.plant.apply(&stepped.commands);
    }

    pub async fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds / 5 {
            self.step_with(|_| {}).await;
        }
    }

    pub async fn until(&mut self, region: PowerRegion) {
        for _ in 0..1_000 {
            self.step_with(|_| {}).await;
            if self.memory.state.power.region == region {
                return;
            }
        }
        panic!("never {region:?}");
    }

    /// A curtailment from the signal until everything runs again.
    pub async fn event(&mut self, kw: f64, seconds: u64) {
        self.run.ask(Level::Curtail, Some(kw));
        self.seconds(seconds).await;
        self.run.ask(Level::Normal, None);
        self.until(PowerRegion::Running).await;
        self.seconds(120).await;
    }

    /// The controller is started again, after a minute.
    pub async fn restart(&mut self) {
        self.flush().await;
        self.run.now = self.run.now.plus_ms(60_000);
        let state = self.memory.state.clone();
        self.memory.state = state.after_restart(&self.site, self.run.now);
        self.given_up = self.memory.commands.restart();
        self.journal = open(&self.folder, &self.run);
    }

    /// Waits until everything is on the disk.
    pub async fn flush(&self) {
        let on_disk = || {
            let archive = Archive::open(&self.folder.join("journal")).ok()?;
            let last = archive.places().pop()?;
            Some(archive.read(&last.name).ok()?.entries.last()?.seq)
        };
        until("the journal is written", || async {
            on_disk() == Some(self.last_seq)
        })
        .await;
    }

    /// Runs the program with the configuration of the folder.
    pub fn program(&self, arguments: &[&str]) -> Output {
        program(&self.folder.join("site.toml"), arguments)
    }
}

/// Runs the program with a configuration.
pub fn program(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headframe-site"))
        .args(arguments)
        .env("HEADFRAME_SITE_CONFIG", config)
        .env_remove("HEADFRAME_SITE_TOKEN")
        .output()
        .unwrap()
}

/// What a program printed, which must have ended well.
pub fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{said}\n{text}");
    text
}

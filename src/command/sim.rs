//! `headframe sim`: a simulated mine, to try a configuration on before it meets a real one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use headframe_ingest::simulator::{Scenario, Simulator, VirtualRun};
use headframe_ingest::source::SourceConfig;
use headframe_site::simulated_site::site_config;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Command;
use super::api_client::ApiClient;
use super::duration::duration;
use crate::service::stop_signal;

mod virtual_time;

/// Pause between two looks at what devices answered.
const ANSWERS_EVERY: Duration = Duration::from_millis(100);
const MOST_SPEED: f64 = 1_000.0;

/// Simulate a mine: serve its devices on loopback, or write what they would have measured.
#[derive(Debug, clap::Parser)]
#[command(name = "sim")]
pub struct Sim {
    /// The scenario, in TOML; deploy/scenarios has examples.
    #[arg(long)]
    scenario: PathBuf,
    /// Print a configuration whose sources poll the simulated devices, and go on serving them.
    #[arg(long)]
    print_config: bool,
    /// Write that configuration into this file, once every device is served.
    #[arg(long)]
    config_file: Option<PathBuf>,
    /// Write a configuration of the site controller that watches and switches the simulated
    /// devices into this file: for `headframe site run`.
    #[arg(long)]
    site_config_file: Option<PathBuf>,
    /// Append what each device answered to this file, a line of JSON each.
    #[arg(long)]
    answers: Option<PathBuf>,
    /// Simulated seconds that pass in one second.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Stop after this long, as 90s or 5m.
    #[arg(long = "for", value_parser = duration)]
    for_: Option<Duration>,
    /// Serve nothing: play this long of virtual time, as 168h, as fast as possible, and write the
    /// rows of it.
    #[arg(long = "virtual", value_parser = duration)]
    virtual_: Option<Duration>,
    /// In virtual time: the folder for the rows, a file of NDJSON for each stream.
    #[arg(long, default_value = "headframe-sim")]
    out: PathBuf,
    /// In virtual time: send the rows to the server at --url instead.
    #[arg(long)]
    send: bool,
    #[command(flatten)]
    client: ApiClient,
}

/// What is printed: a configuration that works as it is.
#[derive(Serialize)]
struct Printed<'a> {
    roles: [&'a str; 4],
    source: &'a [SourceConfig],
}

impl Command for Sim {
    async fn run(self) -> anyhow::Result<()> {
        let shown = self.scenario.display();
        let text = std::fs::read_to_string(&self.scenario)
            .with_context(|| format!("cannot read the scenario {shown}"))?;
        let scenario: Scenario = toml::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))
            .with_context(|| format!("{shown} is no scenario"))?;
        ensure!(
            self.speed > 0.0 && self.speed <= MOST_SPEED,
            "--speed is {}; it must be more than 0 and at most {MOST_SPEED}",
            self.speed
        );
        match self.virtual_ {
            Some(length) => self.play(scenario, length).await,
            None => self.serve(scenario).await,
        }
    }
}

impl Sim {
    async fn play(&self, scenario: Scenario, length: Duration) -> anyhow::Result<()> {
        let run = VirtualRun::new(scenario, length.as_secs_f64())?;
        let counts = match self.send {
            true => virtual_time::send(run, &self.client).await?,
            false => virtual_time::write(run, &self.out)?,
        };
        for (stream, rows) in counts {
            println!("{stream} {rows}");
        }
        Ok(())
    }

    async fn serve(&self, scenario: Scenario) -> anyhow::Result<()> {
        let simulator = Simulator::start(scenario.clone(), self.speed).await?;
        let printed = Printed {
            roles: ["pipelines", "maintenance", "query", "sources"],
            source: simulator.sources(),
        };
        let config = toml::to_string_pretty(&toml::Value::try_from(printed)?)?;
        if self.print_config {
            let mut out = std::io::stdout().lock();
            out.write_all(config.as_bytes())?;
            out.flush()?;
        }
        if let Some(file) = &self.config_file {
            write_whole(file, &config)?;
        }
        if let Some(file) = &self.site_config_file {
            let config = site_config(&scenario, &simulator)?;
            let config = toml::to_string_pretty(&toml::Value::try_from(config)?)?;
            write_whole(file, &config)?;
        }
        eprintln!(
            "{} devices are served on loopback",
            simulator.sources().len()
        );
        let stop = CancellationToken::new();
        let ended = async {
            match self.for_ {
                Some(length) => tokio::time::sleep(length).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stop_signal() => {}
            () = ended => {}
            written = self.write_answers(&simulator) => written?,
        }
        stop.cancel();
        simulator.run(stop).await;
        Ok(())
    }

    /// Appends what was answered until it is dropped.
    async fn write_answers(&self, simulator: &Simulator) -> anyhow::Result<()> {
        let Some(path) = &self.answers else {
            return std::future::pending().await;
        };
        let shown = path.display();
        let cannot = || format!("cannot write the answers to {shown}");
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(cannot)?;
        loop {
            tokio::time::sleep(ANSWERS_EVERY).await;
            let mut lines = Vec::new();
            for answer in simulator.take_answers() {
                serde_json::to_writer(&mut lines, &answer)?;
                lines.push(b'\n');
            }
            file.write_all(&lines).with_context(cannot)?;
        }
    }
}

/// Writes a file that nobody sees before it is whole.
fn write_whole(file: &Path, text: &str) -> anyhow::Result<()> {
    let shown = file.display();
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".part");
    std::fs::write(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, file))
        .with_context(|| format!("cannot write {shown}"))
}

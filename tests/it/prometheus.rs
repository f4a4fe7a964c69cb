//! A Prometheus of the test's own, which scrapes a server as `deploy/prometheus.yml` says.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use headframe_query_engine::pool_queries::span::now_s;
use reqwest::Url;
use serde_json::Value;

use crate::server::{free_port, http, until};

/// The shipped configuration, from the root of the repository.
const CONFIG: &str = "deploy/prometheus.yml";

/// A running Prometheus.
pub struct Prometheus {
    child: Child,
    url: String,
    log: PathBuf,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of Debian's package, or one of the machine's.
fn program(name: &str) -> Command {
    let unpacked = root().join(".parts/bin").join(name);
    match unpacked.is_file() {
        true => Command::new(unpacked),
        false => Command::new(name),
    }
}

impl Prometheus {
    /// Starts it with the shipped configuration, of which the address is this one and the interval
    /// a second. It looks for its targets every five seconds.
    pub fn start(folder: &Path, target: &str) -> Self {
        let shipped = std::fs::read_to_string(root().join(CONFIG)).unwrap();
        let config = shipped
            .replace("127.0.0.1:8080", target)
            .replace("scrape_interval: 10s", "scrape_interval: 1s");
        let is_changed = config.contains(target) && config.contains("scrape_interval: 1s");
        assert!(is_changed, "{config}");
        let (file, log) = (folder.join("prometheus.yml"), folder.join("prometheus.log"));
        std::fs::write(&file, config).unwrap();
        let port = free_port();
        let child = program("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("prometheus").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("prometheus; deploy/setup.sh test brings it");
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            log,
        }
    }

    /// The series that an expression has now, once there are some, of which a query over the last
    /// minute finds some too. Panics where Prometheus does not understand the expression.
    pub async fn series(&mut self, expression: &str) -> Vec<Value> {
        until(expression, async || {
            let now = now_s();
            let (start, end) = ((now - 60.0).to_string(), now.to_string());
            let query = ("query", expression);
            let (start, end) = (start.as_str(), end.as_str());
            let span = [query, ("start", start), ("end", end), ("step", "5")];
            self.ask("query_range", &span).await?;
            self.ask("query", &[query]).await
        })
        .await
    }

    async fn ask(&mut self, path: &str, params: &[(&str, &str)]) -> Result<Vec<Value>, String> {
        if let Some(status) = self.child.try_wait().unwrap() {
            let log = std::fs::read_to_string(&self.log).unwrap();
            panic!("prometheus has ended with {status}: {log}");
        }
        let url = format!("{}/api/v1/{path}", self.url);
        let request = http().get(Url::parse_with_params(&url, params).unwrap());
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        // Until it has read its storage it answers in words.
        let answer: Value = serde_json::from_str(&text).map_err(|_| text)?;
        assert_ne!(answer["errorType"], "bad_data", "{answer}");
        match answer["data"]["result"].as_array() {
            Some(series) if !series.is_empty() => Ok(series.clone()),
            _ => Err(answer.to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn promtool_takes_the_configuration_that_is_shipped() {
    let mut promtool = program("promtool");
    let output = promtool
        .args(["check", "config"])
        .arg(root().join(CONFIG))
        .output()
        .expect("promtool; deploy/setup.sh test brings it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

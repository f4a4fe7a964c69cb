//! Orders to a running controller, over its routes.

use clap::Args;
use serde_json::{Value, json};

use super::print_text;
use super::running::Target;
use crate::shown_text::{plain, plain_lines};

/// An emergency stop.
#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    target: Target,
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
    /// Who.
    #[arg(long, env = "USER")]
    by: Option<String>,
}

impl Stop {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let body = json!({"reason": self.reason, "by": self.by});
        self.target.order("/api/v1/site/emergency-stop", body).await
    }
}

/// A reset.
#[derive(Debug, Args)]
pub struct Reset {
    #[command(flatten)]
    target: Target,
    /// Why it is safe.
    #[arg(long)]
    reason: String,
    /// Who.
    #[arg(long, env = "USER")]
    by: Option<String>,
}

impl Reset {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let body = json!({"reason": self.reason, "by": self.by});
        self.target.order("/api/v1/site/reset", body).await
    }
}

/// An override.
#[derive(Debug, Args)]
pub struct Override {
    #[command(flatten)]
    target: Target,
    /// At most so many kilowatts.
    #[arg(long)]
    cap_kw: f64,
    /// For so many seconds.
    #[arg(long)]
    for_s: Option<u64>,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Who.
    #[arg(long, env = "USER")]
    by: Option<String>,
}

impl Override {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let body = json!({"cap_kw": self.cap_kw, "for_s": self.for_s, "reason": self.reason,
            "by": self.by});
        self.target.order("/api/v1/site/override", body).await
    }
}

/// What it does.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    target: Target,
    /// Everything, as JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let said = self
            .target
            .ask(reqwest::Method::GET, "/api/v1/site", None)
            .await?;
        if self.json {
            print_text(&plain_lines(&format!("{said:#}\n")));
            return Ok(());
        }
        let text = |name: &str| plain(said[name].as_str().unwrap_or("-"));
        let number = |value: &Value| {
            value
                .as_f64()
                .map_or("-".to_owned(), |value| format!("{value:.1}"))
        };
        print_text(&format!(
            "{}: {}\nstate {}, {} of at most {} kW, {} °C, {} fans on, {} machines run, {} are \
             stopped\n",
            text("site"),
            text("reason"),
            text("state"),
            number(&said["measured_kw"]),
            number(&said["target_kw"]),
            number(&said["temperature_c"]["value"]),
            plain(&said["fans_on"].to_string()),
            plain(&said["machines"]["running"].to_string()),
            plain(&said["machines"]["stopped"].to_string()),
        ));
        Ok(())
    }
}

//! Orders to a running controller, over its routes.

use anyhow::Context as _;
use clap::Args;
use headframe_ingest::source::read_secret;
use serde_json::{Value, json};

/// Where the controller is, and the token of whoever gives orders.
#[derive(Debug, Args)]
struct Target {
    /// The controller.
    #[arg(
        long,
        default_value = "http://127.0.0.1:5000",
        env = "HEADFRAME_SITE_URL"
    )]
    url: String,
    /// A file, of mode 0600, with the token; HEADFRAME_SITE_TOKEN goes before it.
    #[arg(long)]
    token_file: Option<std::path::PathBuf>,
}

impl Target {
    async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let env = "HEADFRAME_SITE_TOKEN";
        let env = std::env::var_os(env).is_some().then_some(env);
        let file = self.token_file.as_deref().filter(|_| env.is_none());
        let token = read_secret(env, file).map_err(anyhow::Error::msg)?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let mut request = client.request(method, &url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("the controller at {} does not answer", self.url))?;
        let is_well = answer.status().is_success();
        let text = answer.text().await?;
        let said: Value = serde_json::from_str(&text)
            .with_context(|| format!("{url} answers no JSON: {}", text.escape_debug()))?;
        if is_well {
            return Ok(said);
        }
        let part = |name: &str| said["error"][name].as_str().unwrap_or_default().to_owned();
        anyhow::bail!("{}; {}", part("message"), part("hint"))
    }

    async fn order(&self, path: &str, body: Value) -> anyhow::Result<()> {
        let said = self.ask(reqwest::Method::POST, path, Some(body)).await?;
        println!("{}", said["reason"].as_str().unwrap_or("done"));
        Ok(())
    }
}

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
            println!("{}", serde_json::to_string_pretty(&said)?);
            return Ok(());
        }
        let text = |name: &str| said[name].as_str().unwrap_or("-").to_owned();
        let number = |value: &Value| {
            value
                .as_f64()
                .map_or("-".to_owned(), |value| format!("{value:.1}"))
        };
        println!("{}: {}", text("site"), text("reason"));
        println!(
            "state {}, {} of at most {} kW, {} °C, {} fans on, {} machines run, {} are stopped",
            text("state"),
            number(&said["measured_kw"]),
            number(&said["target_kw"]),
            number(&said["temperature_c"]["value"]),
            said["fans_on"],
            said["machines"]["running"],
            said["machines"]["stopped"],
        );
        Ok(())
    }
}

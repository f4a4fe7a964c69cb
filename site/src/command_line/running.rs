//! A controller that runs, over its routes.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use headframe_ingest::source::read_secret;
use serde_json::Value;

use super::print_text;
use crate::config::named;
use crate::shown_text::plain;

/// How long the controller may take to be reached, and then for the next part of an answer: whoever
/// stops a site must know soon that nobody hears it.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that an answer may have.
const MOST_BYTES: usize = 512 * 1024 * 1024;

/// Where the controller is, and the token of whoever gives orders.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The controller.
    #[arg(
        long,
        default_value = "http://127.0.0.1:5000",
        env = "HEADFRAME_SITE_URL"
    )]
    pub(super) url: String,
    /// A file, of mode 0600, with the token; HEADFRAME_SITE_TOKEN goes before it.
    #[arg(long)]
    pub(super) token_file: Option<std::path::PathBuf>,
}

impl Target {
    /// Asks, and gives the answer.
    ///
    /// # Errors
    ///
    /// It does not answer, or the answer is an error, which is what it says.
    pub(super) async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let bytes = self.bytes(method, path, body).await?;
        let text = String::from_utf8_lossy(&bytes);
        serde_json::from_str(&text)
            .with_context(|| format!("{path} answers no JSON: {}", shortened(&text)))
    }

    /// The same for an answer that is no JSON.
    ///
    /// # Errors
    ///
    /// The same, and an answer that is too long.
    pub(super) async fn bytes(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Vec<u8>> {
        let env = "HEADFRAME_SITE_TOKEN";
        let env = std::env::var_os(env).is_some().then_some(env);
        let file = self.token_file.as_deref().filter(|_| env.is_none());
        let token = read_secret(env, file);
        let token = token.map_err(|reason| anyhow::anyhow!(named("--token-file", &reason)))?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(ANSWER_WITHIN)
            .build()?;
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let mut request = client.request(method, &url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let mut answer = request.send().await.with_context(|| {
            format!(
                "the controller at {} does not answer; in an emergency open the site's \
                     disconnector",
                self.url
            )
        })?;
        let is_well = answer.status().is_success();
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await? {
            if bytes.len() + part.len() > MOST_BYTES {
                anyhow::bail!("{url} answers more than {MOST_BYTES} bytes");
            }
            bytes.extend_from_slice(&part);
        }
        if is_well {
            return Ok(bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        let said: Value = serde_json::from_str(&text)
            .with_context(|| format!("{url} answers no JSON: {}", shortened(&text)))?;
        let part = |name: &str| said["error"][name].as_str().unwrap_or_default().to_owned();
        anyhow::bail!("{}; {}", plain(&part("message")), plain(&part("hint")))
    }

    /// Gives an order, and prints what came of it.
    pub(super) async fn order(&self, path: &str, body: Value) -> anyhow::Result<()> {
        let said = self.ask(reqwest::Method::POST, path, Some(body)).await?;
        print_text(&format!(
            "{}\n",
            plain(said["reason"].as_str().unwrap_or("done"))
        ));
        if said["durable"] == false {
            eprintln!("warning: it is not on the disk, and would be lost with the controller");
        }
        Ok(())
    }
}

/// The beginning of a text, fit to be shown.
fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(400);
    text[..end].escape_debug().to_string()
}

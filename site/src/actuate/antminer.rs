//! A stock Antminer over its web page: `set_miner_conf.cgi` with another `miner-mode`, behind
//! digest authentication. Pools and fans are written back as they were read, since the page
//! replaces all of the configuration.
//!
//! Modes: 0 normal, 1 sleep, 3 low power; an S19k Pro has low power at 2.

use async_trait::async_trait;
use headframe_ingest::source::{Method, json};
use serde_json::{Map, Value};
use url::Url;

use super::cgminer::summary;
use super::{ActuateFailure, Actuator, Control, Link, Outcome, ReadBack, http, malformed, refused};
use crate::command::{Action, PowerMode};

/// What of the configuration is written back.
const WRITTEN_BACK: &[&str] = &["pools", "bitmain-fan-ctrl", "bitmain-fan-pwm"];

/// Its keys of an `[[actuator]]`.
#[derive(Debug, Default, PartialEq)]
pub struct AntminerKeys {
    /// Where its page is.
    pub web_address: Option<String>,
    /// The number of its mode with low power.
    pub low_mode: Option<u8>,
}

/// A stock machine at `host:port` of its API. The error names the key.
pub fn actuator(host: &str, keys: AntminerKeys) -> Result<Antminer, String> {
    let web = keys.web_address.unwrap_or_else(|| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        format!("http://{name}")
    });
    let url = Url::parse(&web).ok();
    if !url.is_some_and(|url| url.has_host() && ["http", "https"].contains(&url.scheme())) {
        return Err(format!("web_address is {web:?}; write http://host"));
    }
    Ok(Antminer {
        host: host.to_owned(),
        web: web.trim_end_matches('/').to_owned(),
        low_mode: keys.low_mode.unwrap_or(3),
    })
}

/// One machine.
pub struct Antminer {
    host: String,
    web: String,
    low_mode: u8,
}

impl Antminer {
    fn mode(&self, action: Action) -> Result<u8, ActuateFailure> {
        match action {
            Action::On | Action::Mode(PowerMode::Normal) => Ok(0),
            Action::Off => Ok(1),
            Action::Mode(PowerMode::Low) => Ok(self.low_mode),
            Action::Mode(PowerMode::High) | Action::LimitWatts(_) => {
                Err(ActuateFailure::Unsupported(format!(
                    "a stock Antminer has no command for {action:?}"
                )))
            }
        }
    }
}

/// The configuration with another mode.
fn with_mode(conf: &Value, mode: u8) -> Result<Value, ActuateFailure> {
    let conf = conf.as_object();
    let conf = conf.ok_or_else(|| malformed("the configuration is no JSON object"))?;
    if !conf.get("pools").is_some_and(Value::is_array) {
        // Written without its pools, the machine would mine for nobody.
        return Err(malformed("the configuration has no list `pools`"));
    }
    let mut changed = Map::new();
    for key in WRITTEN_BACK {
        if let Some(value) = conf.get(*key) {
            changed.insert((*key).to_owned(), value.clone());
        }
    }
    let level = conf.get("freq-level").or(conf.get("bitmain-freq-level"));
    if let Some(level) = level {
        changed.insert("freq-level".to_owned(), level.clone());
    }
    changed.insert("miner-mode".to_owned(), mode.into());
    Ok(Value::Object(changed))
}

/// The mode in a configuration, a number or the text of one.
fn mode_of(conf: &Value) -> Option<f64> {
    json::first_number(conf, &["miner-mode", "bitmain-work-mode"])
}

#[async_trait]
impl Actuator for Antminer {
    fn check(&self, control: &Control) -> Result<(), String> {
        control.check_machine()
    }

    async fn apply(
        &self,
        _: &Control,
        action: Action,
        link: &Link<'_>,
    ) -> Result<Outcome, ActuateFailure> {
        let mode = self.mode(action)?;
        let conf = "/cgi-bin/get_miner_conf.cgi";
        let conf = http::ask(link, Method::GET, &self.web, conf, None).await?;
        let conf = json::document(Some(&Some(conf.body))).map_err(malformed)?;
        // Writing it again would start the miner anew.
        if mode_of(&conf) == Some(f64::from(mode)) {
            return Ok(Outcome::Acknowledged);
        }
        let changed = with_mode(&conf, mode)?.to_string();
        let path = "/cgi-bin/set_miner_conf.cgi";
        let answer = http::ask(link, Method::POST, &self.web, path, Some(changed)).await?;
        let answer = json::document(Some(&Some(answer.body))).map_err(malformed)?;
        match answer.get("stats").and_then(Value::as_str) {
            Some("success") => Ok(Outcome::Acknowledged),
            _ => Err(refused(format!("the machine says {answer:.100}"))),
        }
    }

    async fn read_back(&self, _: &Control, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
        summary(&self.host, link).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn pools_and_fans_survive_a_change_of_mode() {
        let conf = json!({"pools": [{"url": "a"}], "bitmain-fan-ctrl": true,
            "bitmain-freq-level": "100", "bitmain-work-mode": "0", "other": 1});
        let changed = with_mode(&conf, 1).unwrap();
        let expected = json!({"pools": [{"url": "a"}], "bitmain-fan-ctrl": true,
            "freq-level": "100", "miner-mode": 1});
        assert_eq!(changed, expected);
        assert_eq!(mode_of(&conf), Some(0.0));
    }

    #[test]
    fn a_configuration_without_pools_is_never_written() {
        for conf in [json!({}), json!([]), json!({"pools": null})] {
            assert!(with_mode(&conf, 1).is_err(), "{conf}");
        }
    }
}

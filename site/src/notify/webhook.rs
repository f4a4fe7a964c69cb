//! `webhook`: notices as JSON to any address, signed.
//!
//! `X-Headframe-Timestamp` has the seconds since 1970, `X-Headframe-Signature` has `sha256=` and
//! the HMAC-SHA256 (RFC 2104, hexadecimal) of the timestamp, a dot and the body, with the secret as
//! key. A receiver computes it anew and refuses timestamps that are minutes old.

use async_trait::async_trait;
use aws_lc_rs::hmac;
use headframe_ingest::source::{Credentials, HttpRequest, Method};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{Channel, ChannelKind, Keys, Link, SendFailure, parse_keys};
use crate::notice::{Notice, Severity};

/// The kind.
pub struct Webhook;

impl ChannelKind for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }
    fn doc(&self) -> &'static str {
        "JSON to an address of yours, signed with the secret."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[("url", "Where notices are posted to.")]
    }
    fn least(&self) -> Severity {
        Severity::Emergency
    }
    fn channels(&self, keys: Keys) -> Result<Vec<Box<dyn Channel>>, String> {
        let HookKeys { url } = parse_keys(keys)?;
        let url = Url::parse(&url).ok().filter(|url| {
            ["http", "https"].contains(&url.scheme())
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        });
        let url = url.ok_or("url must be http:// or https://, without a login")?;
        Ok(vec![Box::new(Hook { url })])
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HookKeys {
    url: String,
}

struct Hook {
    url: Url,
}

/// The signature of a body at a time.
fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body.as_bytes());
    format!("sha256={}", hex::encode(context.sign().as_ref()))
}

#[async_trait]
impl Channel for Hook {
    fn check_secret(&self, credentials: &Credentials) -> Result<(), String> {
        match credentials {
            Credentials::Token { token, .. } if token.len() >= 16 => Ok(()),
            _ => Err(
                "set secret_env or secret_file to a secret of 16 characters at least, and \
                      no user"
                    .to_owned(),
            ),
        }
    }

    async fn send(&self, notice: &Notice, link: &Link<'_>) -> Result<String, SendFailure> {
        let Credentials::Token { token, .. } = link.credentials else {
            return Err(SendFailure::permanent("there is no secret to sign with"));
        };
        let body = json!({"version": 1, "site": link.site, "id": notice.id,
            "severity": notice.severity, "topic": notice.topic, "title": notice.title,
            "text": notice.text, "at_us": notice.at.utc_us})
        .to_string();
        let timestamp = link.now_s.to_string();
        let signature = signature(token, &timestamp, &body);
        let request = HttpRequest {
            method: Method::POST,
            headers: &[
                ("Content-Type", "application/json".to_owned()),
                ("X-Headframe-Timestamp", timestamp),
                ("X-Headframe-Signature", signature),
            ],
            body: Some(body.into()),
            ..HttpRequest::get(self.url.to_string())
        };
        let answer = link.exchange.http(request).await;
        let answer = answer.map_err(|failure| SendFailure::temporary(failure.to_string()))?;
        match answer.status {
            200..300 => Ok(answer.status.to_string()),
            _ => Err(SendFailure::of_answer(
                &answer,
                &String::from_utf8_lossy(&answer.body),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::signature;

    #[test]
    fn the_signature_is_the_hmac_of_timestamp_dot_body() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'a secret of some length'
        let signed = signature("a secret of some length", "1700000000", "{\"a\":1}");
        assert_eq!(
            signed,
            "sha256=e09db3ce6e6e8f9b633a62851e5074a9e9148ac19b1c0e1a8f7c352380be630b"
        );
    }
}

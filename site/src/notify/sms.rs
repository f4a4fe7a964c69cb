//! `sms`: text messages, through Twilio or any provider that takes them over HTTP.
//!
//! Twilio: `POST {api_url}/2010-04-01/Accounts/{sid}/Messages.json` with a form and the login
//! `sid:token`. Others: a template of address, headers and body, in which `{to}`, `{text}` and
//! `{secret}` are put, escaped as the body's content type wants.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use headframe_ingest::source::{Credentials, HttpAnswer, HttpRequest, Method};
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::{Channel, ChannelKind, Keys, Link, SendFailure, parse_keys, sms_text};
use crate::notice::{Notice, Severity};

/// Recipients of one entry.
const MOST_RECIPIENTS: usize = 20;

/// The kind.
pub struct Sms;

impl ChannelKind for Sms {
    fn kind(&self) -> &'static str {
        "sms"
    }
    fn doc(&self) -> &'static str {
        "Text messages, through Twilio or another provider with HTTP."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("to", "A list of numbers such as `+15551234567`."),
            (
                "max_segments",
                "Segments that a message may have; longer ones are cut. 3 when left out.",
            ),
            (
                "twilio",
                "`{ account_sid, from }` or `{ account_sid, messaging_service_sid }`; the secret \
                 is the account's token. `api_url` is `https://api.twilio.com` when left out.",
            ),
            (
                "http",
                "Instead of `twilio`: `{ url, headers, content_type, body, success_pointer, \
                 success_value }`. `{to}`, `{text}` and, in `headers` and `body`, `{secret}` are \
                 replaced. Every answer 2xx is a success, unless the JSON pointer \
                 `success_pointer` must show `success_value`.",
            ),
        ]
    }
    fn least(&self) -> Severity {
        Severity::Emergency
    }
    fn channels(&self, keys: Keys) -> Result<Vec<Box<dyn Channel>>, String> {
        let keys: SmsKeys = parse_keys(keys)?;
        if keys.to.is_empty() || keys.to.len() > MOST_RECIPIENTS {
            return Err(format!("to must have 1 to {MOST_RECIPIENTS} numbers"));
        }
        if !(1..=10).contains(&keys.max_segments) {
            return Err("max_segments must be 1 to 10".to_owned());
        }
        let provider = match (keys.twilio, keys.http) {
            (Some(twilio), None) => Provider::Twilio(twilio.checked()?),
            (None, Some(http)) => Provider::Http(http.checked()?),
            _ => return Err("set either twilio or http".to_owned()),
        };
        let channels = keys.to.into_iter().map(|to| {
            let digits = to.strip_prefix('+').unwrap_or_default();
            let is_number =
                (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            if !is_number {
                return Err(format!("to has {to:?}; write +, country and number"));
            }
            let channel: Box<dyn Channel> = Box::new(Phone {
                to,
                max_segments: keys.max_segments,
                provider: provider.clone(),
            });
            Ok(channel)
        });
        channels.collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SmsKeys {
    to: Vec<String>,
    #[serde(default = "three")]
    max_segments: usize,
    twilio: Option<Twilio>,
    http: Option<HttpTemplate>,
}

fn three() -> usize {
    3
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Twilio {
    account_sid: String,
    from: Option<String>,
    messaging_service_sid: Option<String>,
    #[serde(default = "twilio_url")]
    api_url: String,
}

fn twilio_url() -> String {
    "https://api.twilio.com".to_owned()
}

impl Twilio {
    fn checked(mut self) -> Result<Self, String> {
        let is_sid = |sid: &str| !sid.is_empty() && sid.chars().all(|c| c.is_ascii_alphanumeric());
        if !is_sid(&self.account_sid) {
            return Err("twilio.account_sid must be letters and digits".to_owned());
        }
        if self.from.is_some() == self.messaging_service_sid.is_some() {
            return Err("set either twilio.from or twilio.messaging_service_sid".to_owned());
        }
        if !headframe_ingest::source::is_private(&self.api_url) {
            return Err("twilio.api_url must be https://, the token would go in clear".to_owned());
        }
        self.api_url = self.api_url.trim_end_matches('/').to_owned();
        Ok(self)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpTemplate {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    content_type: ContentType,
    body: String,
    success_pointer: Option<String>,
    success_value: Option<Value>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum ContentType {
    #[default]
    #[serde(rename = "application/json")]
    Json,
    #[serde(rename = "application/x-www-form-urlencoded")]
    Form,
}

impl ContentType {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
        }
    }

    /// A text as it stands between the quotes of JSON, or in a form.
    fn escaped(self, text: &str) -> String {
        match self {
            Self::Json => {
                let quoted = Value::from(text).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            Self::Form => byte_serialize(text.as_bytes()).collect(),
        }
    }
}

/// Headers that a template may set.
const HEADERS: &[&str] = &[
    "Authorization",
    "X-API-Key",
    "Api-Key",
    "Accept",
    "X-Auth-Token",
];

impl HttpTemplate {
    fn checked(self) -> Result<Self, String> {
        let filled = self.url.replace("{to}", "1").replace("{text}", "1");
        if !Url::parse(&filled).is_ok_and(|url| ["http", "https"].contains(&url.scheme())) {
            return Err("http.url must be http:// or https://".to_owned());
        }
        if self.url.contains("{secret}") {
            return Err(
                "http.url must not have {secret}, which logs would show; use a header".to_owned(),
            );
        }
        for name in self.headers.keys() {
            if !HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                let known = HEADERS.join(", ");
                return Err(format!("http.headers has {name:?}; there are {known}"));
            }
        }
        if self.success_pointer.is_some() != self.success_value.is_some() {
            return Err("set http.success_pointer and http.success_value together".to_owned());
        }
        let example = self.filled_body("+1", "a \"b\"", "c");
        if self.content_type == ContentType::Json
            && let Err(error) = serde_json::from_str::<Value>(&example)
        {
            return Err(format!("http.body is not JSON once it is filled: {error}"));
        }
        Ok(self)
    }

    fn filled_body(&self, to: &str, text: &str, secret: &str) -> String {
        let escaped = |value: &str| self.content_type.escaped(value);
        let values = [("{to}", to), ("{text}", text), ("{secret}", secret)];
        let values = values.map(|(name, value)| (name, escaped(value)));
        filled(&self.body, &values)
    }

    fn headers(&self, secret: &str) -> Vec<(&'static str, String)> {
        let mut headers = vec![("Content-Type", self.content_type.name().to_owned())];
        for (name, value) in &self.headers {
            let known = HEADERS
                .iter()
                .find(|known| known.eq_ignore_ascii_case(name));
            headers.extend(known.map(|known| (*known, value.replace("{secret}", secret))));
        }
        headers
    }

    fn is_success(&self, body: &[u8]) -> bool {
        let (Some(pointer), Some(value)) = (&self.success_pointer, &self.success_value) else {
            return true;
        };
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        document.pointer(pointer) == Some(value)
    }
}

/// A template with all its places filled in one pass, so that what is put in is not filled again.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let (mut out, mut rest) = (String::new(), template);
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = values.iter().find(|(name, _)| rest.starts_with(name));
        let (written, length) = found.map_or(("{", 1), |(name, value)| (value, name.len()));
        out.push_str(written);
        rest = &rest[length..];
    }
    out + rest
}

#[derive(Debug, Clone)]
enum Provider {
    Twilio(Twilio),
    Http(HttpTemplate),
}

struct Phone {
    to: String,
    max_segments: usize,
    provider: Provider,
}

fn secret(credentials: &Credentials) -> Result<&str, String> {
    match credentials {
        Credentials::Token { token, .. } => Ok(token),
        _ => Err("set secret_env or secret_file to the provider's token, and no user".to_owned()),
    }
}

/// A request that is ready to be sent.
struct Outgoing {
    url: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Phone {
    fn outgoing(&self, text: &str, secret: &str) -> Outgoing {
        match &self.provider {
            Provider::Twilio(twilio) => self.twilio(twilio, text, secret),
            Provider::Http(http) => {
                let in_url = |value: &str| byte_serialize(value.as_bytes()).collect::<String>();
                let values = [("{to}", in_url(&self.to)), ("{text}", in_url(text))];
                Outgoing {
                    url: filled(&http.url, &values),
                    headers: http.headers(secret),
                    body: http.filled_body(&self.to, text, secret),
                }
            }
        }
    }

    fn twilio(&self, twilio: &Twilio, text: &str, token: &str) -> Outgoing {
        let mut form = Serializer::new(String::new());
        form.append_pair("To", &self.to).append_pair("Body", text);
        if let Some(from) = &twilio.from {
            form.append_pair("From", from);
        }
        if let Some(service) = &twilio.messaging_service_sid {
            form.append_pair("MessagingServiceSid", service);
        }
        let (api_url, sid) = (&twilio.api_url, &twilio.account_sid);
        let login = BASE64_STANDARD.encode(format!("{sid}:{token}"));
        Outgoing {
            url: format!("{api_url}/2010-04-01/Accounts/{sid}/Messages.json"),
            headers: vec![
                ("Content-Type", ContentType::Form.name().to_owned()),
                ("Authorization", format!("Basic {login}")),
            ],
            body: form.finish(),
        }
    }

    /// What the provider says to a message.
    fn result(&self, answer: &HttpAnswer) -> Result<String, SendFailure> {
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        if !(200..300).contains(&answer.status) {
            let (code, message) = (&document["code"], text("message"));
            return Err(SendFailure::of_answer(answer, &format!("{code} {message}")));
        }
        match &self.provider {
            Provider::Twilio(_) if ["failed", "undelivered"].contains(&text("status").as_str()) => {
                let message = text("error_message");
                Err(SendFailure::permanent(format!(
                    "Twilio says that it failed: {message:.200}"
                )))
            }
            Provider::Twilio(_) => Ok(text("sid")),
            Provider::Http(http) if !http.is_success(&answer.body) => Err(SendFailure::permanent(
                "the provider's answer has not success_value at success_pointer",
            )),
            Provider::Http(_) => Ok(answer.status.to_string()),
        }
    }
}

#[async_trait]
impl Channel for Phone {
    fn check_secret(&self, credentials: &Credentials) -> Result<(), String> {
        secret(credentials).map(|_| ())
    }

    async fn send(&self, notice: &Notice, link: &Link<'_>) -> Result<String, SendFailure> {
        let secret = secret(link.credentials).map_err(SendFailure::permanent)?;
        let text = format!("{}: {}", notice.title, notice.text);
        let text = sms_text::fitted(&text, self.max_segments);
        let outgoing = self.outgoing(&text, secret);
        let request = HttpRequest {
            method: Method::POST,
            headers: &outgoing.headers,
            body: Some(outgoing.body.into()),
            ..HttpRequest::get(outgoing.url)
        };
        let answer = link.exchange.http(request).await;
        let answer = answer.map_err(|failure| SendFailure::temporary(failure.to_string()))?;
        self.result(&answer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn refusal(keys: Value) -> String {
        let keys = keys.as_object().unwrap().clone();
        Sms.channels(keys).err().unwrap_or_default()
    }

    #[test]
    fn keys_that_cannot_work_are_refused_by_name() {
        let to = json!(["+15551234567"]);
        let twilio = json!({"account_sid": "AC1", "from": "+1"});
        let http = |body: &str| json!({"url": "https://sms.example/send", "body": body});
        assert_eq!(refusal(json!({"to": to, "twilio": twilio})), "");
        assert_eq!(
            refusal(json!({"to": to, "http": http("{\"t\": \"{text}\"}")})),
            ""
        );
        for (keys, named) in [
            (json!({"to": [], "twilio": twilio}), "to must"),
            (json!({"to": ["5551234"], "twilio": twilio}), "5551234"),
            (json!({"to": to}), "twilio or http"),
            (json!({"to": to, "twilio": {"account_sid": "AC1"}}), "from"),
            (
                json!({"to": to, "twilio": {"account_sid": "../x", "from": "+1"}}),
                "account_sid",
            ),
            (json!({"to": to, "http": http("{text}")}), "JSON"),
            (
                json!({"to": to, "twilio": twilio, "max_segments": 0}),
                "max_segments",
            ),
            (
                json!({"to": to, "http": {"url": "https://a/{secret}", "body": ""}}),
                "secret",
            ),
        ] {
            let refusal = refusal(keys.clone());
            assert!(refusal.contains(named), "{keys}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_into_a_template_stays_a_text(text in "\\PC{0,80}|[{}a-z\"\\\\]{0,40}") {
            let body = "{\"to\": \"{to}\", \"t\": \"{text}\"}";
            let http = json!({"url": "https://a/", "body": body});
            let http: HttpTemplate = serde_json::from_value(http).unwrap();
            let body: Value = serde_json::from_str(&http.filled_body("+1", &text, "s")).unwrap();
            prop_assert_eq!(body, json!({"to": "+1", "t": text}));
        }
    }
}

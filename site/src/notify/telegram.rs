//! `telegram`: a chat of a Telegram bot.
//!
//! The bot's token is a part of the address of every request, so no address ever stands in a log
//! line or an error. A text has at most 4096 UTF-16 units, counted after its entities are parsed.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{Credentials, HttpRequest, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Channel, ChannelKind, Keys, Link, Retry, SendFailure, parse_keys};
use crate::notice::{Notice, Severity};

/// UTF-16 units of a message.
const MOST_UNITS: usize = 4_096;
/// What stands where a text was cut.
const CUT: &str = "…";

/// The kind.
pub struct Telegram;

impl ChannelKind for Telegram {
    fn kind(&self) -> &'static str {
        "telegram"
    }
    fn doc(&self) -> &'static str {
        "A chat of a Telegram bot, whose token is the secret."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "chat_id",
                "The chat: a number, or the `@name` of a channel.",
            ),
            ("message_thread_id", "The topic of a forum, if it is one."),
            ("api_url", "`https://api.telegram.org` when left out."),
        ]
    }
    fn least(&self) -> Severity {
        Severity::Info
    }
    fn channels(&self, keys: Keys) -> Result<Vec<Box<dyn Channel>>, String> {
        let mut chat: Chat = parse_keys(keys)?;
        let name = chat.chat_id.strip_prefix('@');
        let is_name = name.is_some_and(|name| !name.is_empty());
        if !is_name && chat.chat_id.parse::<i64>().is_err() {
            let chat_id = &chat.chat_id;
            return Err(format!("chat_id is {chat_id:?}; it is a number or @name"));
        }
        if !headframe_ingest::source::is_private(&chat.api_url) {
            let api_url = &chat.api_url;
            return Err(format!(
                "api_url is {api_url:?}; it must be https://, the token would go in clear"
            ));
        }
        chat.api_url = chat.api_url.trim_end_matches('/').to_owned();
        Ok(vec![Box::new(chat)])
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chat {
    chat_id: String,
    message_thread_id: Option<i64>,
    #[serde(default = "api_url")]
    api_url: String,
}

fn api_url() -> String {
    "https://api.telegram.org".to_owned()
}

/// The text in Telegram's HTML, cut to what a message may have.
fn html(notice: &Notice) -> String {
    let mark = match notice.severity {
        Severity::Info => "",
        Severity::Warning => "\u{26a0} ",
        Severity::Emergency => "\u{1f6a8} ",
    };
    let title = shortened(&format!("{mark}{}", notice.title), MOST_UNITS / 4);
    let left = MOST_UNITS - units(&title) - 2;
    let text = shortened(&notice.text, left);
    format!("<b>{}</b>\n\n{}", escaped(&title), escaped(&text))
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The beginning of a text that has at most so many UTF-16 units, with its mark where it is cut.
fn shortened(text: &str, most: usize) -> String {
    if units(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(units(CUT));
    let fits = |c: &char| {
        let fits = c.len_utf16() <= left;
        left -= if fits { c.len_utf16() } else { left };
        fits
    };
    text.chars().take_while(fits).chain(CUT.chars()).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn token(credentials: &Credentials) -> Result<&str, String> {
    let Credentials::Token { token, .. } = credentials else {
        return Err("set secret_env or secret_file to the bot's token, and no user".to_owned());
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-:".contains(c);
    match token.contains(':') && token.chars().all(is_plain) {
        true => Ok(token),
        false => Err("the secret is no token of a bot (123456:ABC…)".to_owned()),
    }
}

/// What Telegram says to a message.
fn result(status: u16, body: &[u8]) -> Result<String, SendFailure> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if status == 200 && answer["ok"] == true {
        return Ok(answer["result"]["message_id"].to_string());
    }
    let description = answer["description"].as_str().unwrap_or("no description");
    let wait = answer["parameters"]["retry_after"].as_u64();
    Err(SendFailure {
        reason: format!("Telegram answers HTTP {status}: {description:.200}"),
        retry: match (status, wait) {
            (429, Some(wait)) => Retry::After(Duration::from_secs(wait)),
            // A success that says no, or a proxy's page, may pass.
            (200 | 429 | 500.., _) => Retry::Later,
            _ => Retry::Never,
        },
    })
}

#[async_trait]
impl Channel for Chat {
    fn check_secret(&self, credentials: &Credentials) -> Result<(), String> {
        token(credentials).map(|_| ())
    }

    async fn send(&self, notice: &Notice, link: &Link<'_>) -> Result<String, SendFailure> {
        let token = token(link.credentials).map_err(SendFailure::permanent)?;
        let mut message = json!({"chat_id": self.chat_id, "text": html(notice),
            "parse_mode": "HTML", "disable_notification": notice.severity == Severity::Info});
        if let Some(thread) = self.message_thread_id {
            message["message_thread_id"] = thread.into();
        }
        let request = HttpRequest {
            method: Method::POST,
            headers: &[("Content-Type", "application/json".to_owned())],
            body: Some(message.to_string().into()),
            ..HttpRequest::get(format!("{}/bot{token}/sendMessage", self.api_url))
        };
        let answer = link.exchange.http(request).await;
        let answer = answer.map_err(|failure| SendFailure::temporary(failure.to_string()))?;
        result(answer.status, &answer.body)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::moment::Moment;
    use proptest::prelude::*;

    fn notice(title: &str, text: &str) -> Notice {
        Notice {
            id: 1,
            severity: Severity::Warning,
            topic: "test".to_owned(),
            title: title.to_owned(),
            text: text.to_owned(),
            at: Moment {
                elapsed_ms: 0,
                utc_us: 0,
            },
        }
    }

    fn unescaped(html: &str) -> String {
        let html = html.replace("<b>", "").replace("</b>", "");
        html.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
    }

    #[test]
    fn a_wait_that_telegram_wants_is_taken_over() {
        let body = br#"{"ok":false,"error_code":429,"description":"Too Many Requests",
            "parameters":{"retry_after":7}}"#;
        let failure = result(429, body).unwrap_err();
        assert_eq!(failure.retry, Retry::After(Duration::from_secs(7)));
        let body = br#"{"ok":false,"error_code":400,"description":"chat not found"}"#;
        assert_eq!(result(400, body).unwrap_err().retry, Retry::Never);
        assert_eq!(result(502, b"<html>").unwrap_err().retry, Retry::Later);
        let body = br#"{"ok":true,"result":{"message_id":5}}"#;
        assert_eq!(result(200, body).unwrap(), "5");
    }

    proptest! {
        #[test]
        fn a_message_fits_and_has_no_tags_of_its_own(
            title in "\\PC{0,50}|[<>&🚨]{0,3000}", text in "\\PC{0,300}|[<&a🚨]{0,6000}",
        ) {
            let html = html(&notice(&title, &text));
            prop_assert!(units(&unescaped(&html)) <= MOST_UNITS);
            prop_assert_eq!(html.matches('<').count(), 2);
            if units(&title) < 1_000 && units(&text) < 3_000 {
                prop_assert!(unescaped(&html).ends_with(&text));
            }
        }

        #[test]
        fn any_answer_is_a_result(
            status: u16, body in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            result(status, &body).ok();
        }
    }
}

//! `email`: submission over SMTP with STARTTLS, which is required, or TLS from the start.
//!
//! Each notice is plain text and HTML, says that it is automatic (RFC 3834), and refers to a
//! message that never was, the same for every notice of a topic, so that mail programs show them as
//! one thread. The SMTP client is lettre's blocking one, on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use headframe_ingest::source::Credentials;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials as Login;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, SmtpTransport, Transport};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{Channel, ChannelKind, Keys, Link, SendFailure, parse_keys};
use crate::notice::{Notice, Severity};

/// Recipients of one entry.
const MOST_RECIPIENTS: usize = 50;
/// How long one answer of the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that are on their way at the same time, those included that nobody waits for any more.
const MOST_AT_A_TIME: usize = 2;

/// The kind.
pub struct Email;

impl ChannelKind for Email {
    fn kind(&self) -> &'static str {
        "email"
    }
    fn doc(&self) -> &'static str {
        "E-mail over SMTP; `user` and the secret are the login, if there is one."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("server", "The host of the SMTP server."),
            ("port", "587 when left out."),
            (
                "tls",
                "`starttls` (required; also when left out), `tls` from the start (465), or `none`, \
                 to this machine only.",
            ),
            ("from", "The sender."),
            ("to", "A list of recipients."),
            (
                "ca_file",
                "A certificate (PEM) that is trusted beside those of the system.",
            ),
        ]
    }
    fn least(&self) -> Severity {
        Severity::Info
    }
    fn channels(&self, keys: Keys) -> Result<Vec<Box<dyn Channel>>, String> {
        let keys: EmailKeys = parse_keys(keys)?;
        if keys.to.is_empty() || keys.to.len() > MOST_RECIPIENTS {
            return Err(format!("to must have 1 to {MOST_RECIPIENTS} addresses"));
        }
        let mailbox = |key: &str, text: &str| {
            let parsed = text.parse::<Mailbox>();
            parsed.map_err(|error| format!("{key} has {text:?}, which is no address: {error}"))
        };
        let to = keys.to.iter().map(|text| mailbox("to", text));
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if keys.server.is_empty() || !keys.server.chars().all(is_host) {
            let server = &keys.server;
            return Err(format!(
                "server is {server:?}; write a host without a scheme"
            ));
        }
        let is_here = ["localhost", "127.0.0.1", "::1"].contains(&keys.server.as_str());
        if keys.tls == Security::None && !is_here {
            return Err("tls = \"none\" is for a server on this machine only".to_owned());
        }
        Ok(vec![Box::new(Mail {
            from: mailbox("from", &keys.from)?,
            to: to.collect::<Result<_, String>>()?,
            running: Arc::new(Semaphore::new(MOST_AT_A_TIME)),
            keys,
        })])
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailKeys {
    server: String,
    #[serde(default = "submission")]
    port: u16,
    #[serde(default)]
    tls: Security,
    from: String,
    to: Vec<String>,
    ca_file: Option<PathBuf>,
}

fn submission() -> u16 {
    587
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Security {
    #[default]
    Starttls,
    Tls,
    None,
}

struct Mail {
    keys: EmailKeys,
    from: Mailbox,
    to: Vec<Mailbox>,
    running: Arc<Semaphore>,
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\n', "<br>\n")
}

/// One line of a header.
fn one_line(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.chars().take(200).collect()
}

impl Mail {
    fn message(&self, notice: &Notice, site: &str) -> Result<Message, String> {
        let word = match notice.severity {
            Severity::Info => "",
            Severity::Warning => "WARNING: ",
            Severity::Emergency => "EMERGENCY: ",
        };
        let subject = one_line(&format!("[{site}] {word}{}", notice.title));
        let host = self.from.email.domain();
        let thread = format!("{site}\n{}", notice.topic);
        let thread = hex::encode(&digest(&SHA256, thread.as_bytes()).as_ref()[..12]);
        let name = format!("{}.{}", notice.id, notice.at.utc_us);
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(format!("<{name}.{thread}@{host}>")))
            .references(format!("<{thread}@{host}>"))
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let (title, text) = (escaped(&notice.title), escaped(&notice.text));
        let html = format!("<!doctype html><h3>{title}</h3>\n<p>{text}</p>\n");
        let plain = format!("{}\n\n{}\n", notice.title, notice.text);
        let both = MultiPart::alternative_plain_html(plain, html);
        builder.multipart(both).map_err(|error| error.to_string())
    }

    /// Connects at its first use. The error says what cannot work.
    fn transport(&self, credentials: &Credentials) -> Result<SmtpTransport, String> {
        let keys = &self.keys;
        let tls = match keys.tls {
            Security::None => Tls::None,
            Security::Starttls => Tls::Required(self.tls_parameters()?),
            Security::Tls => Tls::Wrapper(self.tls_parameters()?),
        };
        let mut builder = SmtpTransport::builder_dangerous(&keys.server)
            .port(keys.port)
            .tls(tls)
            .hello_name(ClientId::Domain(self.from.email.domain().to_owned()))
            .timeout(Some(TIMEOUT));
        if let Credentials::Basic { user, password } = credentials {
            builder = builder.credentials(Login::new(user.clone(), password.clone()));
        }
        Ok(builder.build())
    }

    fn tls_parameters(&self) -> Result<TlsParameters, String> {
        let mut builder = TlsParameters::builder(self.keys.server.clone());
        if let Some(path) = &self.keys.ca_file {
            let cannot = |error: &dyn std::fmt::Display| {
                format!(
                    "ca_file is {}, which cannot be used: {error}",
                    path.display()
                )
            };
            let pem = std::fs::read(path).map_err(|error| cannot(&error))?;
            let certificate = Certificate::from_pem(&pem).map_err(|error| cannot(&error))?;
            builder = builder.add_root_certificate(certificate);
        }
        builder.build().map_err(|error| format!("no TLS: {error}"))
    }
}

/// Whether another attempt may help: not after an answer 5xx, nor where the server has no STARTTLS.
fn failure(error: &lettre::transport::smtp::Error) -> SendFailure {
    let reason = one_line(&format!("{error}"));
    match error.is_permanent() || error.is_client() {
        true => SendFailure::permanent(reason),
        false => SendFailure::temporary(reason),
    }
}

#[async_trait]
impl Channel for Mail {
    fn check_secret(&self, credentials: &Credentials) -> Result<(), String> {
        match credentials {
            Credentials::Token { .. } => Err("set user as well, or remove the secret".to_owned()),
            Credentials::Basic { .. } if self.keys.tls == Security::None => {
                Err("a password is not sent with tls = \"none\"".to_owned())
            }
            _ => Ok(()),
        }
    }

    async fn send(&self, notice: &Notice, link: &Link<'_>) -> Result<String, SendFailure> {
        let message = self
            .message(notice, link.site)
            .map_err(SendFailure::permanent)?;
        let transport = self
            .transport(link.credentials)
            .map_err(SendFailure::permanent)?;
        let Ok(place) = self.running.clone().try_acquire_owned() else {
            return Err(SendFailure::temporary(
                "earlier messages still hang at the server",
            ));
        };
        let sending = tokio::task::spawn_blocking(move || {
            let sent = transport.send(&message);
            drop(place);
            sent
        });
        match sending.await {
            Ok(Ok(answer)) => Ok(one_line(&answer.message().collect::<Vec<_>>().join(" "))),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(SendFailure::temporary(
                "the sending task ended without a result",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::moment::Moment;
    use proptest::prelude::*;

    fn mail() -> Mail {
        let to = "Ann <ann@example.org>".parse().unwrap();
        Mail {
            keys: EmailKeys {
                server: "localhost".to_owned(),
                port: 587,
                tls: Security::Starttls,
                from: String::new(),
                to: Vec::new(),
                ca_file: None,
            },
            from: "site@example.org".parse().unwrap(),
            to: vec![to],
            running: Arc::new(Semaphore::new(1)),
        }
    }

    proptest! {
        #[test]
        fn a_notice_cannot_add_headers(title in "(\\PC|\r|\n){0,80}", text in "(\\PC|\n){0,200}") {
            let notice = Notice {
                id: 5,
                severity: Severity::Emergency,
                topic: "trip/temperature".to_owned(),
                title: format!("{title}\r\nBcc: x@example.org"),
                text,
                at: Moment { elapsed_ms: 0, utc_us: 1 },
            };
            let message = mail().message(&notice, "north").unwrap().formatted();
            let message = String::from_utf8_lossy(&message).into_owned();
            let head = message.split("\r\n\r\n").next().unwrap_or_default();
            prop_assert!(!head.contains("\r\nBcc:"), "{}", head);
            prop_assert!(head.contains("Auto-Submitted: auto-generated"));
            prop_assert!(head.contains("\r\nReferences: <"));
        }
    }
}

//! The office's HTTP ingest as a site sees it: what becomes of one message.

use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

use async_compression::tokio::bufread::ZstdEncoder;
use bytes::Bytes;
use headframe_schemas::Stream;
use headframe_schemas::message::{self as header, Format};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::io::AsyncReadExt as _;

use super::{ForwardConfig, Message};
use crate::http::of_site;
use crate::source::read_secret;

/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Characters of a refusal that are shown.
const MAX_REASON_CHARS: usize = 300;
/// Bodies below this many bytes are not packed.
const PACKED_FROM_BYTES: usize = 1024;
/// The longest wait that an office may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Rows of one message that have numbers of their own where the message has none: more than the
/// largest message holds.
const ROWS_PER_MESSAGE: i64 = 1 << 20;

/// What became of a message.
#[derive(Debug)]
pub enum Delivery {
    /// Its rows are stored, this many of them as dead letters.
    Stored {
        /// Rows that the office's stream does not take.
        dead_letters: u64,
    },
    /// It is a dead letter of the site, which stays there.
    Skipped,
    /// The office can never read it.
    Refused(String),
    /// The same message must be sent again.
    Later {
        /// What is in the way.
        reason: String,
        /// How long the office asks to wait.
        at_least: Duration,
    },
}

/// The answer to rows that were stored.
#[derive(Deserialize)]
struct Accepted {
    rejected: Vec<IgnoredAny>,
}

/// The way to the office.
#[derive(Debug, Clone)]
pub struct Office {
    client: Client,
    base: String,
    name: String,
    secret_env: Option<String>,
    secret_file: Option<PathBuf>,
    authorization: Option<HeaderValue>,
}

impl Office {
    /// Reads token and certificate; nothing is sent. The error names the key.
    pub fn open(config: &ForwardConfig) -> Result<Self, String> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(config.timeout_s.min(10)))
            .timeout(Duration::from_secs(config.timeout_s));
        if let Some(file) = &config.ca_file {
            let shown = file.display();
            let pem = std::fs::read(file)
                .map_err(|error| format!("forward.ca_file is {shown}: {error}"))?;
            let authorities = Certificate::from_pem_bundle(&pem)
                .map_err(|error| format!("forward.ca_file is {shown}: {error}"))?;
            if authorities.is_empty() {
                return Err(format!("forward.ca_file is {shown}: no certificate in it"));
            }
            builder = builder.tls_certs_only(authorities);
        }
        let mut office = Self {
            client: builder.build().map_err(|error| error.to_string())?,
            base: config.address()?.as_str().trim_end_matches('/').to_owned(),
            name: config.name.clone(),
            secret_env: config.secret_env.clone(),
            secret_file: config.secret_file.clone(),
            authorization: None,
        };
        office.read_token()?;
        Ok(office)
    }

    /// Reads the token again, which somebody may have replaced.
    pub fn read_token(&mut self) -> Result<(), String> {
        let secret = read_secret(self.secret_env.as_deref(), self.secret_file.as_deref())
            .map_err(|reason| format!("forward.{reason}"))?;
        let value = secret.map(|secret| HeaderValue::try_from(format!("Bearer {secret}")));
        let mut value = value.transpose().map_err(|_| {
            "the token of forward.secret_file or forward.secret_env is no text for a header"
                .to_owned()
        })?;
        if let Some(value) = &mut value {
            value.set_sensitive(true);
        }
        self.authorization = value;
        Ok(())
    }

    /// Sends one message of a stream that was created at `created_ns`.
    pub async fn send(
        &self,
        stream: &'static dyn Stream,
        message: &Message,
        created_ns: i64,
    ) -> Delivery {
        if Format::from_content_type(message.content_type.as_deref()) == Ok(Format::Refused) {
            return Delivery::Skipped;
        }
        let Some((producer, first)) = identity(&self.name, message, created_ns) else {
            return Delivery::Refused("its rows cannot be numbered".to_owned());
        };
        let content_type = message.content_type.as_deref().unwrap_or(header::NDJSON);
        let url = format!("{}/api/v1/ingest/{}", self.base, stream.name());
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, content_type)
            .header(header::PRODUCER, producer)
            .header(header::PRODUCER_SEQ, first)
            .header(header::SITE, &self.name);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request = match pack(&message.payload).await {
            Some(packed) => request.header(CONTENT_ENCODING, "zstd").body(packed),
            None => request.body(message.payload.clone()),
        };
        match request.send().await {
            Ok(response) => self.read(response).await,
            Err(error) => Delivery::Later {
                reason: format!("the office cannot be reached: {}", whole_reason(&error)),
                at_least: Duration::ZERO,
            },
        }
    }

    async fn read(&self, response: Response) -> Delivery {
        let status = response.status();
        let at_least = retry_after(&response);
        let later = |reason: String| Delivery::Later { reason, at_least };
        let text = match bounded_text(response).await {
            Ok(text) => text,
            Err(reason) => return later(format!("the office's answer broke off: {reason}")),
        };
        let shown: String = text.trim().chars().take(MAX_REASON_CHARS).collect();
        match status {
            // An answer of another shape comes from another server, and nothing is known.
            StatusCode::OK => match serde_json::from_str::<Accepted>(&text) {
                Ok(accepted) => Delivery::Stored {
                    dead_letters: accepted.rejected.len() as u64,
                },
                Err(_) => later(format!("forward.url answers like no office: {shown}")),
            },
            StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Delivery::Refused(shown)
            }
            StatusCode::PAYLOAD_TOO_LARGE => later(format!(
                "the office takes no message as large as this one; raise its \
                 ingest.max_body_bytes: {shown}"
            )),
            status => later(format!("the office answers {status}: {shown}")),
        }
    }
}

/// The numbers of a message's rows at the office: its producer's own, with the site's name before
/// the producer's. A message without any is numbered by its place in the site's stream.
fn identity(site: &str, message: &Message, created_ns: i64) -> Option<(String, i64)> {
    let numbered = message.identity(0).filter(|(_, first)| *first >= 0);
    let Some((producer, first)) = numbered else {
        let seq = i64::try_from(message.seq).ok()?;
        return Some((
            format!("{site}/{created_ns}"),
            seq.checked_mul(ROWS_PER_MESSAGE)?,
        ));
    };
    Some((of_site(site, producer), first))
}

/// The body in fewer bytes, where that is worth it: a site's way to its office is narrow.
async fn pack(payload: &Bytes) -> Option<Vec<u8>> {
    if payload.len() < PACKED_FROM_BYTES {
        return None;
    }
    let mut packed = Vec::new();
    let mut encoder = ZstdEncoder::new(Cursor::new(payload));
    // Memory to memory: it fails only where memory does, and plain bytes are right as well.
    encoder.read_to_end(&mut packed).await.ok()?;
    (packed.len() < payload.len()).then_some(packed)
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    Duration::from_secs(seconds).min(MAX_RETRY_AFTER)
}

async fn bounded_text(mut response: Response) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| whole_reason(&error))?
    {
        if bytes.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(format!("it is longer than {MAX_ANSWER_BYTES} bytes"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An error with its causes; the address, which may be long, is left out.
fn whole_reason(error: &reqwest::Error) -> String {
    let mut reason = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        reason = match reason.is_empty() {
            true => error.to_string(),
            false => format!("{reason}: {error}"),
        };
        cause = error.source();
    }
    match reason.is_empty() {
        true if error.is_timeout() => "no answer in time".to_owned(),
        true => "the request failed".to_owned(),
        false => reason,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn message(producer: Option<&str>, first: Option<i64>) -> Message {
        Message {
            seq: 7,
            producer: producer.map(str::to_owned),
            producer_seq: first,
            ..Message::default()
        }
    }

    #[test]
    fn rows_keep_the_numbers_of_their_producers_and_sites_never_share_one() {
        let of = |site, producer: &str| identity(site, &message(Some(producer), Some(3)), 9);
        assert_eq!(of("north", "a"), Some(("north/a".to_owned(), 3)));
        assert_ne!(of("north", "a"), of("south", "a"));
        let long = "x".repeat(256);
        let (name, first) = of("north", &long).unwrap();
        assert!(name.len() <= 251 && first == 3);
        assert_ne!(of("north", &long), of("north", &"y".repeat(256)));
        assert!(of("north", "Jörg\n").unwrap().0.is_ascii());
    }

    #[test]
    fn what_has_no_numbers_gets_those_of_its_place() {
        let expected = Some(("north/9".to_owned(), 7 * ROWS_PER_MESSAGE));
        for plain in [
            message(None, None),
            message(Some("a"), None),
            message(Some("a"), Some(-1)),
        ] {
            assert_eq!(identity("north", &plain, 9), expected);
        }
        let far = Message {
            seq: u64::MAX,
            ..message(None, None)
        };
        assert_eq!(identity("north", &far, 9), None);
    }

    #[tokio::test]
    async fn only_what_gets_smaller_is_packed() {
        assert_eq!(pack(&Bytes::from(vec![b'a'; 100])).await, None);
        assert!(pack(&Bytes::from(vec![b'a'; 5_000])).await.unwrap().len() < 200);
        let noise: Vec<u8> = (0..5_000).map(|_| rand::random()).collect();
        assert_eq!(pack(&Bytes::from(noise)).await, None);
    }
}

//! `openadr`: events of an OpenADR 3 server (VTN), read as a client (VEN).
//!
//! Why not openleadr-client 0.2.8, nor openleadr-wire alone: the types bring 75 crates that are not
//! in our lock file, sqlx with PostgreSQL, MySQL and SQLite among them, with rustls over ring, and
//! change the features of either, futures-io and hashbrown, below DataFusion; the client brings 78
//! and changes axum and reqwest as well. What a client needs is a token, one list and one report.
//!
//! An event that is gone from the list was cancelled. Of events of one payload type that run at the
//! same time the one with the highest priority (the lowest number) counts. A start that is to be
//! randomized is later by a share of that time that depends on the event and on us alone, so that
//! it is the same in every read.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use headframe_ingest::source::{Credentials, Failure, HttpAnswer, HttpRequest, Method};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use url::Url;
use url::form_urlencoded::Serializer;

use super::level_map::{self, LevelRange};
use super::{Keys, ReadContext, Signal, SignalKind, Usage, UsageReportError, fetch, parse_keys};
use crate::moment::Moment;
use crate::request::{Level, SignalValue};

mod duration;
mod event;
mod report;

/// Events of one page, and pages that are read.
const PAGE: usize = 50;
const MOST_PAGES: usize = 20;
/// Milliseconds before its end at which a token is fetched anew.
const TOKEN_MARGIN_MS: u64 = 30_000;

/// The kind.
pub struct OpenAdr;

impl SignalKind for OpenAdr {
    fn kind(&self) -> &'static str {
        "openadr"
    }
    fn doc(&self) -> &'static str {
        "Events of an OpenADR 3 server; `user` and the secret are the client's id and secret."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "url",
                "The server, such as `https://vtn.example/openadr3/3.1.0`.",
            ),
            (
                "token_url",
                "Where tokens are given (OAuth 2 client credentials); `/auth/token` below `url` \
                 when left out.",
            ),
            ("scope", "The scope that is asked for, if one is needed."),
            (
                "program",
                "The id of the program; all programs when left out.",
            ),
            (
                "ven_name",
                "Our name at the server; the site's when left out.",
            ),
            (
                "simple",
                "What `SIMPLE` means, as `map` of `page`; 0 normal, 1 advisory, 2 curtail, 3 \
                 emergency when left out.",
            ),
            (
                "reference_kw",
                "What the site draws otherwise, which `DISPATCH_SETPOINT_RELATIVE` counts from.",
            ),
            (
                "price_above",
                "The price from which `PRICE` asks to curtail; prices are ignored when left out.",
            ),
        ]
    }
    fn signal(&self, keys: Keys) -> Result<Box<dyn Signal>, String> {
        Ok(Box::new(Ven::new(parse_keys(keys)?)?))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenAdrKeys {
    url: String,
    token_url: Option<String>,
    scope: Option<String>,
    program: Option<String>,
    ven_name: Option<String>,
    #[serde(default = "simple_levels")]
    simple: Vec<LevelRange>,
    reference_kw: Option<f64>,
    price_above: Option<f64>,
}

fn simple_levels() -> Vec<LevelRange> {
    vec![
        LevelRange::Plain(0.0, 0.0, Level::Normal),
        LevelRange::Plain(1.0, 1.0, Level::Advisory),
        LevelRange::Plain(2.0, 2.0, Level::Curtail),
        LevelRange::Plain(3.0, 3.0, Level::Emergency),
    ]
}

/// Why a request was not answered as wanted.
#[derive(Debug, Error)]
enum AskError {
    #[error("the server answers HTTP {0}")]
    Status(u16),
    #[error("{0}")]
    NoAnswer(String),
}

impl From<String> for AskError {
    fn from(reason: String) -> Self {
        Self::NoAnswer(reason)
    }
}

impl From<AskError> for UsageReportError {
    /// What is wrong with the report itself stays so: its event was removed, for example. A login
    /// can be mended, and a server that is too busy is asked again.
    fn from(error: AskError) -> Self {
        let reason = error.to_string();
        match error {
            AskError::Status(401 | 403 | 408 | 425 | 429) => Self::NotTaken(reason),
            AskError::Status(400..500) => Self::Refused(reason),
            AskError::Status(_) | AskError::NoAnswer(_) => Self::NotTaken(reason),
        }
    }
}

struct Token {
    text: String,
    until: Moment,
}

struct Ven {
    keys: OpenAdrKeys,
    url: Url,
    token_url: Url,
    token: Mutex<Option<Token>>,
    /// The event that asked last: its id and its program.
    last_event: Mutex<Option<(String, String)>>,
}

impl Ven {
    fn new(keys: OpenAdrKeys) -> Result<Self, String> {
        level_map::validate(&keys.simple).map_err(|reason| format!("simple: {reason}"))?;
        for (key, value) in [
            ("reference_kw", keys.reference_kw),
            ("price_above", keys.price_above),
        ] {
            if value.is_some_and(|value| !value.is_finite()) {
                return Err(format!("{key} is no number"));
            }
        }
        let mut url = fetch::checked_url(&keys.url)?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let token_url = match &keys.token_url {
            Some(text) => fetch::checked_url(text).map_err(|why| format!("token_url: {why}"))?,
            None => url
                .join("auth/token")
                .map_err(|why| format!("url: {why}"))?,
        };
        for (key, url) in [("url", &url), ("token_url", &token_url)] {
            if !headframe_ingest::source::is_private(url.as_str()) {
                return Err(format!(
                    "{key} must be https://, the secret would go in clear"
                ));
            }
        }
        Ok(Self {
            keys,
            url,
            token_url,
            token: Mutex::new(None),
            last_event: Mutex::new(None),
        })
    }

    /// A token that is still good, or a new one.
    async fn token(&self, context: &ReadContext<'_>) -> Result<String, String> {
        {
            let held = self.token.lock().unwrap_or_else(PoisonError::into_inner);
            let held = held.as_ref();
            let good = held.filter(|token| context.now.elapsed_ms < token.until.elapsed_ms);
            if let Some(token) = good {
                return Ok(token.text.clone());
            }
        }
        let Credentials::Basic { user, password } = context.credentials else {
            return Err("set user and a secret: the client's id and its secret".to_owned());
        };
        let form = self.token_form(user, password);
        let content_type = "application/x-www-form-urlencoded".to_owned();
        let request = HttpRequest {
            method: Method::POST,
            headers: &[("Content-Type", content_type)],
            body: Some(form.into()),
            most: context.most,
            ..HttpRequest::get(self.token_url.to_string())
        };
        let answer = context.exchange.http(request).await;
        let answer = answer.map_err(|failure| format!("no token: {failure}"))?;
        if answer.status != 200 {
            return Err(format!(
                "no token: the server answers HTTP {}",
                answer.status
            ));
        }
        let token = token(&answer.body, context.now)?;
        let text = token.text.clone();
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(text)
    }

    fn token_form(&self, user: &str, password: &str) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_id", user)
            .append_pair("client_secret", password);
        if let Some(scope) = &self.keys.scope {
            form.append_pair("scope", scope);
        }
        form.finish()
    }

    /// A request with a token; when the server no longer wants that token, with a new one.
    async fn ask(
        &self,
        method: Method,
        url: &Url,
        body: Option<String>,
        context: &ReadContext<'_>,
    ) -> Result<HttpAnswer, AskError> {
        let mut is_first = true;
        loop {
            let token = self.token(context).await?;
            let headers = [
                ("Authorization", format!("Bearer {token}")),
                ("Content-Type", "application/json".to_owned()),
            ];
            let request = HttpRequest {
                method: method.clone(),
                headers: if body.is_some() {
                    &headers
                } else {
                    &headers[..1]
                },
                body: body.clone().map(Into::into),
                most: context.most,
                ..HttpRequest::get(url.to_string())
            };
            let answer = context.exchange.http(request).await;
            let answer = answer.map_err(|failure: Failure| failure.to_string())?;
            match answer.status {
                200..300 => return Ok(answer),
                401 | 403 if is_first => {
                    is_first = false;
                    *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                status => return Err(AskError::Status(status)),
            }
        }
    }

    /// All events of the program.
    async fn events(&self, context: &ReadContext<'_>) -> Result<Vec<Value>, String> {
        let mut events = Vec::new();
        for page in 0..MOST_PAGES {
            let url = self.page_url(page)?;
            let answer = self.ask(Method::GET, &url, None, context).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let list: Vec<Value> = serde_json::from_slice(&answer.body)
                .map_err(|error| format!("the answer is no list of events: {error}"))?;
            let count = list.len();
            events.extend(list);
            if count < PAGE {
                return Ok(events);
            }
        }
        Err(format!("there are more than {} events", MOST_PAGES * PAGE))
    }

    fn page_url(&self, page: usize) -> Result<Url, String> {
        let mut url = self.join("events")?;
        let mut query = url.query_pairs_mut();
        if let Some(program) = &self.keys.program {
            query.append_pair("programID", program);
        }
        query.append_pair("skip", &(page * PAGE).to_string());
        query.append_pair("limit", &PAGE.to_string());
        drop(query);
        Ok(url)
    }

    fn join(&self, path: &str) -> Result<Url, String> {
        self.url.join(path).map_err(|error| error.to_string())
    }

    fn ven_name<'a>(&'a self, context: &ReadContext<'a>) -> &'a str {
        self.keys.ven_name.as_deref().unwrap_or(context.site)
    }
}

/// The token in an answer.
fn token(body: &[u8], now: Moment) -> Result<Token, String> {
    let document: Value = serde_json::from_slice(body)
        .map_err(|error| format!("no token: the answer is not JSON: {error}"))?;
    let text = document.get("access_token").and_then(Value::as_str);
    let is_plain = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    let text = text
        .filter(is_plain)
        .ok_or("no token: the answer has no access_token")?;
    let seconds = document.get("expires_in").and_then(Value::as_u64);
    let lives_ms = seconds.unwrap_or(300).min(86_400) * 1_000;
    Ok(Token {
        text: text.to_owned(),
        until: now.plus_ms(lives_ms.saturating_sub(TOKEN_MARGIN_MS)),
    })
}

#[async_trait]
impl Signal for Ven {
    async fn read(&self, context: &ReadContext<'_>) -> SignalValue {
        let events = match self.events(context).await {
            Ok(events) => events,
            Err(reason) => return SignalValue::Unknown(reason),
        };
        let meaning = event::Meaning {
            simple: &self.keys.simple,
            reference_kw: self.keys.reference_kw,
            price_above: self.keys.price_above,
            program: self.keys.program.as_deref(),
            ven_name: self.ven_name(context),
        };
        let found = event::requests(&events, &meaning, context.now.utc_us);
        if let Some(asking) = found.asking {
            *self
                .last_event
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(asking);
        }
        found.value
    }

    fn wants_reports(&self) -> bool {
        true
    }

    async fn report(
        &self,
        usage: &Usage,
        context: &ReadContext<'_>,
    ) -> Result<(), UsageReportError> {
        let last = {
            let last = self
                .last_event
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            last.clone()
        };
        // Nobody asked for anything yet.
        let Some((last_event, program)) = last else {
            return Ok(());
        };
        let event = usage.event.as_deref().unwrap_or(&last_event);
        let body = report::body(usage, event, &program, self.ven_name(context), context.site);
        let url = self.join("reports").map_err(UsageReportError::NotTaken)?;
        self.ask(Method::POST, &url, Some(body.to_string()), context)
            .await?;
        Ok(())
    }
}

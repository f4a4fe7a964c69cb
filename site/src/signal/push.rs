//! `push`: the last value that somebody gave, with a time after which it no longer counts.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::Deserialize;

use super::{Given, Keys, ReadContext, Signal, SignalKind, parse_keys};
use crate::moment::Moment;
use crate::request::{MOST_KW, Request, SignalValue, TimedRequests};

/// Requests of one push.
const MOST_REQUESTS: usize = 100;
/// Seconds that a push may count.
const MOST_AGE_S: f64 = 7.0 * 86_400.0;

/// The kind.
pub struct Push;

impl SignalKind for Push {
    fn kind(&self) -> &'static str {
        "push"
    }
    fn doc(&self) -> &'static str {
        "Values that another program gives over HTTP."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "expires_after_s",
                "Seconds after which a value that says nothing of its own no longer counts; 600 \
                 when left out.",
            ),
            (
                "silence",
                "What no value means: `unknown`, also when left out, or `normal` where only events \
                 are pushed.",
            ),
        ]
    }
    fn signal(&self, keys: Keys) -> Result<Box<dyn Signal>, String> {
        let keys: PushKeys = parse_keys(keys)?;
        check_seconds("expires_after_s", keys.expires_after_s)?;
        Ok(Box::new(PushSignal {
            keys,
            held: Held::default(),
        }))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Silence {
    #[default]
    Unknown,
    Normal,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PushKeys {
    #[serde(default = "ten_minutes")]
    expires_after_s: f64,
    #[serde(default)]
    silence: Silence,
}

fn ten_minutes() -> f64 {
    600.0
}

fn check_seconds(key: &str, seconds: f64) -> Result<(), String> {
    match seconds > 0.0 && seconds <= MOST_AGE_S {
        true => Ok(()),
        false => Err(format!(
            "{key} is {seconds}; it must be more than 0 and at most {MOST_AGE_S}"
        )),
    }
}

/// Requests until a moment.
#[derive(Debug, Default)]
pub struct Held(Mutex<Option<TimedRequests>>);

impl Held {
    /// Holds these for so many seconds from now.
    pub fn hold(&self, requests: Vec<Request>, for_s: f64, now: Moment) -> Result<(), String> {
        check_seconds("for_s", for_s)?;
        if requests.len() > MOST_REQUESTS {
            return Err(format!("there are more than {MOST_REQUESTS} requests"));
        }
        for request in &requests {
            if request
                .cap_kw
                .is_some_and(|cap| !(0.0..=MOST_KW).contains(&cap))
            {
                return Err(format!("cap_kw must be 0 to {MOST_KW}, in kilowatts"));
            }
        }
        let until = now.plus_ms((for_s * 1_000.0) as u64);
        self.restore(TimedRequests { requests, until });
        Ok(())
    }

    /// Holds what was held before.
    pub fn restore(&self, held: TimedRequests) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }

    /// What is held.
    pub fn held(&self) -> Option<TimedRequests> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What is held at a moment, or the moment at which it ended.
    pub fn at(&self, now: Moment) -> Result<Vec<Request>, Option<Moment>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(held) if now.elapsed_ms < held.until.elapsed_ms => Ok(held.requests.clone()),
            Some(held) => Err(Some(held.until)),
            None => Err(None),
        }
    }
}

struct PushSignal {
    keys: PushKeys,
    held: Held,
}

#[async_trait]
impl Signal for PushSignal {
    async fn read(&self, context: &ReadContext<'_>) -> SignalValue {
        match self.held.at(context.now) {
            Ok(requests) => SignalValue::Known(requests),
            Err(_) if self.keys.silence == Silence::Normal => SignalValue::Known(Vec::new()),
            Err(None) => SignalValue::Unknown("nothing was pushed yet".to_owned()),
            Err(Some(until)) => {
                let seconds = context.now.ms_since(until) / 1_000;
                SignalValue::Unknown(format!("the last push expired {seconds} s ago"))
            }
        }
    }

    fn give(&self, given: Given, now: Moment) -> Result<(), String> {
        let for_s = given.for_s.unwrap_or(self.keys.expires_after_s);
        self.held.hold(given.requests, for_s, now)
    }

    fn held(&self) -> Option<TimedRequests> {
        self.held.held()
    }

    fn restore(&self, held: TimedRequests) {
        self.held.restore(held);
    }
}

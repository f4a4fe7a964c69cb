//! `manual`: what a person asks of the site, with who, why and until when. Without a request of
//! one, nothing is asked.

use async_trait::async_trait;
use serde::Deserialize;

use super::push::Held;
use super::{Given, Keys, ReadContext, Signal, SignalKind, parse_keys};
use crate::moment::Moment;
use crate::request::{SignalValue, TimedRequests};

/// Seconds that a request without a time of its own counts.
const USUAL_S: f64 = 3_600.0;
/// Seconds that any may count.
const MOST_S: f64 = 86_400.0;

/// Characters of a name and of a reason that are kept.
const MOST_CHARACTERS: usize = 120;

/// The kind.
pub struct Manual;

impl SignalKind for Manual {
    fn kind(&self) -> &'static str {
        "manual"
    }
    fn doc(&self) -> &'static str {
        "What a person asks for, by command line, page or REST, with a reason and an end."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    fn signal(&self, keys: Keys) -> Result<Box<dyn Signal>, String> {
        let ManualKeys {} = parse_keys(keys)?;
        Ok(Box::new(ManualSignal(Held::default())))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManualKeys {}

/// Who asks and why, as the name of the event: it is in every decision and row of the signal.
fn said(by: &str, reason: &str) -> String {
    let cut = |text: &str| {
        text.trim()
            .chars()
            .take(MOST_CHARACTERS)
            .collect::<String>()
    };
    format!("{}: {}", cut(by), cut(reason))
}

struct ManualSignal(Held);

#[async_trait]
impl Signal for ManualSignal {
    async fn read(&self, context: &ReadContext<'_>) -> SignalValue {
        // What has ended is no longer asked; a person is never late.
        SignalValue::Known(self.0.at(context.now).unwrap_or_default())
    }

    fn give(&self, given: Given, now: Moment) -> Result<(), String> {
        if given.by.trim().is_empty() || given.reason.trim().is_empty() {
            return Err("say who asks (by) and why (reason)".to_owned());
        }
        let for_s = given.for_s.unwrap_or(USUAL_S);
        if for_s > MOST_S {
            return Err(format!(
                "for_s is {for_s}; it may be at most {MOST_S}, a day"
            ));
        }
        let who = said(&given.by, &given.reason);
        let mut requests = given.requests;
        for request in &mut requests {
            let event = request.event.take();
            request.event =
                Some(event.map_or_else(|| who.clone(), |event| format!("{event}, {who}")));
        }
        self.0.hold(requests, for_s, now)
    }

    fn held(&self) -> Option<TimedRequests> {
        self.0.held()
    }

    fn restore(&self, held: TimedRequests) {
        self.0.restore(held);
    }
}

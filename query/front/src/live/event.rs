//! What subscribers are told, as Server-Sent Events and as messages of a WebSocket.

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::error::QueryError;
use crate::live::chunk::Rows;
use crate::live::place_ids::PlaceIds;
use crate::live::position::Position;

/// A place as a subscriber is told it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    id: String,
    /// The last message of which every row was told, for whom sequences are shown to.
    complete_through: Option<i64>,
}

impl Place {
    /// A place, written as `ids` says.
    pub(super) fn new(ids: &PlaceIds, position: Position) -> Result<Self, QueryError> {
        Ok(Self {
            id: ids.write(position)?,
            complete_through: (!ids.are_sealed()).then(|| complete_through(position)),
        })
    }
}

/// What a subscriber is told.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The subscription begins; nothing is said of rows.
    Opened,
    /// Nothing, so that the connection stays open.
    Heartbeat,
    /// Rows.
    Rows(Rows),
    /// Everything there was before has been told.
    Ready(Place),
    /// Everything up to here has been told.
    Progress(Place),
    /// The rows after this place are not on this connection; they are in the tables. It closes.
    Gap(Place, &'static str),
    /// The server stops; the connection closes.
    Draining(Place),
    /// The connection closes, and coming back will not help.
    Failed(QueryError),
}

/// Milliseconds after which a browser comes back.
const RETRY_MS: u32 = 1_000;

impl Event {
    /// As Server-Sent Events.
    pub(crate) fn to_sse(&self) -> Bytes {
        match self {
            Event::Rows(rows) => rows.events(),
            Event::Opened => format!(": headframe\nretry: {RETRY_MS}\n\n").into(),
            Event::Heartbeat => Bytes::from_static(b": still here\n\n"),
            _ => {
                let id = self.id().map(|id| format!("id: {id}\n"));
                let id = id.unwrap_or_default();
                format!("{id}event: {}\ndata: {}\n\n", self.name(), self.data()).into()
            }
        }
    }

    /// As messages of a WebSocket; none where there is nothing to say.
    pub(crate) fn messages(&self) -> Vec<String> {
        match self {
            Event::Opened | Event::Heartbeat => Vec::new(),
            Event::Rows(rows) => rows
                .each()
                .map(|(id, data)| message("row", Some(id), data))
                .collect(),
            _ => vec![message(self.name(), self.id(), &self.data().to_string())],
        }
    }

    /// Its name.
    fn name(&self) -> &'static str {
        match self {
            Event::Opened => "opened",
            Event::Heartbeat => "heartbeat",
            Event::Rows(_) => "row",
            Event::Ready(_) => "ready",
            Event::Progress(_) => "progress",
            Event::Gap(..) => "gap",
            Event::Draining(_) => "draining",
            Event::Failed(_) => "failed",
        }
    }

    /// Where to go on after it.
    fn id(&self) -> Option<&str> {
        match self {
            Event::Ready(at) | Event::Progress(at) | Event::Gap(at, _) | Event::Draining(at) => {
                Some(&at.id)
            }
            Event::Opened | Event::Heartbeat | Event::Rows(_) | Event::Failed(_) => None,
        }
    }

    fn data(&self) -> Value {
        match self {
            Event::Ready(at) | Event::Progress(at) => match at.complete_through {
                Some(seq) => json!({"complete_through": seq}),
                None => json!({}),
            },
            Event::Gap(at, reason) => json!({
                "after": at.id, "reason": reason,
                "hint": "subscribe again with this id: the rows after it come from the tables",
            }),
            Event::Draining(at) => json!({
                "after": at.id,
                "hint": "the server stops; subscribe again with this id when it is back",
            }),
            Event::Failed(error) => error.to_json()["error"].clone(),
            Event::Opened | Event::Heartbeat | Event::Rows(_) => json!({}),
        }
    }
}

/// An event as JSON; `data` is JSON already.
fn message(name: &str, id: Option<&str>, data: &str) -> String {
    let id = id.map(|id| format!("\"id\":\"{id}\","));
    format!(
        "{{\"event\":\"{name}\",{}\"data\":{data}}}",
        id.unwrap_or_default()
    )
}

/// The last message of which every row was told.
fn complete_through(position: Position) -> i64 {
    match position.row {
        i64::MAX => position.seq,
        _ => position.seq - 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_event_but_a_failure_says_where_to_go_on() {
        let place = |position| Place::new(&PlaceIds::Sequences, position).unwrap();
        let at = place(Position::after_row(7, 3));
        let text = |event: Event| String::from_utf8_lossy(&event.to_sse()).into_owned();
        assert_eq!(
            text(Event::Progress(at.clone())),
            "id: 7.3\nevent: progress\ndata: {\"complete_through\":6}\n\n"
        );
        assert_eq!(
            text(Event::Ready(place(Position::after_message(7)))),
            "id: 7\nevent: ready\ndata: {\"complete_through\":7}\n\n"
        );
        assert!(text(Event::Gap(at.clone(), "slow")).starts_with("id: 7.3\nevent: gap\n"));
        assert!(text(Event::Draining(at.clone())).starts_with("id: 7.3\nevent: draining\n"));
        let error = QueryError::internal("two\nlines");
        let failed = text(Event::Failed(error));
        assert!(failed.starts_with("event: failed\ndata: {"), "{failed}");
        assert_eq!(failed.matches('\n').count(), 3, "{failed}");
        assert_eq!(
            Event::Gap(at, "slow").messages()[0]
                .split(",\"data\"")
                .next(),
            Some("{\"event\":\"gap\",\"id\":\"7.3\"")
        );
        assert!(Event::Heartbeat.messages().is_empty());
    }
}

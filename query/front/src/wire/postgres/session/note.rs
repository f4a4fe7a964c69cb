//! Statements as rows of the stream `requests`: the command and how it was answered, never its
//! text.

use std::time::Instant;

use axum::http::StatusCode;

use crate::request_log::LoggedRequest;
use crate::wire::postgres::outcome::Failure;
use crate::wire::postgres::session::Session;

/// A statement, or a step on the way to one, that is being answered.
pub(super) struct Begun {
    /// The command, as rows name it.
    command: &'static str,
    at: Instant,
    /// Bytes that were sent before it.
    sent: u64,
}

impl Session {
    /// Begins to answer a statement.
    pub(super) fn begin(&self, command: &'static str) -> Begun {
        Begun {
            command,
            at: Instant::now(),
            sent: self.output.sent(),
        }
    }

    /// Notes how it was answered; a client that is gone leaves it as it began.
    pub(super) fn note(&self, begun: Begun, answered: &Result<(), Failure>) {
        let Some(log) = &self.app.request_log else {
            return;
        };
        let request = LoggedRequest {
            wire: "postgres",
            route: begun.command.into(),
            peer: self.refusals.address,
            begun: begun.at,
        };
        let mut entry = log.begin(request, Some(&self.principal));
        entry.sent(self.output.sent() - begun.sent);
        match answered {
            Ok(()) => entry.ended(StatusCode::OK),
            Err(Failure::Statement(error)) => {
                let (_, status) = error.code.parts();
                entry.ended(StatusCode::from_u16(status).unwrap_or_default());
            }
            Err(Failure::Session(_)) => {}
        }
    }
}

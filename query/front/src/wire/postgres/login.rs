//! Who comes in: SCRAM-SHA-256 with a token as the password.
//!
//! The password never crosses the wire, so that it needs no TLS to stay secret. Every user who does
//! not exist is asked like one who does.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use pgwire::api::auth::Password;
use pgwire::api::auth::sasl::scram::{ScramServerAuth, gen_salted_password};

use crate::access::{Guard, Principal, WireLogin};
use crate::peer::network_of;
use crate::rate_limit::RateLimit;
use crate::sqlstate::SqlState;
use crate::wire::postgres::message::Message;
use crate::wire::postgres::outcome::{Ended, Input, Output};

const MECHANISM: &str = "SCRAM-SHA-256";
const ITERATIONS: usize = 4_096;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;
const AUTHENTICATION_OK: u32 = 0;

/// Wrong passwords of one network at once, and how often one more.
const FAILURES: (u32, Duration) = (5, Duration::from_secs(12));
/// How long the answer to a wrong password takes.
const DELAY: Duration = Duration::from_secs(1);
/// The same for a network that has sent many of them.
const LONG_DELAY: Duration = Duration::from_secs(5);

/// Lets clients in.
pub(super) struct Login {
    guard: Guard,
    failures: RateLimit<IpAddr>,
}

impl Login {
    /// By the tokens of this guard.
    pub(super) fn new(guard: Guard) -> Self {
        Self {
            guard,
            failures: RateLimit::new(FAILURES.0, FAILURES.1),
        }
    }

    /// Asks for the password where one is needed, and tells whose session it is.
    pub(super) async fn admit(
        &self,
        user: &str,
        peer: IpAddr,
        input: &mut Input,
        output: &mut Output,
        deadline: tokio::time::Instant,
    ) -> Result<Principal, Ended> {
        let (principal, token) = match self.guard.wire_login(user) {
            WireLogin::Open(principal) => {
                output.authentication(AUTHENTICATION_OK, &[]);
                return Ok(principal);
            }
            WireLogin::Token(principal, token) => (Some(principal), token),
            // No client can know what is made here.
            WireLogin::Nobody => (None, uuid::Uuid::new_v4().to_string()),
        };
        let proof = prove(&token, input, output, deadline).await?;
        if let (Some(principal), Some(proof)) = (principal, proof) {
            output.authentication(SASL_FINAL, proof.as_bytes());
            output.authentication(AUTHENTICATION_OK, &[]);
            return Ok(principal);
        }
        metrics::counter!("headframe_postgres_logins_refused_total").increment(1);
        tracing::warn!(user, %peer, "a log-in by the PostgreSQL wire was refused");
        let few = self.failures.allow(network_of(peer), Instant::now());
        tokio::time::sleep(if few { DELAY } else { LONG_DELAY }).await;
        let message = format!("password authentication failed for user \"{user}\"");
        Err(Ended::Refused(SqlState::InvalidPassword, message))
    }
}

/// The two steps of SCRAM; `None` when the client does not know the password.
async fn prove(
    token: &str,
    input: &mut Input,
    output: &mut Output,
    deadline: tokio::time::Instant,
) -> Result<Option<String>, Ended> {
    output.authentication(SASL, format!("{MECHANISM}\0\0").as_bytes());
    output.flush().await?;
    let first = password_message(input, deadline).await?;
    let first = initial_response(&first).ok_or_else(|| {
        let message = format!("{MECHANISM} is the only way to log in here");
        Ended::Refused(SqlState::InvalidAuthorization, message)
    })?;
    let salt = uuid::Uuid::new_v4().into_bytes().to_vec();
    let salted = gen_salted_password(token, &salt, ITERATIONS);
    let mut scram = ScramServerAuth::new();
    scram.set_iterations(ITERATIONS);
    let begun = scram.on_client_first_message(first, Password::new(Some(salt), salted));
    let Ok((challenge, waiting)) = begun else {
        return Err(malformed());
    };
    output.authentication(SASL_CONTINUE, challenge.as_bytes());
    output.flush().await?;
    let last = password_message(input, deadline).await?;
    Ok(waiting.on_client_final_message(&last).ok())
}

async fn password_message(
    input: &mut Input,
    deadline: tokio::time::Instant,
) -> Result<Vec<u8>, Ended> {
    let message = tokio::time::timeout_at(deadline, input.message(deadline)).await;
    match message.map_err(|_| Ended::Silent)?? {
        Message::Password(bytes) => Ok(bytes),
        Message::Terminate => Err(Ended::Gone),
        _ => Err(malformed()),
    }
}

/// The data of a SASLInitialResponse: the mechanism's name, a length, and as many bytes.
fn initial_response(body: &[u8]) -> Option<&[u8]> {
    let rest = body
        .strip_prefix(MECHANISM.as_bytes())?
        .strip_prefix(b"\0")?;
    let (length, data) = rest.split_first_chunk::<4>()?;
    (usize::try_from(i32::from_be_bytes(*length)).ok()? == data.len()).then_some(data)
}

fn malformed() -> Ended {
    let message = "the log-in does not follow SCRAM-SHA-256".to_owned();
    Ended::Refused(SqlState::ProtocolViolation, message)
}

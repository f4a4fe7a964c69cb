//! Who comes in: SCRAM-SHA-256 with the password of a user, or with one of the two tokens.
//!
//! The password never crosses the wire, so that it needs no TLS to stay secret. A service token is
//! kept as a hash that SCRAM cannot use, and an issuer's token is not kept: both come as the plain
//! password of the user `token`, and over TLS only. Every user who does not exist is asked like one
//! who does, waits as long and is told the same.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::access::accounts::{LoginError, Standing, TokenHolder, Wire};
use crate::access::{Guard, Principal, WireLogin};
use crate::config::PostgresConfig;
use crate::connection::limits::ConnectionLimits;
use crate::peer::network_of;
use crate::rate_limit::RateLimit;
use crate::sqlstate::SqlState;
use crate::wire::postgres::login::scram::{prove, secret_of};
use crate::wire::postgres::message::Message;
use crate::wire::postgres::outcome::{Ended, Input, Output};

mod scram;

const CLEARTEXT: u32 = 3;
const AUTHENTICATION_OK: u32 = 0;

/// The user whose password is a service token.
const TOKEN_USER: &str = "token";

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
    /// A refusal that is held keeps a connection; half of those an address may have, and of all,
    /// stay for others.
    places: ConnectionLimits,
}

/// Who asks to come in.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    /// The name in the start-up packet.
    pub(super) user: &'a str,
    /// The address.
    pub(super) peer: IpAddr,
    /// The certificate of the server that the client saw; with it nobody between can read what is
    /// said.
    pub(super) certificate: Option<&'a CertificateDer<'static>>,
}

/// Somebody who was let in.
pub(super) struct Admitted {
    /// Whose session it is.
    pub(super) principal: Principal,
    /// What it rests on, where that can be revoked.
    pub(super) standing: Option<Standing>,
}

/// Why a client is not let in.
enum Refusal {
    /// Wrong password or user, or too many attempts.
    Login(LoginError),
    /// The connection ended, or does not follow the protocol.
    Ended(Ended),
}

impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        Self::Login(error)
    }
}

impl From<Ended> for Refusal {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl Login {
    /// By the tokens and accounts of this guard.
    pub(super) fn new(guard: Guard, config: &PostgresConfig) -> Self {
        Self {
            guard,
            failures: RateLimit::new(FAILURES.0, FAILURES.1),
            places: ConnectionLimits::new(
                config.max_connections / 2,
                config.max_connections_per_address / 2,
                "headframe_postgres_refusals_held",
            ),
        }
    }

    /// Asks for the password where one is needed, and tells whose session it is.
    pub(super) async fn admit(
        &self,
        caller: Caller<'_>,
        input: &mut Input,
        output: &mut Output,
        deadline: tokio::time::Instant,
    ) -> Result<Admitted, Ended> {
        let refusal = match self.check(caller, input, output, deadline).await {
            Ok(holder) => match self.settle(holder) {
                Some(admitted) => {
                    output.authentication(AUTHENTICATION_OK, &[]);
                    return Ok(admitted);
                }
                None => LoginError::Wrong,
            },
            Err(Refusal::Ended(ended)) => return Err(ended),
            Err(Refusal::Login(refusal)) => refusal,
        };
        self.hold_refusal(caller).await;
        let user = caller.user;
        Err(match refusal {
            LoginError::Wrong => Ended::Refused(
                SqlState::InvalidPassword,
                format!("password authentication failed for user \"{user}\""),
            ),
            LoginError::Throttled(wait) => Ended::Refused(
                SqlState::TooManyConnections,
                format!("{refusal}; try again in {} s", wait.as_secs().max(1)),
            ),
            LoginError::Busy => Ended::Refused(SqlState::TooManyConnections, refusal.to_string()),
        })
    }

    /// The refusal of a session in clear, where TLS is needed.
    pub(super) async fn refuse_plain(&self, caller: Caller<'_>) -> Ended {
        if let Some(accounts) = self.guard.accounts() {
            let reason = "the session was not in TLS";
            accounts.note_refused_login(Wire::Postgres, caller.user, caller.peer, reason);
        }
        self.hold_refusal(caller).await;
        let message = "this server takes sessions in TLS only: connect with sslmode=require, or \
                       verify-full";
        Ended::Refused(SqlState::InvalidAuthorization, message.to_owned())
    }

    /// Returns when a refusal may be told.
    async fn hold_refusal(&self, caller: Caller<'_>) {
        let Caller { user, peer, .. } = caller;
        metrics::counter!("headframe_postgres_logins_refused_total").increment(1);
        tracing::warn!(user, %peer, "a log-in by the PostgreSQL wire was refused");
        let few = self.failures.allow(network_of(peer), Instant::now());
        // Beyond the places it is told at once: how often anybody may try is limited elsewhere.
        if let Ok(_place) = self.places.admit(peer) {
            tokio::time::sleep(if few { DELAY } else { LONG_DELAY }).await;
        }
    }

    /// What the session of a principal rests on; `None` when it was revoked a moment ago.
    fn settle(&self, holder: TokenHolder) -> Option<Admitted> {
        let TokenHolder { principal, ends_us } = holder;
        let standing = match (self.guard.accounts(), ends_us) {
            (Some(accounts), Some(ends_us)) => Some(accounts.standing_until(ends_us)),
            (Some(accounts), None) if principal.is_account() => {
                Some(accounts.standing(&principal)?)
            }
            _ => None,
        };
        Some(Admitted {
            principal,
            standing,
        })
    }

    async fn check(
        &self,
        caller: Caller<'_>,
        input: &mut Input,
        output: &mut Output,
        deadline: tokio::time::Instant,
    ) -> Result<TokenHolder, Refusal> {
        let Caller {
            user,
            peer,
            certificate,
        } = caller;
        if certificate.is_some() && user == TOKEN_USER && self.guard.accounts().is_some() {
            return self.take_token(peer, input, output, deadline).await;
        }
        let accounts = self.guard.accounts();
        match self.guard.wire_login(user) {
            WireLogin::Open(principal) => Ok(principal.into()),
            WireLogin::Token(principal, token) => {
                if let Some(accounts) = accounts {
                    accounts.begin_login(Wire::Postgres, user, peer)?;
                }
                let proof = prove(&secret_of(&token), certificate, input, output, deadline).await?;
                match (proof, accounts) {
                    (true, Some(accounts)) => {
                        accounts.login_succeeded(Wire::Postgres, user, peer, &principal);
                    }
                    (true, None) => {}
                    (false, Some(accounts)) => {
                        accounts.scram_failed(Wire::Postgres, user, peer);
                        return Err(LoginError::Wrong.into());
                    }
                    (false, None) => return Err(LoginError::Wrong.into()),
                }
                Ok(principal.into())
            }
            WireLogin::Account => match accounts {
                Some(accounts) => {
                    let secret = accounts.scram_secret(Wire::Postgres, user, peer)?;
                    if prove(&secret, certificate, input, output, deadline).await? {
                        let user = accounts.scram_succeeded(Wire::Postgres, user, peer)?;
                        return Ok(user.into());
                    }
                    accounts.scram_failed(Wire::Postgres, user, peer);
                    Err(LoginError::Wrong.into())
                }
                None => Err(LoginError::Wrong.into()),
            },
            WireLogin::Nobody => {
                // No client can know what is made here.
                let secret = secret_of(&uuid::Uuid::new_v4().to_string());
                prove(&secret, certificate, input, output, deadline).await?;
                Err(LoginError::Wrong.into())
            }
        }
    }

    /// Asks for a service token or a JWT as the plain password.
    async fn take_token(
        &self,
        peer: IpAddr,
        input: &mut Input,
        output: &mut Output,
        deadline: tokio::time::Instant,
    ) -> Result<TokenHolder, Refusal> {
        output.authentication(CLEARTEXT, &[]);
        output.flush().await.map_err(Ended::from)?;
        let given = password_message(input, deadline).await?;
        let given = given.strip_suffix(b"\0").unwrap_or(&given);
        let given = std::str::from_utf8(given).unwrap_or_default();
        Ok(self.guard.token_login(Wire::Postgres, given, peer)?)
    }
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

fn malformed() -> Ended {
    let message = "the log-in does not follow SCRAM-SHA-256".to_owned();
    Ended::Refused(SqlState::ProtocolViolation, message)
}

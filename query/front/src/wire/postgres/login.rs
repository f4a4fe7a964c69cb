//! Who comes in: SCRAM-SHA-256 with the password of a user, or with one of the two tokens.
//!
//! The password never crosses the wire, so that it needs no TLS to stay secret. A service token of
//! the account store is kept as a hash that SCRAM cannot use: it comes as the plain password of the
//! user `token`, and over TLS only. Every user who does not exist is asked like one who does, waits
//! as long and is told the same.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use pgwire::api::auth::Password;
use pgwire::api::auth::sasl::scram::{ScramServerAuth, gen_salted_password};

use crate::access::accounts::{Accounts, LoginError, ScramSecret, Standing, Wire};
use crate::access::{Guard, Principal, WireLogin};
use crate::peer::network_of;
use crate::rate_limit::RateLimit;
use crate::sqlstate::SqlState;
use crate::wire::postgres::message::Message;
use crate::wire::postgres::outcome::{Ended, Input, Output};

const MECHANISM: &str = "SCRAM-SHA-256";
const ITERATIONS: usize = 4_096;
const CLEARTEXT: u32 = 3;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;
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
}

/// Who asks to come in.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    /// The name in the start-up packet.
    pub(super) user: &'a str,
    /// The address.
    pub(super) peer: IpAddr,
    /// Whether nobody between can read what is said.
    pub(super) is_private: bool,
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
    pub(super) fn new(guard: Guard) -> Self {
        Self {
            guard,
            failures: RateLimit::new(FAILURES.0, FAILURES.1),
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
            Ok(principal) => match self.settle(principal) {
                Some(admitted) => {
                    output.authentication(AUTHENTICATION_OK, &[]);
                    return Ok(admitted);
                }
                None => LoginError::Wrong,
            },
            Err(Refusal::Ended(ended)) => return Err(ended),
            Err(Refusal::Login(refusal)) => refusal,
        };
        let Caller { user, peer, .. } = caller;
        metrics::counter!("headframe_postgres_logins_refused_total").increment(1);
        tracing::warn!(user, %peer, "a log-in by the PostgreSQL wire was refused");
        let few = self.failures.allow(network_of(peer), Instant::now());
        tokio::time::sleep(if few { DELAY } else { LONG_DELAY }).await;
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

    /// What the session of a principal rests on; `None` when it was revoked a moment ago.
    fn settle(&self, principal: Principal) -> Option<Admitted> {
        let standing = match self.guard.accounts() {
            Some(accounts) if principal.is_account() => Some(accounts.standing(&principal)?),
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
    ) -> Result<Principal, Refusal> {
        let Caller { user, peer, .. } = caller;
        let accounts = self.guard.accounts();
        if let Some(accounts) = accounts.filter(|_| caller.is_private && user == TOKEN_USER) {
            return take_token(accounts, peer, input, output, deadline).await;
        }
        match self.guard.wire_login(user) {
            WireLogin::Open(principal) => Ok(principal),
            WireLogin::Token(principal, token) => {
                if let Some(accounts) = accounts {
                    accounts.begin_login(Wire::Postgres, user, peer)?;
                }
                let proof = prove(&secret_of(&token), input, output, deadline).await?;
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
                Ok(principal)
            }
            WireLogin::Account => match accounts {
                Some(accounts) => {
                    let secret = accounts.scram_secret(Wire::Postgres, user, peer)?;
                    if prove(&secret, input, output, deadline).await? {
                        return Ok(accounts.scram_succeeded(Wire::Postgres, user, peer)?);
                    }
                    accounts.scram_failed(Wire::Postgres, user, peer);
                    Err(LoginError::Wrong.into())
                }
                None => Err(LoginError::Wrong.into()),
            },
            WireLogin::Nobody => {
                // No client can know what is made here.
                let secret = secret_of(&uuid::Uuid::new_v4().to_string());
                prove(&secret, input, output, deadline).await?;
                Err(LoginError::Wrong.into())
            }
        }
    }
}

/// What SCRAM needs to check a password that this server knows.
fn secret_of(password: &str) -> ScramSecret {
    let salt = uuid::Uuid::new_v4().into_bytes().to_vec();
    ScramSecret {
        salted_password: gen_salted_password(password, &salt, ITERATIONS),
        iterations: ITERATIONS as u32,
        salt,
    }
}

/// Asks for a service token as the plain password.
async fn take_token(
    accounts: &Accounts,
    peer: IpAddr,
    input: &mut Input,
    output: &mut Output,
    deadline: tokio::time::Instant,
) -> Result<Principal, Refusal> {
    accounts.begin_login(Wire::Postgres, TOKEN_USER, peer)?;
    output.authentication(CLEARTEXT, &[]);
    output.flush().await.map_err(Ended::from)?;
    let given = password_message(input, deadline).await?;
    let given = given.strip_suffix(b"\0").unwrap_or(&given);
    let principal = std::str::from_utf8(given)
        .ok()
        .and_then(|token| accounts.bearer(token).ok());
    match principal {
        Some(principal) => {
            accounts.login_succeeded(Wire::Postgres, TOKEN_USER, peer, &principal);
            Ok(principal)
        }
        None => {
            accounts.scram_failed(Wire::Postgres, TOKEN_USER, peer);
            Err(LoginError::Wrong.into())
        }
    }
}

/// The two steps of SCRAM; false when the client does not know the password.
async fn prove(
    secret: &ScramSecret,
    input: &mut Input,
    output: &mut Output,
    deadline: tokio::time::Instant,
) -> Result<bool, Ended> {
    output.authentication(SASL, format!("{MECHANISM}\0\0").as_bytes());
    output.flush().await?;
    let first = password_message(input, deadline).await?;
    let first = initial_response(&first).ok_or_else(|| {
        let message = format!("{MECHANISM} is the only way to log in here");
        Ended::Refused(SqlState::InvalidAuthorization, message)
    })?;
    let password = Password::new(Some(secret.salt.clone()), secret.salted_password.clone());
    let mut scram = ScramServerAuth::new();
    scram.set_iterations(secret.iterations as usize);
    let Ok((challenge, waiting)) = scram.on_client_first_message(first, password) else {
        return Err(malformed());
    };
    output.authentication(SASL_CONTINUE, challenge.as_bytes());
    output.flush().await?;
    let last = password_message(input, deadline).await?;
    let Ok(proof) = waiting.on_client_final_message(&last) else {
        return Ok(false);
    };
    output.authentication(SASL_FINAL, proof.as_bytes());
    Ok(true)
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

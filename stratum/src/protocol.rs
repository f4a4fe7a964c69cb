//! The stratum dialect XMRig speaks: one JSON object a line, read into a [`Request`] with a
//! [`Command`].
//!
//! Pure: bytes in, values out. What a command does is the session's business; each command's own
//! words are in its file.

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

pub mod answer;
pub mod getjob;
pub mod keepalived;
pub mod lease;
pub mod line;
pub mod login;
mod password;
pub mod reconnect;
pub mod submit;

/// A line as the miner sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Echoed as it came: number, string or null.
    pub id: Value,
    /// What it wants.
    pub command: Command,
}

/// What a miner can want.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Start mining.
    Login(login::Login),
    /// Here is a share.
    Submit(submit::Submit),
    /// I am still here.
    Keepalived,
    /// What should I mine?
    GetJob,
    /// Asks for this many further jobs, one for each machine behind the connection.
    Lease(usize),
    /// A method this pool does not have.
    Unknown(String),
    /// A known method whose parameters have the wrong shape.
    Unusable(&'static str),
}

/// Why a line is no request at all.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// Not JSON, not an object, or without a method.
    #[error("the line is not a JSON request: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    id: Value,
    method: String,
    #[serde(default)]
    params: Value,
}

/// Reads one line.
pub fn parse(line: &[u8]) -> Result<Request, RequestError> {
    let envelope: Envelope =
        serde_json::from_slice(line).map_err(|error| RequestError::Malformed(error.to_string()))?;
    if envelope.id.is_array() || envelope.id.is_object() {
        return Err(RequestError::Malformed(
            "the id is neither number nor string".to_owned(),
        ));
    }
    let command = match envelope.method.as_str() {
        login::METHOD => login::parse(envelope.params),
        submit::METHOD => submit::parse(envelope.params),
        keepalived::METHOD => Command::Keepalived,
        getjob::METHOD => Command::GetJob,
        lease::METHOD => lease::parse(envelope.params),
        _ => Command::Unknown(envelope.method.chars().take(32).collect()),
    };
    Ok(Request {
        id: envelope.id,
        command,
    })
}

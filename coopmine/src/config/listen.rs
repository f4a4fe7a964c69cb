//! An address to listen on.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address to listen on: `ADDRESS:PORT`, or `:PORT` for all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = match text.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}"),
            None => text.replace("localhost:", "127.0.0.1:"),
        };
        let address = whole.parse();
        address
            .map(Self)
            .map_err(|_| format!("{text:?} is no ADDRESS:PORT or :PORT"))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

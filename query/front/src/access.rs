//! Who may do what: the permission of each route, the tokens that grant it, and the guard that
//! compares the two.
//!
//! Without a token the server listens on loopback only and trusts the programs of its machine. Even
//! there a web page that the user happens to visit could send requests, so whatever a browser sends
//! for another site is refused. Reading and operating have a token each: whoever may see the data
//! may not move money.

use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::access::browser::{check_local_program, check_same_site};
use crate::access::token::{TokenError, Tokens};
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};

mod browser;
pub mod token;

/// What a caller must be allowed to do before a route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: probes, which tell nothing about the data.
    Probe,
    /// Nothing where the pool's pages are public, else to read.
    PublicPage,
    /// To read everything.
    Read,
    /// What the stream named in the path asks for.
    WriteStream,
    /// To change something, such as payments and bans.
    Operate,
}

impl Permission {
    /// As the documents write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::Probe => "anybody",
            Permission::PublicPage => "anybody where `query.public_pages` is on, else readers",
            Permission::Read => "readers",
            Permission::WriteStream => "readers, and operators for streams that money follows from",
            Permission::Operate => "operators",
        }
    }
}

/// Who sent a request, for answers that do not tell everybody the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// Somebody without a token, to whom the pool's pages or the probes are open.
    Anonymous,
    /// Whoever may read everything.
    Reader,
    /// Whoever may change something as well.
    Operator,
}

/// How a user of a wire that has users comes in.
pub(crate) enum WireLogin {
    /// Without a password, since the server answers its own machine only.
    Open(Principal),
    /// With this token as the password.
    Token(Principal, String),
    /// Not at all.
    Nobody,
}

/// Compares what a request carries with what its route needs.
#[derive(Clone, Default)]
pub struct Guard {
    tokens: Tokens,
    /// Whether the pool's pages are for everybody.
    public_pages: bool,
    /// Whether this server hands in instructions that move money.
    moves_money: bool,
}

impl Guard {
    /// The guard that the configuration and the environment ask for.
    pub fn from_config(config: &QueryConfig) -> Result<Self, TokenError> {
        Self::from_config_and_token(config, std::env::var(token::OPERATOR_VARIABLE).ok())
    }

    /// The same with the operator's token of another environment.
    pub fn from_config_and_token(
        config: &QueryConfig,
        operator: Option<String>,
    ) -> Result<Self, TokenError> {
        Ok(Self {
            tokens: Tokens::load(config, operator)?,
            public_pages: config.public_pages,
            moves_money: false,
        })
    }

    /// The same guard for a server that makes payments: operators need their token even from this
    /// machine.
    pub fn with_payments(self, moves_money: bool) -> Self {
        Self {
            moves_money,
            ..self
        }
    }

    /// Whose request it is, when that one has the permission of its route.
    pub fn authorize(
        &self,
        permission: Permission,
        request: &Parts,
    ) -> Result<Principal, QueryError> {
        let headers = &request.headers;
        let held = self.tokens.principal(headers);
        if permission == Permission::PublicPage && self.public_pages {
            // A page for everybody may be linked and shown anywhere, behind any proxy.
            if !request.method.is_safe() {
                check_same_site(headers)?;
            }
            return Ok(held);
        }
        check_same_site(headers)?;
        if self.tokens.need_none_to_read() {
            check_local_program(headers, &request.uri)?;
        } else if permission == Permission::Probe {
            return Ok(Principal::Anonymous);
        }
        match permission {
            Permission::Operate => self.authorize_operator(held, headers),
            _ if self.tokens.need_none_to_read() => Ok(held.max_reader()),
            _ if held != Principal::Anonymous => Ok(held),
            _ => Err(self.tokens.reader_missing(headers)),
        }
    }

    /// How a user of a wire that has users comes in: `reader` and `operator` with their tokens, and
    /// every other as a reader where reading needs none.
    pub(crate) fn wire_login(&self, user: &str) -> WireLogin {
        match (self.tokens.of_user(user), self.tokens.need_none_to_read()) {
            (Some((principal, token)), _) => WireLogin::Token(principal, token),
            (None, true) => WireLogin::Open(Principal::Reader),
            (None, false) => WireLogin::Nobody,
        }
    }

    /// Whether readers need a token.
    pub(crate) fn has_reader_token(&self) -> bool {
        !self.tokens.need_none_to_read()
    }

    fn authorize_operator(
        &self,
        held: Principal,
        headers: &HeaderMap,
    ) -> Result<Principal, QueryError> {
        if held == Principal::Operator {
            return Ok(held);
        }
        if self.tokens.has_operator() {
            return Err(QueryError::new(
                ErrorCode::Unauthorized,
                "the operator's bearer token is needed",
                "send Authorization: Bearer <token>, the first line of query.operator_token_file",
            ));
        }
        if self.moves_money || !self.tokens.need_none_to_read() {
            return Err(QueryError::new(
                ErrorCode::NoOperator,
                "this server takes no orders: it has no operator's token",
                "write a token of its own into a file, name it as query.operator_token_file (or \
                 set HEADFRAME_OPERATOR_TOKEN), and start again",
            ));
        }
        browser::check_no_origin(headers)?;
        Ok(Principal::Operator)
    }
}

impl Principal {
    /// This machine's own programs read without a token.
    fn max_reader(self) -> Self {
        match self {
            Principal::Anonymous => Principal::Reader,
            other => other,
        }
    }
}

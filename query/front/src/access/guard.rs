//! The guard: compares what a request carries with what its route needs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::access::accounts::secret::looks_like_token;
use crate::access::accounts::{Accounts, LoginError, TokenHolder, TokenRefusal, Wire};
use crate::access::browser::{
    check_local_program, check_no_origin, check_own_origin, check_same_site,
};
use crate::access::cookie::SessionCookie;
use crate::access::jwt::{
    JwtRefusal, JwtVerifier, OwnTokens, Purpose, VerifiedJwt, looks_like_jwt,
};
use crate::access::token::{self, TokenError, Tokens};
use crate::access::{Permission, Principal, Proof, is_for_producers};
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};
use crate::grpc;
use crate::peer::LimitedAddress;
use crate::rate_limit::RateLimit;

mod program_login;

/// How a user of a wire that has users comes in.
pub(crate) enum WireLogin {
    /// Without a password, since the server answers its own machine only.
    Open(Principal),
    /// With this token as the password.
    Token(Principal, String),
    /// As the account store says.
    Account,
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
    /// Users and service tokens, where this process has them.
    accounts: Option<Accounts>,
    /// The tokens of an issuer, where one is named.
    jwt: Option<Arc<JwtVerifier>>,
    /// The tokens that this system signs, where it does.
    own_tokens: Option<Arc<OwnTokens>>,
    /// Wrong tokens by address.
    wrong_tokens: Arc<WrongTokens>,
}

/// How many wrong tokens an address may send.
struct WrongTokens(RateLimit<IpAddr>);

impl Default for WrongTokens {
    fn default() -> Self {
        Self(RateLimit::new(20, Duration::from_secs(3)))
    }
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
            ..Self::default()
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

    /// The same guard with the accounts of this process.
    pub fn with_accounts(self, accounts: Option<Accounts>) -> Self {
        Self { accounts, ..self }
    }

    /// The same guard that takes the tokens of an issuer.
    pub(crate) fn with_jwt(self, jwt: Option<Arc<JwtVerifier>>) -> Self {
        Self { jwt, ..self }
    }

    /// The same guard that takes the tokens signed here.
    pub(crate) fn with_own_tokens(self, own_tokens: Option<Arc<OwnTokens>>) -> Self {
        Self { own_tokens, ..self }
    }

    /// Whose request it is, when that one has the permission of its route. `subject` is what the
    /// path names: a miner's address or a stream.
    pub fn authorize(
        &self,
        permission: Permission,
        subject: Option<&str>,
        request: &Parts,
    ) -> Result<Principal, QueryError> {
        let headers = &request.headers;
        if permission.is_page() && self.public_pages {
            // A page for everybody may be linked and shown anywhere, behind any proxy.
            if !request.method.is_safe() {
                check_same_site(headers)?;
            }
            let held = self
                .tokens
                .principal(headers)
                .or_else(|| self.account(request)?.ok());
            return Ok(held.unwrap_or_else(Principal::anonymous));
        }
        // An identity provider's page sends a browser back; what it brings proves itself.
        if permission != Permission::Callback {
            check_same_site(headers)?;
        }
        let held = match (self.tokens.principal(headers), self.account(request)) {
            (Some(held), _) | (None, Some(Ok(held))) => Some(held),
            (None, Some(Err(refusal))) if permission != Permission::Probe => {
                return Err(self.refuse(refusal, request));
            }
            _ => None,
        };
        let is_account = held.as_ref().is_some_and(Principal::is_account);
        let is_open_here = self.tokens.need_none_to_read();
        let is_local = || check_local_program(request).is_ok();
        let principal = match held {
            Some(held) => held,
            None if permission.is_for_anybody() && !is_local() => Principal::anonymous(),
            None if is_open_here => Principal::local(),
            None => Principal::anonymous(),
        };
        let needs_origin = permission.is_for_anybody() || principal.proof == Proof::Session;
        if needs_origin && !request.method.is_safe() {
            check_own_origin(headers, &request.uri)?;
        }
        // Who proves that he is somebody of the account store may come through any proxy.
        let is_trusted = is_account || permission.is_for_anybody();
        if is_open_here && !is_trusted {
            check_local_program(request)?;
        }
        if principal.allows(permission, subject) {
            return Ok(principal);
        }
        if is_account {
            return Err(principal.forbidden());
        }
        match permission {
            Permission::Operate => self.authorize_order(&principal, headers),
            Permission::ManageAccounts => Err(admin_missing()),
            Permission::WriteStream if !subject.is_some_and(is_for_producers) => {
                self.authorize_order(&principal, headers)
            }
            _ => Err(self.tokens.reader_missing(headers)),
        }
    }

    /// How a user of a wire that has users comes in: `reader` and `operator` with their tokens, the
    /// users of the account store with their passwords, and every other as a reader where reading
    /// needs none.
    pub(crate) fn wire_login(&self, user: &str) -> WireLogin {
        if let Some((principal, token)) = self.tokens.of_user(user) {
            return WireLogin::Token(principal, token);
        }
        let accounts = self.accounts.as_ref();
        match self.tokens.need_none_to_read() {
            true if accounts.is_some_and(|accounts| accounts.has_user(user)) => WireLogin::Account,
            true => WireLogin::Open(Principal::local()),
            false if accounts.is_some() => WireLogin::Account,
            false => WireLogin::Nobody,
        }
    }

    /// Who logs in with this token as the password.
    pub(crate) fn token_login(
        &self,
        wire: Wire,
        given: &str,
        peer: IpAddr,
    ) -> Result<TokenHolder, LoginError> {
        let accounts = self.accounts.as_ref().ok_or(LoginError::Wrong)?;
        let holder = || self.holder(given).unwrap_or(Err(TokenRefusal::Unknown));
        accounts.token_login(wire, peer, holder)
    }

    /// Whose token this is, where it has the form of one: a service token or a JWT.
    fn holder(&self, given: &str) -> Option<Result<TokenHolder, TokenRefusal>> {
        if looks_like_token(given) {
            let accounts = self.accounts.as_ref()?;
            return Some(accounts.bearer(given).map(TokenHolder::from));
        }
        let verified = looks_like_jwt(given).then(|| self.verify_jwt(given))??;
        let holder = verified.map(|token| TokenHolder {
            principal: token.principal,
            ends_us: Some(token.ends_us),
        });
        Some(holder.map_err(TokenRefusal::Jwt))
    }

    /// Who a JWT is about that was signed here, or else by the issuer.
    fn verify_jwt(&self, given: &str) -> Option<Result<VerifiedJwt, JwtRefusal>> {
        let own_tokens = self.own_tokens.as_ref();
        let own = own_tokens.map(|own| own.verify(Purpose::Bearer, given));
        match (own, &self.jwt) {
            (Some(Err(JwtRefusal::Signature)) | None, Some(jwt)) => Some(jwt.verify(given)),
            (own, _) => own,
        }
    }

    /// Whose token or session a request carries, where it carries one. An error says that it
    /// carries one that is not taken.
    pub(crate) fn holder_of(&self, request: &Parts) -> Option<Result<Principal, QueryError>> {
        if let Some(held) = self.tokens.principal(&request.headers) {
            return Some(Ok(held));
        }
        let held = self.account(request)?;
        Some(held.map_err(|refusal| self.refuse(refusal, request)))
    }

    /// The session of this id, where it is one that this system signed.
    pub(crate) fn signed_session(&self, id: &str) -> Option<VerifiedJwt> {
        let own_tokens = self.own_tokens.as_ref()?;
        own_tokens.verify(Purpose::Session, id).ok()
    }

    /// Users and service tokens, where this process has them.
    pub(crate) fn accounts(&self) -> Option<&Accounts> {
        self.accounts.as_ref()
    }

    /// Whether readers need a token.
    pub(crate) fn has_reader_token(&self) -> bool {
        !self.tokens.need_none_to_read()
    }

    /// Whose service token or session the request carries.
    fn account(&self, request: &Parts) -> Option<Result<Principal, TokenRefusal>> {
        if let Some(given) = token::bearer(&request.headers) {
            let holder = self.holder(given)?;
            return Some(holder.map(|holder| holder.principal));
        }
        // A session that is over is none: whoever may ask without one still may.
        let cookie = SessionCookie::from_request(request);
        let id = cookie.session_id(&request.headers)?;
        if looks_like_jwt(id) {
            let token = self.signed_session(id);
            let token = token.filter(|token| !self.has_ended(token))?;
            return Some(Ok(token.principal));
        }
        self.accounts.as_ref()?.session(id).map(Ok)
    }

    /// Whether a signed session ended before its time.
    fn has_ended(&self, token: &VerifiedJwt) -> bool {
        let (accounts, id) = (self.accounts.as_ref(), token.id.as_deref());
        let ended = accounts
            .zip(id)
            .map(|(accounts, id)| accounts.has_ended(id));
        ended.unwrap_or(false)
    }

    /// The error of a token that is not taken. Who sends many is not even told that.
    fn refuse(&self, refusal: TokenRefusal, request: &Parts) -> QueryError {
        let LimitedAddress(peer) = LimitedAddress::from_request(request);
        metrics::counter!("headframe_http_tokens_refused_total").increment(1);
        if !self.wrong_tokens.0.allow(peer, Instant::now()) {
            return QueryError::new(
                ErrorCode::RateLimit,
                "too many wrong tokens came from this address",
                "send the right one, or wait a minute",
            );
        }
        if let Some(accounts) = &self.accounts {
            let wire = match grpc::call_of(&request.uri) {
                Some(_) => Wire::Flight,
                None => Wire::Http,
            };
            accounts.note_refused_token(wire, &refusal, peer);
        }
        let hint = match refusal {
            TokenRefusal::Jwt(_) => "get a new one from its issuer; rows of `access` say more",
            _ => "an admin makes a new one with `headframe users token`",
        };
        QueryError::new(ErrorCode::Unauthorized, refusal.to_string(), hint)
    }

    /// Lets a program of this machine give orders where nobody has a token for them.
    fn authorize_order(
        &self,
        principal: &Principal,
        headers: &HeaderMap,
    ) -> Result<Principal, QueryError> {
        let has_operator = self.accounts.as_ref().is_some_and(Accounts::has_operator);
        if has_operator || self.tokens.has_operator() {
            return Err(QueryError::new(
                ErrorCode::Unauthorized,
                "the operator's bearer token is needed",
                "send Authorization: Bearer <token>, the first line of query.operator_token_file \
                 or an operator's token of `headframe users token`",
            ));
        }
        if self.moves_money || principal.proof != Proof::LocalProgram {
            return Err(QueryError::new(
                ErrorCode::NoOperator,
                "this server takes no orders: it has no operator's token",
                "write a token of its own into a file, name it as query.operator_token_file (or \
                 set HEADFRAME_OPERATOR_TOKEN), and start again",
            ));
        }
        check_no_origin(headers)?;
        Ok(Principal::local_operator())
    }
}

/// Users and tokens are no matter of token files and of programs of this machine.
fn admin_missing() -> QueryError {
    QueryError::new(
        ErrorCode::Unauthorized,
        "only an admin changes users and tokens here",
        "log in as an admin, or run `headframe users` on the machine itself",
    )
}

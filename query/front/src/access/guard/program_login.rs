//! How a program that has a name and a password gets the bearer token that it sends from then on.

use axum::http::request::Parts;

use crate::access::Guard;
use crate::access::accounts::{TokenRefusal, Wire};
use crate::access::browser::{check_local_program, check_same_site};
use crate::access::token;
use crate::error::{ErrorCode, QueryError};
use crate::peer::LimitedAddress;

/// What clients are given where no token is needed: their libraries want one.
const NO_TOKEN: &str = "none";

impl Guard {
    /// The token of whoever has this password. The password may be a token itself. On a server that
    /// reads without a token an empty one will do.
    pub(crate) async fn log_in(
        &self,
        wire: Wire,
        name: &str,
        password: &str,
        request: &Parts,
    ) -> Result<String, QueryError> {
        check_same_site(&request.headers)?;
        if self.tokens.holder(password).is_some() {
            return Ok(password.to_owned());
        }
        let is_open = self.tokens.need_none_to_read() && check_local_program(request).is_ok();
        if is_open && (password.is_empty() || self.accounts.is_none()) {
            return Ok(NO_TOKEN.to_owned());
        }
        if matches!(self.holder(password), Some(Ok(_))) {
            return Ok(password.to_owned());
        }
        let Some(accounts) = &self.accounts else {
            return Err(self.refuse(TokenRefusal::Unknown, request));
        };
        let LimitedAddress(peer) = LimitedAddress::from_request(request);
        let principal = accounts.check_password(wire, name, password, peer).await?;
        accounts
            .begin_program_session(&principal.name)
            .map_err(|error| {
                let hint = "try again in a second";
                QueryError::new(ErrorCode::Storage, error.to_string(), hint)
            })
    }

    /// Ends the session of the token that a request carries.
    pub(crate) fn log_out(&self, request: &Parts) {
        if let (Some(accounts), Some(token)) = (&self.accounts, token::bearer(&request.headers)) {
            accounts.end_program_session(token);
        }
    }
}

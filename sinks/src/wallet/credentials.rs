//! The wallet's user and password: from the environment or a file, never from the configuration,
//! never in a log.

use std::fmt;
use std::path::Path;

use crate::wallet::LOGIN_VARIABLE;

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ***)", self.user)
    }
}

/// The login that is configured, if any.
pub fn read(file: Option<&Path>) -> Result<Option<Credentials>, String> {
    if let Ok(text) = std::env::var(LOGIN_VARIABLE) {
        return parse(&text)
            .map(Some)
            .ok_or_else(|| format!("{LOGIN_VARIABLE} must be user:password"));
    }
    let Some(path) = file else { return Ok(None) };
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!(
            "payments.wallet.login_file {name} cannot be read: {error}; its first line must be \
             user:password"
        )
    })?;
    parse(&text).map(Some).ok_or_else(|| {
        format!("payments.wallet.login_file {name}: its first line must be user:password")
    })
}

fn parse(text: &str) -> Option<Credentials> {
    let (user, password) = text.lines().next()?.trim().split_once(':')?;
    (!user.is_empty()).then(|| Credentials {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_login_is_one_line_and_does_not_show_its_password() {
        let login = parse("pool:a:b\nmore\n").unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.as_str()),
            ("pool", "a:b")
        );
        assert!(!format!("{login:?}").contains("a:b"));
        assert!(parse("").is_none() && parse("pool").is_none() && parse(":x").is_none());
    }
}

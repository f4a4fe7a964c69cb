//! The secret of a device: from the environment, or from a file that only its owner can read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::config::SourceConfig;

/// What a device wants to see.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A header `Authorization` with a word and a token.
    Token {
        /// The word.
        scheme: String,
        /// The token.
        token: String,
    },
}

// A secret is never part of a log line.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Token { .. } => "Token",
        })
    }
}

impl Credentials {
    /// Reads them. The error names the key and says what to do.
    pub fn load(config: &SourceConfig) -> Result<Self, String> {
        let secret = read_secret(config.secret_env.as_deref(), config.secret_file.as_deref())?;
        let scheme = match config.token_scheme.as_deref() {
            Some(scheme) => scheme,
            None => config.source()?.token_scheme(),
        };
        Self::new(config.user.as_deref(), secret, Some(scheme))
    }

    /// From a user and a password, or from a token and the word before it (`Bearer` when left out).
    pub fn new(
        user: Option<&str>,
        secret: Option<String>,
        token_scheme: Option<&str>,
    ) -> Result<Self, String> {
        match (user, secret) {
            (None, None) => Ok(Self::None),
            (Some(_), None) => {
                Err("user is set without secret_file or secret_env; name the password".to_owned())
            }
            (Some(user), Some(password)) => Ok(Self::Basic {
                user: user.to_owned(),
                password,
            }),
            (None, Some(token)) => Ok(Self::Token {
                scheme: token_scheme.unwrap_or("Bearer").to_owned(),
                token,
            }),
        }
    }
}

/// The secret that stands in a variable of the environment or in the first line of a file of mode
/// 0600 or less; none when neither is named. The error names the key and never the secret.
pub fn read_secret(env: Option<&str>, file: Option<&Path>) -> Result<Option<String>, String> {
    match (env, file) {
        (Some(_), Some(_)) => Err("secret_env and secret_file are both set; keep one".to_owned()),
        (Some(name), None) => match std::env::var(name) {
            Ok(secret) if !secret.is_empty() => Ok(Some(secret)),
            _ => Err(format!("secret_env names {name}, which is not set")),
        },
        (None, Some(path)) => Ok(Some(read_file(path)?)),
        (None, None) => Ok(None),
    }
}

/// The first line of a file of mode 0600 or less.
fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let cannot =
        |error: std::io::Error| format!("secret_file is {shown}, which cannot be read: {error}");
    let mode = std::fs::metadata(path)
        .map_err(cannot)?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "secret_file is {shown}, which others may read (mode {:o}); run chmod 600 {shown}",
            mode & 0o777
        ));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    let secret = text.lines().next().unwrap_or_default().trim().to_owned();
    match secret.is_empty() {
        true => Err(format!("secret_file is {shown}, which is empty")),
        false => Ok(secret),
    }
}

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
        let secret = match (&config.secret_env, &config.secret_file) {
            (Some(_), Some(_)) => {
                return Err("secret_env and secret_file are both set; keep one".to_owned());
            }
            (Some(name), None) => Some(
                std::env::var(name)
                    .map_err(|_| format!("secret_env names {name}, which is not set"))?,
            ),
            (None, Some(path)) => Some(read_file(path)?),
            (None, None) => None,
        };
        match (&config.user, secret) {
            (None, None) => Ok(Self::None),
            (Some(_), None) => {
                Err("user is set without secret_file or secret_env; name the password".to_owned())
            }
            (Some(user), Some(password)) => Ok(Self::Basic {
                user: user.clone(),
                password,
            }),
            (None, Some(token)) => Ok(Self::Token {
                scheme: config
                    .token_scheme
                    .clone()
                    .unwrap_or_else(|| "Bearer".to_owned()),
                token,
            }),
        }
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

//! The section `access.oidc` of the configuration: people who sign in with an identity provider.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

/// Where a provider sends people back to.
pub const CALLBACK_PATH: &str = "/api/v1/login/oidc/callback";
/// What people are given by a provider; a miner's role needs an address, and a wallet proves that.
const ROLES: &[&str] = &["viewer", "operator", "auditor", "admin"];

/// The section `access.oidc`. Without an issuer nobody signs in so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OidcConfig {
    /// The provider, as it calls itself; its discovery document is below this address.
    pub issuer: Option<String>,
    /// What the provider calls us.
    pub client_id: String,
    /// A file with the secret that we share with it, which its owner alone reads.
    /// `HEADFRAME_OIDC_CLIENT_SECRET` in the environment goes before it.
    pub client_secret_file: Option<PathBuf>,
    /// The address of ours that the provider sends people back to.
    pub redirect_url: String,
    /// What is asked of the provider beside `openid`.
    pub scopes: Vec<String>,
    /// The claim with the name that rows and logs have.
    pub name_claim: String,
    /// The claim with what somebody is there: a text or a list of texts.
    pub role_claim: String,
    /// The role that each of its texts gives here.
    pub roles: BTreeMap<String, String>,
    /// A PEM file of the authority that signed the provider's certificate, when it is not a public
    /// one.
    pub ca_file: Option<PathBuf>,
}

impl Default for OidcConfig {
    fn default() -> Self {
        Self {
            issuer: None,
            client_id: "headframe".to_owned(),
            client_secret_file: None,
            redirect_url: String::new(),
            scopes: Vec::new(),
            name_claim: "sub".to_owned(),
            role_claim: "roles".to_owned(),
            roles: BTreeMap::new(),
            ca_file: None,
        }
    }
}

/// Why the section is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OidcConfigError {
    /// Whoever is between could say who somebody is.
    #[error(
        "access.oidc.{key} is {value:?}; it must be an https address (http for a loopback address \
         only){also}"
    )]
    Address {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What else it must be.
        also: &'static str,
    },
    /// Nobody would be let in.
    #[error(
        "access.oidc.roles is empty: name the role of each text of the claim, such as \
         roles = {{ miners-admins = \"admin\" }}"
    )]
    NoRoles,
    /// There is no such role.
    #[error("access.oidc.roles gives the role {0:?}; there are {list}", list = ROLES.join(", "))]
    Role(String),
    /// Nothing can be asked so.
    #[error("access.oidc.{0} is empty; give it a value")]
    Empty(&'static str),
}

impl OidcConfig {
    /// Refuses what cannot work and what must not be.
    pub fn validate(&self) -> Result<(), OidcConfigError> {
        let Some(issuer) = &self.issuer else {
            return Ok(());
        };
        let unfit = |key, value: &str, also| OidcConfigError::Address {
            key,
            value: value.to_owned(),
            also,
        };
        if !is_safe_address(issuer) {
            return Err(unfit("issuer", issuer, ""));
        }
        let redirect = &self.redirect_url;
        if !is_safe_address(redirect) || !redirect.ends_with(CALLBACK_PATH) {
            let also = " that ends in /api/v1/login/oidc/callback";
            return Err(unfit("redirect_url", redirect, also));
        }
        for (key, value) in [
            ("client_id", &self.client_id),
            ("name_claim", &self.name_claim),
            ("role_claim", &self.role_claim),
        ] {
            if value.trim().is_empty() {
                return Err(OidcConfigError::Empty(key));
            }
        }
        if self.roles.is_empty() {
            return Err(OidcConfigError::NoRoles);
        }
        let unknown = |role: &&String| !ROLES.contains(&role.as_str());
        match self.roles.values().find(unknown) {
            Some(role) => Err(OidcConfigError::Role(role.clone())),
            None => Ok(()),
        }
    }
}

/// Whether what is said to this address stays between the two of us.
pub fn is_safe_address(address: &str) -> bool {
    let Ok(address) = Url::parse(address) else {
        return false;
    };
    let is_loopback = match address.host() {
        Some(url::Host::Ipv4(host)) => host.is_loopback(),
        Some(url::Host::Ipv6(host)) => host.is_loopback(),
        Some(url::Host::Domain(host)) => host == "localhost",
        None => return false,
    };
    let has_user = !address.username().is_empty() || address.password().is_some();
    !has_user && (address.scheme() == "https" || (address.scheme() == "http" && is_loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_a_provider_stays_between_us() {
        for safe in [
            "https://id.example.org/realms/a",
            "http://127.0.0.1:8080",
            "http://[::1]:80/x",
            "http://localhost/x",
        ] {
            assert!(is_safe_address(safe), "{safe}");
        }
        for unsafe_ in [
            "http://id.example.org",
            "https://me:secret@id.example.org",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "id.example.org",
            "",
        ] {
            assert!(!is_safe_address(unsafe_), "{unsafe_}");
        }
    }

    #[test]
    fn a_provider_needs_a_way_back_and_roles() {
        let good = OidcConfig {
            issuer: Some("https://id.example.org".to_owned()),
            redirect_url: format!("https://mine.example.org{CALLBACK_PATH}"),
            roles: [("staff".to_owned(), "viewer".to_owned())].into(),
            ..OidcConfig::default()
        };
        assert_eq!(OidcConfig::default().validate(), Ok(()));
        assert_eq!(good.validate(), Ok(()));
        let changed = |change: fn(&mut OidcConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.validate().err().map(|error| error.to_string())
        };
        for (change, said) in [
            (
                (|config| config.issuer = Some("http://id.example.org".to_owned()))
                    as fn(&mut OidcConfig),
                "issuer",
            ),
            (|config| config.redirect_url.clear(), "redirect_url"),
            (|config| config.redirect_url.push('x'), "ends in /api"),
            (|config| config.roles.clear(), "roles is empty"),
            (|config| config.client_id.clear(), "client_id is empty"),
            (
                |config| {
                    config.roles.insert("x".to_owned(), "miner".to_owned());
                },
                "\"miner\"",
            ),
        ] {
            let error = changed(change).unwrap_or_default();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}

//! The certificate of a wire, such as the section `query.tls`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The files of a certificate. With both of them the wire speaks TLS, with neither it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A PEM file with the certificate and whatever stands between it and its authority.
    pub cert_file: Option<PathBuf>,
    /// A PEM file with its key.
    pub key_file: Option<PathBuf>,
}

impl TlsConfig {
    /// Whether the wire speaks TLS.
    pub fn is_on(&self) -> bool {
        self.cert_file.is_some()
    }
}

//! TLS for miners: the pool's certificate, made once and kept, and the fingerprint that miners may
//! pin.
//!
//! XMRig checks no authority and sends no server name; what it can check is the SHA-256 of the
//! certificate. So a pool needs nobody's signature, but must never change its certificate by
//! itself: each miner that pinned it would be locked out.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::config_error::ConfigError;

mod self_signed;

/// The section `[stratum.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Whether connections that begin with a TLS handshake are served, on the same ports as plain
    /// ones.
    pub enabled: bool,
    /// Where the pool's own certificate and key are kept, and made at the first start. Without a
    /// folder and without files there is no TLS; root names a folder within its data folder.
    pub folder: PathBuf,
    /// The operator's certificate chain, PEM; then nothing is made.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            folder: PathBuf::new(),
            cert_file: None,
            key_file: None,
        }
    }
}

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file or folder.
    #[error("cannot {attempt} {path}: {reason}")]
    File {
        attempt: &'static str,
        path: PathBuf,
        reason: std::io::Error,
    },
    /// Not what its name promises.
    #[error("{path} holds no usable {wanted} in PEM form: {reason}")]
    Content {
        path: PathBuf,
        wanted: &'static str,
        reason: String,
    },
    /// Half of the pair is gone.
    #[error(
        "{cert} is there but its key {key} is not; restore the key, or remove the certificate to \
         have a new pair made"
    )]
    KeyGone { cert: PathBuf, key: PathBuf },
    /// The pair does not go together.
    #[error("the certificate {cert} and the key {key} cannot be used: {reason}")]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        reason: rustls::Error,
    },
    /// Making one failed.
    #[error("cannot make a certificate: {0}")]
    Making(#[from] rcgen::Error),
}

impl TlsConfig {
    /// Refuses half a pair.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let half = match (&self.cert_file, &self.key_file) {
            (Some(cert), None) => (
                "tls.cert_file",
                cert,
                "name its key in stratum.tls.key_file",
            ),
            (None, Some(key)) => (
                "tls.key_file",
                key,
                "name its certificate in stratum.tls.cert_file",
            ),
            _ => return Ok(()),
        };
        Err(ConfigError {
            key: half.0,
            value: half.1.display().to_string(),
            reason: half.2.to_owned(),
        })
    }

    /// The same with a folder for the pool's own certificate, if the operator named none.
    pub fn in_folder(mut self, folder: &Path) -> Self {
        if self.folder.as_os_str().is_empty() {
            self.folder = folder.to_owned();
        }
        self
    }
}

/// The pool's certificate, ready to serve.
#[derive(Clone)]
pub struct TlsIdentity {
    /// SHA-256 of the certificate in lower-case hex, as XMRig's `tls-fingerprint` wants it.
    pub fingerprint: String,
    /// The file it came from.
    pub cert_file: PathBuf,
    pub(crate) acceptor: TlsAcceptor,
}

impl TlsIdentity {
    /// Loads the certificate, after making it if this is the first start. `None` when TLS is off or
    /// has no place.
    pub fn load(settings: &TlsConfig) -> Result<Option<Self>, TlsError> {
        if !settings.enabled {
            return Ok(None);
        }
        let (cert, key) = match (&settings.cert_file, &settings.key_file) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            _ if settings.folder.as_os_str().is_empty() => return Ok(None),
            _ => self_signed::pair(&settings.folder)?,
        };
        Self::read(cert, key).map(Some)
    }

    /// The fingerprint of the certificate that is there already; nothing is made. `None` when TLS
    /// is off or nothing was made yet.
    pub fn existing_fingerprint(settings: &TlsConfig) -> Result<Option<String>, TlsError> {
        let made = self_signed::cert_file(&settings.folder);
        let cert_file = settings.cert_file.as_ref().unwrap_or(&made);
        let is_there = settings.cert_file.is_some() || cert_file.exists();
        if !settings.enabled || !is_there {
            return Ok(None);
        }
        let chain = certificates(cert_file)?;
        Ok(chain.first().map(fingerprint))
    }

    fn read(cert_file: PathBuf, key_file: PathBuf) -> Result<Self, TlsError> {
        let chain = certificates(&cert_file)?;
        let fingerprint = chain.first().map(fingerprint).unwrap_or_default();
        let key = PrivateKeyDer::from_pem_slice(&self_signed::read(&key_file)?);
        let key = key.map_err(|error| unusable(&key_file, "private key", error.to_string()))?;
        let config = server_config(chain, key).map_err(|reason| TlsError::Pair {
            cert: cert_file.clone(),
            key: key_file.clone(),
            reason,
        })?;
        self_signed::warn_of_open_key(&key_file);
        Ok(Self {
            fingerprint,
            cert_file,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }
}

/// The certificates of a PEM file, of which there is at least one.
fn certificates(cert_file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = self_signed::read(cert_file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| unusable(cert_file, "certificate", error.to_string()))?;
    if chain.is_empty() {
        let reason = "there is none".to_owned();
        return Err(unusable(cert_file, "certificate", reason));
    }
    Ok(chain)
}

fn unusable(path: &Path, wanted: &'static str, reason: String) -> TlsError {
    TlsError::Content {
        path: path.to_owned(),
        wanted,
        reason,
    }
}

/// What miners pin: SHA-256 of the certificate in lower-case hex.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// Miners stay connected for days and do not resume sessions, so nothing is kept to resume them by.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

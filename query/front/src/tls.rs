//! TLS of the wires: a certificate and its key out of two files, read again when they change.
//!
//! At the start a pair that cannot be used is an error. Later the pair before it goes on being
//! served, because whoever renews a certificate writes two files, one after the other.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_certificate::X509Certificate;

use crate::config::TlsConfig;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a file that are read; no chain is so long.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a wire cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the two files is not named.
    #[error("{section}.{given} is set but {section}.{missing} is not; name both files or neither")]
    HalfPair {
        /// The section of the configuration.
        section: &'static str,
        /// The key that is set.
        given: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// A file cannot be read.
    #[error("{section}.{key}: cannot read {path}: {source}")]
    Read {
        /// The section of the configuration.
        section: &'static str,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is not what its key promises.
    #[error("{section}.{key}: {path} holds no usable {wanted} in PEM form: {reason}")]
    Content {
        /// The section of the configuration.
        section: &'static str,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The two do not go together.
    #[error("{section}: the certificate {cert} and the key {key} cannot be used: {reason}")]
    Pair {
        /// The section of the configuration.
        section: &'static str,
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        reason: String,
    },
}

/// The certificate that a wire serves.
pub struct TlsCertificate {
    files: TlsFiles,
    served: Mutex<Served>,
}

/// Where the pair is, and for which protocols it is served.
struct TlsFiles {
    section: &'static str,
    cert: PathBuf,
    key: PathBuf,
    alpn: Vec<Vec<u8>>,
}

struct Served {
    usable: UsablePair,
    /// What was read last, usable or not; `None` when it could not be read.
    seen: Option<PemPair>,
    /// What was wrong with it, so that the log has it once.
    fault: Option<String>,
}

/// A pair that can be served.
struct UsablePair {
    acceptor: TlsAcceptor,
    /// The certificate that clients see, without those that vouch for it.
    leaf: CertificateDer<'static>,
    /// When it ends, seconds since 1970.
    ends_s: Option<i64>,
}

/// The bytes of the two files.
#[derive(PartialEq, Eq)]
struct PemPair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl TlsCertificate {
    /// The certificate of this section of the configuration; `None` where it names none. `alpn` are
    /// the protocols that clients may choose from, the best first.
    pub fn load(
        section: &'static str,
        config: &TlsConfig,
        alpn: &[&[u8]],
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let half = |given, missing| TlsError::HalfPair {
            section,
            given,
            missing,
        };
        let files = match (&config.cert_file, &config.key_file) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(half("cert_file", "key_file")),
            (None, Some(_)) => return Err(half("key_file", "cert_file")),
            (Some(cert), Some(key)) => TlsFiles {
                section,
                cert: cert.clone(),
                key: key.clone(),
                alpn: alpn.iter().map(|name| name.to_vec()).collect(),
            },
        };
        let pair = files.read()?;
        let usable = files.usable(&pair)?;
        let served = Served {
            usable,
            seen: Some(pair),
            fault: None,
        };
        Ok(Some(Arc::new(Self {
            files,
            served: Mutex::new(served),
        })))
    }

    /// What does the handshake of a new connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.served().usable.acceptor.clone()
    }

    /// The same with the certificate that the client of that connection will see.
    pub(crate) fn acceptor_and_leaf(&self) -> (TlsAcceptor, CertificateDer<'static>) {
        let served = self.served();
        (served.usable.acceptor.clone(), served.usable.leaf.clone())
    }

    /// When the certificate ends, seconds since 1970, as far as it can be read.
    pub fn ends_s(&self) -> Option<i64> {
        self.served().usable.ends_s
    }

    /// Looks at the files again and again, until it is dropped.
    pub async fn follow(&self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            self.reload();
        }
    }

    /// Serves what the files hold now, if that is another pair and can be used.
    fn reload(&self) {
        let read = self.files.read();
        let mut served = self.served();
        let (seen, made) = match read {
            Ok(pair) if served.seen.as_ref() == Some(&pair) => return,
            Ok(pair) => {
                let made = self.files.usable(&pair);
                (Some(pair), made)
            }
            Err(error) => (None, Err(error)),
        };
        served.seen = seen;
        match made {
            Ok(usable) => {
                served.usable = usable;
                served.fault = None;
                let cert = self.files.cert.display();
                tracing::info!(section = self.files.section, %cert, "a new certificate is served");
            }
            Err(error) => {
                let fault = error.to_string();
                if served.fault.as_ref() != Some(&fault) {
                    metrics::counter!("headframe_tls_reloads_failed_total").increment(1);
                    tracing::warn!(%error, "the certificate before it goes on being served");
                }
                served.fault = Some(fault);
            }
        }
    }

    /// Each field is replaced as a whole, so that a panic elsewhere leaves nothing half done.
    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsFiles {
    fn read(&self) -> Result<PemPair, TlsError> {
        Ok(PemPair {
            cert: self.read_file("cert_file", &self.cert)?,
            key: self.read_file("key_file", &self.key)?,
        })
    }

    fn read_file(&self, key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
        read_bounded(path).map_err(|source| TlsError::Read {
            section: self.section,
            key,
            path: path.to_owned(),
            source,
        })
    }

    /// What does handshakes with this pair.
    fn usable(&self, pair: &PemPair) -> Result<UsablePair, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pair.cert).collect();
        let chain = chain.map_err(|error| self.unusable_cert(error.to_string()))?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(self.unusable_cert("there is none".to_owned()));
        };
        let read = X509Certificate::from_der(&leaf).ok();
        let ends_s = read.map(|leaf| leaf.validity_not_after().timestamp());
        let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|error| TlsError::Content {
            section: self.section,
            key: "key_file",
            path: self.key.clone(),
            wanted: "private key",
            reason: error.to_string(),
        })?;
        let mut config = server_config(chain, key).map_err(|error| TlsError::Pair {
            section: self.section,
            cert: self.cert.clone(),
            key: self.key.clone(),
            reason: error.to_string(),
        })?;
        config.alpn_protocols.clone_from(&self.alpn);
        Ok(UsablePair {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            leaf,
            ends_s,
        })
    }

    fn unusable_cert(&self, reason: String) -> TlsError {
        TlsError::Content {
            section: self.section,
            key: "cert_file",
            path: self.cert.clone(),
            wanted: "certificate",
            reason,
        }
    }
}

/// The first bytes of a file, of which keys and certificates have no more.
pub(crate) fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
}

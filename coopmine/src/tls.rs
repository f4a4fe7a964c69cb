//! Mutual TLS between coordinator and workers: both show a certificate of the cluster's own
//! authority, and a worker's carries its id as its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub mod reload;

/// The section `[grpc.tls]` of a coordinator and `[coordinator.tls]` of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// Whether both sides must show a certificate.
    pub enabled: bool,
    /// Our certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authority's certificate, PEM.
    pub ca: PathBuf,
    /// Its list of revoked certificates, PEM, for a coordinator; none when empty.
    pub crl: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file.
    #[error("cannot read {wanted} from {path}: {reason}; `coopmine certs` makes all of them")]
    File {
        /// What should be in it.
        wanted: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The files do not go together.
    #[error("the certificate {cert} cannot be used: {reason}")]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl TlsSection {
    /// What the coordinator serves: who shows no certificate of the authority is refused.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .with_crls(self.revocation_lists()?)
            .only_check_end_entity_revocation();
        let verifier = verifier.build().map_err(|error| self.unusable(&error))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| self.unusable(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain()?, self.key()?)
            .map_err(|error| self.unusable(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// What a worker connects with.
    pub fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| self.unusable(&error))?
            .with_root_certificates(self.roots()?);
        // Without a certificate of its own a worker is refused by the coordinator, which says why.
        let mut config = if self.cert.as_os_str().is_empty() {
            builder.with_no_client_auth()
        } else {
            builder
                .with_client_auth_cert(self.chain()?, self.key()?)
                .map_err(|error| self.unusable(&error))?
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("the authority's certificate", &self.ca)? {
            let added = roots.add(certificate);
            added.map_err(|error| file("the authority's certificate", &self.ca, &error))?;
        }
        Ok(roots)
    }

    fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        if self.crl.as_os_str().is_empty() {
            return Ok(Vec::new());
        }
        let wanted = "the authority's list of revoked certificates";
        let read = CertificateRevocationListDer::pem_file_iter(&self.crl)
            .map_err(|error| file(wanted, &self.crl, &error))?;
        let lists: Result<Vec<_>, _> = read.collect();
        let lists = lists.map_err(|error| file(wanted, &self.crl, &error))?;
        if lists.is_empty() {
            return Err(file(wanted, &self.crl, &"there is none in it"));
        }
        Ok(lists)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates("our certificate", &self.cert)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_file(&self.key).map_err(|error| file("our key", &self.key, &error))
    }

    fn unusable(&self, reason: &dyn std::fmt::Display) -> TlsError {
        TlsError::Pair {
            cert: self.cert.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Whether a certificate is this worker's.
pub fn is_named(certificate: &CertificateDer<'_>, worker: &str) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    ServerName::try_from(worker).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
}

fn certificates(
    wanted: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| file(wanted, path, &error))?;
    let chain: Result<Vec<_>, _> = read.collect();
    let chain = chain.map_err(|error| file(wanted, path, &error))?;
    if chain.is_empty() {
        return Err(file(wanted, path, &"there is none in it"));
    }
    Ok(chain)
}

fn file(wanted: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File {
        wanted,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

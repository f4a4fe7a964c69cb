//! The pool's successor, and whether miners over TLS can be sent to it.
//!
//! A miner that pins the certificate's fingerprint refuses a pool that shows another one, and goes
//! on refusing it: sent there, it mines nowhere. Such a miner is better off when it is merely
//! disconnected, for then it comes back to this pool's own address.

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tls;
use crate::protocol::reconnect::Successor;

/// How long the successor may take to show its certificate: miners wait for it at shutdown.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Why miners over TLS cannot be sent to the successor.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SuccessorError {
    /// It did not show a certificate in time.
    #[error("the successor {successor} shows no certificate: {reason}")]
    Unreachable { successor: String, reason: String },
    /// It shows another one.
    #[error(
        "the successor {successor} shows the certificate {found} and this pool {own}; give both \
         pools the same stratum.tls.cert_file and key_file"
    )]
    OtherCertificate {
        successor: String,
        found: String,
        own: String,
    },
}

/// Where miners are sent at shutdown.
pub(crate) struct Handover {
    pub(crate) successor: Successor,
    /// The fingerprint of this pool's certificate; `None` without TLS.
    own: Option<String>,
    /// Whether the successor shows the same certificate, once a session asked.
    takes_tls_miners: OnceCell<bool>,
}

impl Handover {
    /// To this successor, from a pool with this certificate.
    pub(crate) fn new(successor: Successor, own: Option<String>) -> Self {
        Self {
            successor,
            own,
            takes_tls_miners: OnceCell::new(),
        }
    }

    /// Whether a miner over TLS finds there the certificate that it may have pinned. The successor
    /// is asked once, however many sessions end.
    pub(crate) async fn takes_tls_miners(&self) -> bool {
        let ask = || async {
            let Some(own) = &self.own else {
                return true;
            };
            let compared = compare(&self.successor, own).await;
            if let Err(error) = &compared {
                tracing::warn!(%error, "miners over TLS are not sent to the successor");
            }
            compared.is_ok()
        };
        *self.takes_tls_miners.get_or_init(ask).await
    }
}

/// Asks the successor for its certificate and compares it with this pool's fingerprint.
pub async fn compare(successor: &Successor, own: &str) -> Result<(), SuccessorError> {
    let name = successor.to_string();
    let shown = timeout(PATIENCE, fingerprint_at(&name)).await;
    let found = shown.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    match found {
        Ok(found) if found == own => Ok(()),
        Ok(found) => Err(SuccessorError::OtherCertificate {
            successor: name,
            found,
            own: own.to_owned(),
        }),
        Err(reason) => Err(SuccessorError::Unreachable {
            successor: name,
            reason,
        }),
    }
}

/// The fingerprint of the certificate that a TLS server at `host:port` shows.
async fn fingerprint_at(address: &str) -> Result<String, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let peer = stream.peer_addr().map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    // Miners send no server name either.
    config.enable_sni = false;
    let shaken = TlsConnector::from(Arc::new(config))
        .connect(ServerName::from(peer.ip()), stream)
        .await
        .map_err(|error| format!("the TLS handshake failed: {error}"))?;
    let (_, connection) = shaken.get_ref();
    let first = connection.peer_certificates().and_then(<[_]>::first);
    first
        .map(tls::fingerprint)
        .ok_or_else(|| "it sent no certificate".to_owned())
}

/// Takes any certificate whose key signs the handshake: the fingerprint is compared afterwards.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

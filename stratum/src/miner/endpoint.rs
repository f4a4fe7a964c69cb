//! Where a pool is and how it is reached: an address, perhaps TLS, perhaps a pinned certificate.
//!
//! As XMRig does, no authority is asked whether a pool's certificate is good; what can be checked
//! is that it is the one that the miner's owner pinned.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// XMRig's own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const FINGERPRINT_DIGITS: usize = 64;

/// A pool's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolEndpoint {
    /// `host:port`.
    pub address: String,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The SHA-256 of its certificate in lower-case hex, if it is pinned.
    pub fingerprint: Option<String>,
}

impl PoolEndpoint {
    /// A pool without TLS.
    pub fn plain(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            tls: false,
            fingerprint: None,
        }
    }

    /// The same pool at another address.
    pub(super) fn moved(&self, address: String) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// A connection, within XMRig's time.
    pub(super) async fn connect(&self) -> Result<Box<dyn Transport>, String> {
        match timeout(CONNECT_TIMEOUT, self.connect_now()).await {
            Ok(connected) => connected,
            Err(_) => Err("no answer".to_owned()),
        }
    }

    async fn connect_now(&self) -> Result<Box<dyn Transport>, String> {
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let host = self
            .address
            .rsplit_once(':')
            .map_or(&*self.address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let config = client_config(self.fingerprint.clone()).map_err(|error| error.to_string())?;
        let connected = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await;
        Ok(Box::new(connected.map_err(|error| error.to_string())?))
    }
}

impl fmt::Display for PoolEndpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tls {
            out.write_str("stratum+ssl://")?;
        }
        out.write_str(&self.address)?;
        match &self.fingerprint {
            Some(pin) => write!(out, "#{pin}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PoolEndpoint {
    type Err = String;

    /// Reads `host:port` with the schemes that miners know; `#` and a fingerprint may follow.
    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, fingerprint) = match text.split_once('#') {
            Some((rest, fingerprint)) => (rest, Some(fingerprint.to_lowercase())),
            None => (text, None),
        };
        let tls = ["stratum+ssl://", "stratum+tls://"]
            .iter()
            .find_map(|scheme| rest.strip_prefix(scheme));
        let plain = tls.unwrap_or_else(|| rest.strip_prefix("stratum+tcp://").unwrap_or(rest));
        let port = plain
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty() && !plain.contains("://"))
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            return Err("write it as HOST:PORT, e.g. pool.example.org:3333, or as \
                        stratum+ssl://HOST:PORT with TLS"
                .to_owned());
        }
        let is_fingerprint = |pin: &String| {
            pin.len() == FINGERPRINT_DIGITS && pin.chars().all(|c| c.is_ascii_hexdigit())
        };
        if fingerprint.as_ref().is_some_and(|pin| !is_fingerprint(pin)) {
            return Err(
                "a fingerprint is the SHA-256 of the certificate: 64 hex digits".to_owned(),
            );
        }
        Ok(Self {
            address: plain.to_owned(),
            tls: tls.is_some() || fingerprint.is_some(),
            fingerprint,
        })
    }
}

/// What a pool is talked to over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Transport for S {}

fn client_config(pinned: Option<String>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = PinnedCertificate {
        pinned,
        provider: provider.clone(),
    };
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Takes the pinned certificate, or any when none is pinned.
#[derive(Debug)]
struct PinnedCertificate {
    pinned: Option<String>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let have = hex::encode(Sha256::digest(certificate));
        match &self.pinned {
            Some(pinned) if *pinned != have => Err(rustls::Error::General(format!(
                "the pool's certificate has the fingerprint {have}, not the pinned one"
            ))),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_a_host_a_port_and_perhaps_a_pin() {
        let pin = "Ab".repeat(32);
        for (text, address, tls, pinned) in [
            (
                "pool.example.org:3333",
                "pool.example.org:3333",
                false,
                false,
            ),
            ("[::1]:3333", "[::1]:3333", false, false),
            ("stratum+tcp://a:3333", "a:3333", false, false),
            ("stratum+ssl://a:3333", "a:3333", true, false),
            (&format!("stratum+tls://a:1#{pin}"), "a:1", true, true),
            (&format!("a:1#{pin}"), "a:1", true, true),
        ] {
            let read: PoolEndpoint = text.parse().unwrap();
            assert_eq!((&*read.address, read.tls), (address, tls), "{text}");
            assert_eq!(
                read.fingerprint,
                pinned.then(|| pin.to_lowercase()),
                "{text}"
            );
        }
        for bad in [
            "",
            "pool",
            "pool:",
            ":3333",
            "pool:0",
            "pool:65536",
            "http://pool:1",
            "a:1#ab",
        ] {
            assert!(bad.parse::<PoolEndpoint>().is_err(), "{bad}");
        }
    }
}

//! The certificate: made once, kept for good, private, and never guessed at; and a client that pins
//! it as XMRig does.

use headframe_stratum::net::tls::{TlsConfig, TlsError, TlsIdentity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scripted::{Client, Scene, Stage};

/// XMRig's `tls-fingerprint`: no authority, no name, only the certificate's SHA-256.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = hex::encode(Sha256::digest(cert));
        if found == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General(format!("it is {found}")))
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A TLS client without server name, as XMRig connects by default.
pub async fn handshake(
    stream: TcpStream,
    fingerprint: &str,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Pinned {
        fingerprint: fingerprint.to_owned(),
        provider: provider.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap();
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.enable_sni = false;
    let name = ServerName::from(stream.peer_addr().unwrap().ip());
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

pub async fn client(address: SocketAddr, fingerprint: &str) -> Client {
    let stream = TcpStream::connect(address).await.unwrap();
    Client::over(
        handshake(stream, fingerprint, &rustls::version::TLS13)
            .await
            .unwrap(),
    )
}

pub fn in_folder(folder: &Path) -> TlsConfig {
    TlsConfig::default().in_folder(folder)
}

fn load(settings: &TlsConfig) -> TlsIdentity {
    TlsIdentity::load(settings).unwrap().expect("there is TLS")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// XMRig closes its socket without a word to TLS, a machine that is switched off resets it: neither
/// is an offence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_is_not_banned() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = headframe_stratum::StratumConfig {
        tls: in_folder(folder.path()),
        ..crate::scripted::config()
    };
    config.defence.allow = vec![];
    let stage = Stage::open(Scene::default(), config).await;
    let fingerprint = stage.fingerprint.clone().unwrap();
    for round in 0..15 {
        let over_tls = client(stage.address, &fingerprint).await;
        drop(if round < 10 {
            over_tls.logged_in().await
        } else {
            over_tls
        });
        let stream = TcpStream::connect(stage.address).await.unwrap();
        // Closing then resets the connection.
        stream.set_zero_linger().unwrap();
        drop(Client::over(stream).logged_in().await);
    }
    stage
        .until("all are gone", |stage| stage.stats.snapshot().sessions == 0)
        .await;
    assert_eq!(stage.facts.bans.lock().unwrap().len(), 0);
    drop(client(stage.address, &fingerprint).await.logged_in().await);
    stage.close().await;
}

#[test]
fn a_certificate_is_made_once_and_its_key_is_private() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("made/for/it");
    let first = load(&in_folder(&folder));
    assert_eq!(first.fingerprint.len(), 64);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["stratum-cert.pem", "stratum-key.pem"]);
    assert_eq!(
        (
            mode(&folder.join("stratum-key.pem")),
            mode(&folder.join("stratum-cert.pem"))
        ),
        (0o600, 0o644)
    );
    let bytes = |name| std::fs::read(folder.join(name)).unwrap();
    let (cert, key) = (bytes("stratum-cert.pem"), bytes("stratum-key.pem"));
    assert_eq!(load(&in_folder(&folder)).fingerprint, first.fingerprint);
    assert_eq!(
        (bytes("stratum-cert.pem"), bytes("stratum-key.pem")),
        (cert, key),
        "nothing is made anew"
    );
    let other = tempfile::tempdir().unwrap();
    assert_ne!(
        load(&in_folder(other.path())).fingerprint,
        first.fingerprint
    );
}

#[test]
fn half_a_pair_is_completed_or_refused_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let settings = in_folder(folder.path());
    load(&settings);
    let (cert, key) = (
        folder.path().join("stratum-cert.pem"),
        folder.path().join("stratum-key.pem"),
    );
    // As a crash between the two files leaves it, with a file that was being written.
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&cert).unwrap();
    std::fs::write(folder.path().join("stratum-cert.pem.new"), "half").unwrap();
    load(&settings);
    assert_eq!((std::fs::read(&key).unwrap(), cert.exists()), (kept, true));
    std::fs::remove_file(&key).unwrap();
    let error = TlsIdentity::load(&settings).err().expect("the key is gone");
    assert!(
        matches!(error, TlsError::KeyGone { .. }) && error.to_string().contains("restore the key"),
        "{error}"
    );
    assert!(
        !key.exists(),
        "no new key may appear under a certificate that miners have pinned"
    );
    std::fs::write(&key, "no key").unwrap();
    let error = TlsIdentity::load(&settings)
        .err()
        .expect("the key is no key")
        .to_string();
    assert!(
        error.contains("stratum-key.pem") && error.contains("private key"),
        "{error}"
    );
}

#[test]
fn the_operators_own_pair_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let self_signed = load(&in_folder(folder.path()));
    let empty = tempfile::tempdir().unwrap();
    let own = TlsConfig {
        cert_file: Some(folder.path().join("stratum-cert.pem")),
        key_file: Some(folder.path().join("stratum-key.pem")),
        ..in_folder(empty.path())
    };
    assert_eq!(load(&own).fingerprint, self_signed.fingerprint);
    assert_eq!(
        std::fs::read_dir(empty.path()).unwrap().count(),
        0,
        "nothing is made beside it"
    );
    let elsewhere = tempfile::tempdir().unwrap();
    load(&in_folder(elsewhere.path()));
    let mixed = TlsConfig {
        key_file: Some(elsewhere.path().join("stratum-key.pem")),
        ..own.clone()
    };
    assert!(
        matches!(TlsIdentity::load(&mixed).err(), Some(TlsError::Pair { .. })),
        "a key of another certificate"
    );
    let gone = TlsConfig {
        cert_file: Some(folder.path().join("gone.pem")),
        ..own.clone()
    };
    assert!(
        TlsIdentity::load(&gone)
            .err()
            .unwrap()
            .to_string()
            .contains("gone.pem")
    );
    let half = TlsConfig {
        key_file: None,
        ..own
    };
    assert!(
        half.validate()
            .unwrap_err()
            .to_string()
            .contains("stratum.tls.key_file")
    );
    let off = TlsConfig {
        enabled: false,
        ..in_folder(empty.path())
    };
    assert!(
        TlsIdentity::load(&off).unwrap().is_none()
            && TlsIdentity::load(&TlsConfig::default()).unwrap().is_none()
    );
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

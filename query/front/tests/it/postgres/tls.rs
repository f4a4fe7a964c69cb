//! TLS on the wire: asked for or begun at once, required or not, and service tokens as passwords
//! within it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use headframe_query_front::access::accounts::Accounts;
use headframe_query_front::{AccessConfig, PostgresConfig, QueryConfig, Services, TlsConfig};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::client::{Client, PATIENCE, Reply, Wire, kinds, sqlstate, tag};
use super::scram::{Binding, log_in, log_in_bound};
use crate::account_store::{MemoryStore, PASSWORD, account, accounts, actor};
use crate::jwt::{Issuer, claims, now_s};
use crate::server::{READER, config, token_file};
use crate::tls::{secure, write_pair};

/// The packet by which a client asks for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
const ALPN: &[&[u8]] = &[b"postgresql"];

struct Bed {
    wire: Wire,
    accounts: Accounts,
    store: Arc<MemoryStore>,
    cert: CertificateDer<'static>,
    folder: TempDir,
    _token: tempfile::NamedTempFile,
}

fn tls_in(folder: &Path) -> TlsConfig {
    TlsConfig {
        cert_file: Some(folder.join("cert.pem")),
        key_file: Some(folder.join("key.pem")),
    }
}

impl Bed {
    /// A wire with a certificate, that nobody reads without a token, and the user eva.
    async fn start(postgres: PostgresConfig) -> Self {
        Self::start_for(postgres, AccessConfig::default()).await
    }

    /// The same, which takes the tokens of an issuer.
    async fn start_for(postgres: PostgresConfig, access: AccessConfig) -> Self {
        let (token, folder) = (token_file(READER), tempfile::tempdir().unwrap());
        let cert = write_pair(folder.path());
        let query = QueryConfig {
            token_file: Some(token.path().to_owned()),
            ..config()
        };
        let postgres = PostgresConfig {
            tls: tls_in(folder.path()),
            ..postgres
        };
        let store = MemoryStore::new();
        let accounts = accounts(&store).await;
        let eva = account("eva", "admin");
        accounts.add_user(actor(), eva, PASSWORD).await.unwrap();
        let services = Services {
            postgres,
            access,
            accounts: Some(accounts.clone()),
            ..Services::default()
        };
        let wire = Wire::start_by(query, services).await;
        Self {
            wire,
            accounts,
            store,
            cert,
            folder,
            _token: token,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.wire.address).await.unwrap()
    }

    /// A connection in TLS that the client asked for, as every libpq before 17 does.
    async fn secured(&self) -> Client {
        secured(&self.wire, &self.cert).await
    }

    /// What a log-in with this token as the password is answered.
    async fn log_in_by(&self, token: &str) -> Vec<Reply> {
        let mut client = self.secured().await;
        client.startup(&[("user", "token")]).await;
        assert_eq!(client.reply().await.unwrap(), (b'R', vec![0, 0, 0, 3]));
        client.send(b'p', &[token.as_bytes(), b"\0"].concat()).await;
        client.until_ready().await
    }

    /// `outcome reason` of the last row.
    fn last_row(&self) -> String {
        let row = self.store.rows().pop().unwrap();
        assert_eq!(
            (row.wire.as_str(), row.action.as_str()),
            ("postgres", "login")
        );
        format!("{} {}", row.outcome, row.reason.unwrap_or_default())
    }
}

async fn secured(wire: &Wire, cert: &CertificateDer<'static>) -> Client {
    let mut stream = TcpStream::connect(wire.address).await.unwrap();
    stream.write_all(&SSL_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
    client(secure(stream, cert, &[]).await.unwrap())
}

fn client(stream: impl super::client::Connection + 'static) -> Client {
    Client {
        stream: Box::new(stream),
        backend: Vec::new(),
    }
}

#[tokio::test]
async fn a_proof_holds_for_the_certificate_that_the_client_saw() {
    let (token, folder) = (token_file(READER), tempfile::tempdir().unwrap());
    let cert = write_pair(folder.path());
    let query = QueryConfig {
        token_file: Some(token.path().to_owned()),
        ..config()
    };
    let postgres = PostgresConfig {
        tls: tls_in(folder.path()),
        ..PostgresConfig::default()
    };
    let wire = Wire::start_with(query, postgres).await;
    let (seen, other) = (digest(&SHA256, &cert), digest(&SHA256, b"another"));
    let (plus, plain) = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256");
    let end_point = "p=tls-server-end-point,,";
    for (mechanism, header, data, state) in [
        (plus, end_point, seen.as_ref(), None),
        (plus, end_point, other.as_ref(), Some("28P01")),
        (plus, end_point, b"", Some("28P01")),
        (plus, "p=tls-unique,,", seen.as_ref(), Some("08P01")),
        (plus, "n,,", b"", Some("08P01")),
        (plain, end_point, seen.as_ref(), Some("08P01")),
        // A client that can bind, and was not told that this server can.
        (plain, "y,,", b"", Some("28000")),
        (plain, "n,,", b"", None),
        ("PLAIN", "n,,", b"", Some("28000")),
    ] {
        let binding = Binding {
            mechanism,
            header,
            data,
        };
        let mut client = secured(&wire, &cert).await;
        let (offered, replies) = log_in_bound(&mut client, "reader", READER, &binding).await;
        assert_eq!(offered, "SCRAM-SHA-256-PLUS SCRAM-SHA-256  ");
        assert_eq!(
            sqlstate(&replies).as_deref(),
            state,
            "{mechanism} {header} {data:?}"
        );
    }
    // In clear there is nothing to bind to.
    for (mechanism, header, state) in [(plain, "y,,", None), (plus, end_point, Some("28000"))] {
        let binding = Binding {
            mechanism,
            header,
            data: if state.is_some() { seen.as_ref() } else { b"" },
        };
        let mut client = wire.raw().await;
        let (offered, replies) = log_in_bound(&mut client, "reader", READER, &binding).await;
        assert_eq!(offered, "SCRAM-SHA-256  ");
        assert_eq!(sqlstate(&replies).as_deref(), state, "{mechanism} {header}");
    }
}

#[tokio::test]
async fn a_client_asks_for_tls_or_begins_with_it() {
    let bed = Bed::start(PostgresConfig::default()).await;
    let by_request = bed.secured().await;
    let begun = secure(bed.connect().await, &bed.cert, ALPN).await.unwrap();
    assert_eq!(begun.get_ref().1.alpn_protocol(), Some(ALPN[0]));
    for mut client in [by_request, client(begun)] {
        let replies = log_in(&mut client, "eva", PASSWORD).await;
        assert!(kinds(&replies).ends_with("KZ"), "{replies:?}");
        assert_eq!(tag(&client.query("rows 100000").await), "SELECT 100000");
    }
    // In clear it goes on as before.
    let mut plain = bed.wire.raw().await;
    let replies = log_in(&mut plain, "eva", PASSWORD).await;
    assert!(kinds(&replies).ends_with("KZ"), "{replies:?}");
    // A handshake for another protocol, or for none, is not one for this.
    assert!(
        secure(bed.connect().await, &bed.cert, &[b"h2"])
            .await
            .is_err(),
        "it was meant for HTTP"
    );
    if let Ok(unnamed) = secure(bed.connect().await, &bed.cert, &[]).await {
        let mut unnamed = client(unnamed);
        // The server may have closed already.
        let body = [&196_608_u32.to_be_bytes()[..], b"user\0eva\0\0"].concat();
        let length = (body.len() as u32 + 4).to_be_bytes();
        let _ = unnamed
            .stream
            .write_all(&[&length, &body[..]].concat())
            .await;
        assert!(unnamed.reply().await.is_none(), "nothing is said");
    }
}

#[tokio::test]
async fn where_tls_is_required_no_session_is_in_clear() {
    let bed = Bed::start(PostgresConfig {
        require_tls: true,
        ..PostgresConfig::default()
    })
    .await;
    let mut plain = bed.wire.raw().await;
    plain.startup(&[("user", "eva")]).await;
    let replies = plain.until_ready().await;
    assert_eq!(kinds(&replies), "E");
    assert_eq!(sqlstate(&replies).as_deref(), Some("28000"));
    let said = String::from_utf8_lossy(&replies[0].1).into_owned();
    assert!(said.contains("sslmode=require"), "{said}");
    assert_eq!(bed.last_row(), "refused the session was not in TLS");

    let mut secured = bed.secured().await;
    let replies = log_in(&mut secured, "eva", PASSWORD).await;
    assert!(kinds(&replies).ends_with("KZ"), "{replies:?}");
    // Older clients cancel in clear.
    secured.send(b'Q', b"silent\0").await;
    bed.wire.until(1).await;
    let mut canceller = bed.wire.raw().await;
    let request = [&80_877_102_u32.to_be_bytes()[..], &secured.backend].concat();
    canceller.packet(&request).await;
    assert_eq!(
        sqlstate(&secured.until_ready().await).as_deref(),
        Some("57014")
    );
}

#[tokio::test]
async fn a_service_token_is_a_password_in_tls() {
    let bed = Bed::start(PostgresConfig::default()).await;
    let add = async |name: &str, until_us: Option<i64>| {
        let account = account(name, "viewer");
        let added = bed.accounts.add_token(actor(), account, until_us);
        added.await.unwrap()
    };
    let given = add("grafana", None).await;
    let replies = bed.log_in_by(&given).await;
    assert!(kinds(&replies).ends_with("KZ"), "{replies:?}");
    let row = bed.store.rows().pop().unwrap();
    assert_eq!(
        (
            row.actor.as_deref(),
            row.role.as_deref(),
            row.outcome.as_str()
        ),
        (Some("grafana"), Some("viewer"), "ok")
    );

    let soon_us = now_us() + 50_000;
    let expiring = add("short", Some(soon_us)).await;
    while now_us() <= soon_us {
        tokio::task::yield_now().await;
    }
    let revoked = add("gone", None).await;
    bed.accounts.revoke(actor(), "gone").await.unwrap();
    // Some tokens end with an x.
    let last = if given.ends_with('x') { 'y' } else { 'x' };
    let wrong = format!("{}{last}", &given[..given.len() - 1]);
    let unknown = "refused there is no such token, or it was revoked";
    for (token, row) in [
        (expiring.as_str(), "refused the token short has expired"),
        (&revoked, unknown),
        (&wrong, unknown),
        ("", unknown),
    ] {
        let replies = bed.log_in_by(token).await;
        assert_eq!(kinds(&replies), "E");
        assert_eq!(sqlstate(&replies).as_deref(), Some("28P01"));
        let said = String::from_utf8_lossy(&replies[0].1).into_owned();
        let words = "Mpassword authentication failed for user \"token\"\0";
        assert!(said.contains(words), "everybody is told the same: {said}");
        assert_eq!(bed.last_row(), row);
    }
    bed.log_in_by(&wrong).await;
    let throttled = bed.log_in_by(&given).await;
    assert_eq!(sqlstate(&throttled).as_deref(), Some("53300"));
    assert_eq!(bed.last_row(), "throttled ");
    assert!(!bed.store.everything().contains(&given));
}

#[tokio::test]
async fn a_session_by_token_ends_with_its_token() {
    let bed = Bed::start(PostgresConfig::default()).await;
    let added = bed
        .accounts
        .add_token(actor(), account("t", "viewer"), None);
    let token = added.await.unwrap();
    let mut client = bed.secured().await;
    client.startup(&[("user", "token")]).await;
    client.reply().await.unwrap();
    client.send(b'p', &[token.as_bytes(), b"\0"].concat()).await;
    client.until_ready().await;
    bed.accounts.revoke(actor(), "t").await.unwrap();
    let replies = client.until_ready().await;
    assert_eq!(sqlstate(&replies).as_deref(), Some("57P01"));
}

#[tokio::test]
async fn an_issuers_token_is_a_password_in_tls_until_its_end() {
    let issuer = Issuer::new("a");
    let bed = Bed::start_for(PostgresConfig::default(), issuer.config()).await;
    let miner = json!({"sub": "rig", "role": "miner", "address": "4Own"});
    let token = issuer.sign(&claims(&miner));
    let replies = bed.log_in_by(&token).await;
    assert!(kinds(&replies).ends_with("KZ"), "{replies:?}");
    let row = bed.store.rows().pop().unwrap();
    assert_eq!(
        (
            row.actor.as_deref(),
            row.role.as_deref(),
            row.outcome.as_str()
        ),
        (Some("jwt:rig"), Some("miner"), "ok")
    );
    let expired = issuer.sign(&claims(
        &json!({"iat": now_s() - 900, "exp": now_s() - 300}),
    ));
    let replies = bed.log_in_by(&expired).await;
    assert_eq!(sqlstate(&replies).as_deref(), Some("28P01"));
    assert_eq!(bed.last_row(), "refused a JWT: it has expired");

    let short = issuer.sign(&claims(&json!({"exp": now_s() + 1})));
    let mut client = bed.secured().await;
    client.startup(&[("user", "token")]).await;
    client.reply().await.unwrap();
    client.send(b'p', &[short.as_bytes(), b"\0"].concat()).await;
    let mut states = Vec::new();
    while let Some(reply) = client.reply().await {
        states.extend(sqlstate(&[reply]));
    }
    assert_eq!(states, ["57P01"], "the session ends by itself");
}

#[tokio::test]
async fn no_byte_in_clear_is_taken_into_tls() {
    let bed = Bed::start(PostgresConfig::default()).await;
    let mut stream = bed.connect().await;
    // Somebody between adds a start-up packet in clear behind the client's request.
    let stuffed = [&SSL_REQUEST[..], b"\0\0\0\x11\0\x03\0\0user\0x\0\0"].concat();
    stream.write_all(&stuffed).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
    let mut rest = Vec::new();
    // A reset is an end as well.
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    let _ = read.expect("the server closes");
    assert!(!rest.contains(&b'R'), "{rest:?}");
}

#[tokio::test]
async fn a_handshake_has_the_time_of_a_log_in_and_counts_as_a_connection() {
    let bed = Bed::start(PostgresConfig {
        login_timeout_ms: 600_000,
        max_connections: 2,
        ..PostgresConfig::default()
    })
    .await;
    let mut hanging = bed.connect().await;
    hanging.write_all(&SSL_REQUEST).await.unwrap();
    assert_eq!(hanging.read_u8().await.unwrap(), b'S');
    hanging.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
    let _second = bed.secured().await;
    let mut third = bed.wire.raw().await;
    let refused = third.until_ready().await;
    assert_eq!(sqlstate(&refused).as_deref(), Some("53300"));

    let hasty = Bed::start(PostgresConfig {
        login_timeout_ms: 200,
        ..PostgresConfig::default()
    })
    .await;
    for begin in [
        &b"\x16"[..],
        b"\x16\x03\x01\x02\x00",
        &SSL_REQUEST,
        &SSL_REQUEST[..5],
    ] {
        let mut silent = hasty.connect().await;
        silent.write_all(begin).await.unwrap();
        let mut rest = Vec::new();
        // A reset is an end as well.
        let read = timeout(PATIENCE, silent.read_to_end(&mut rest)).await;
        let _ = read.expect("the server closes");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_served() {
    let bed = Bed::start(PostgresConfig::default()).await;
    let new = write_pair(bed.folder.path());
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let renewed = async {
        while secure(bed.connect().await, &new, ALPN).await.is_err() {
            pace.tick().await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("the new one comes");
    let old = secure(bed.connect().await, &bed.cert, ALPN).await;
    assert!(old.is_err(), "the one before is served no more");
}

fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_micros()).unwrap()
}

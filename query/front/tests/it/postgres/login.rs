//! Who is let in.

use headframe_query_front::{PostgresConfig, QueryConfig, Server, Services};

use super::client::{Client, Wire, kinds, sqlstate};
use crate::server::{READER, config, token_file};

async fn refused(client: &mut Client) -> Option<String> {
    sqlstate(&client.until_ready().await)
}

#[tokio::test]
async fn without_a_token_the_wire_is_for_loopback_only() {
    let open = Services {
        postgres: PostgresConfig {
            listen: Some("0.0.0.0:0".parse().unwrap()),
            ..PostgresConfig::default()
        },
        ..Services::default()
    };
    let error = Server::bind(config(), open)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("postgres.listen") && error.contains("token_file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_user_and_a_wrong_password_are_told_the_same() {
    let token = token_file(READER);
    let query = QueryConfig {
        token_file: Some(token.path().to_owned()),
        ..config()
    };
    let wire = Wire::start_with(query, PostgresConfig::default()).await;
    for user in ["reader", "operator", "nobody", "postgres"] {
        let mut client = wire.raw().await;
        client.startup(&[("user", user)]).await;
        let (kind, body) = client.reply().await.unwrap();
        assert_eq!(
            (kind, &body[..]),
            (b'R', &b"\0\0\0\x0aSCRAM-SHA-256\0\0"[..]),
            "{user}"
        );
        let first = b"n,,n=,r=abcdefghijklmnop";
        let length = (first.len() as u32).to_be_bytes();
        client
            .send(b'p', &[b"SCRAM-SHA-256\0", &length[..], first].concat())
            .await;
        let (kind, body) = client.reply().await.unwrap();
        assert_eq!((kind, &body[..4]), (b'R', &[0, 0, 0, 11][..]), "{user}");
        let challenge = String::from_utf8(body[4..].to_vec()).unwrap();
        let (nonce, rest) = challenge.split_once(',').unwrap();
        assert!(
            rest.starts_with("s=") && rest.ends_with(",i=4096"),
            "{challenge}"
        );
        let proof = "A".repeat(43);
        client
            .send(b'p', format!("c=biws,{nonce},p={proof}=").as_bytes())
            .await;
        assert_eq!(
            refused(&mut client).await.as_deref(),
            Some("28P01"),
            "{user}"
        );
    }
}

#[tokio::test]
async fn a_log_in_follows_its_protocol_and_ends_in_time() {
    let token = token_file(READER);
    let query = QueryConfig {
        token_file: Some(token.path().to_owned()),
        ..config()
    };
    let postgres = PostgresConfig {
        login_timeout_ms: 200,
        ..PostgresConfig::default()
    };
    let wire = Wire::start_with(query.clone(), postgres).await;
    let mut silent = wire.raw().await;
    assert_eq!(refused(&mut silent).await.as_deref(), Some("08P01"));
    let wire = Wire::start_with(query, PostgresConfig::default()).await;
    for (kind, body, state) in [
        (b'p', &b"READER\0"[..], "28000"),
        (b'p', b"SCRAM-SHA-256\0\0\0\0\x01", "28000"),
        (b'p', b"SCRAM-SHA-256\0\0\0\0\x01n", "08P01"),
        (b'p', b"SCRAM-SHA-256\0\0\0\0\x02\xff\xfe", "08P01"),
        (b'Q', b"rows 1\0", "08P01"),
    ] {
        let mut client = wire.raw().await;
        client.startup(&[("user", "reader")]).await;
        client.reply().await.unwrap();
        client.send(kind, body).await;
        assert_eq!(
            refused(&mut client).await.as_deref(),
            Some(state),
            "{body:?}"
        );
    }
    assert_eq!(wire.seen.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_session_begins_with_what_clients_must_know() {
    let wire = Wire::start().await;
    let mut client = wire.raw().await;
    // No TLS is configured; a client that does not insist goes on without.
    client.packet(&80_877_103_u32.to_be_bytes()).await;
    let mut answer = [0; 1];
    tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut answer)
        .await
        .unwrap();
    assert_eq!(&answer, b"N");
    let options = [
        ("user", "me"),
        ("options", "-c statement_timeout=5s"),
        ("DateStyle", "ISO"),
    ];
    client.startup(&options).await;
    let replies = client.until_ready().await;
    assert_eq!(kinds(&replies), format!("R{}KZ", "S".repeat(13)));
    let status = |name: &str| {
        let wanted = [name.as_bytes(), b"\0"].concat();
        let body = replies
            .iter()
            .find_map(|(_, body)| body.strip_prefix(&wanted[..]));
        String::from_utf8(body.unwrap().to_vec()).unwrap()
    };
    for (name, value) in [
        ("server_version", "16.6\0"),
        ("is_superuser", "off\0"),
        ("integer_datetimes", "on\0"),
        ("session_authorization", "me\0"),
        ("TimeZone", "UTC\0"),
    ] {
        assert_eq!(status(name), value);
    }
    let timeout = client.query("SHOW statement_timeout").await;
    assert_eq!(super::client::texts(&timeout), [["5s"]]);
}

//! Before the first line: balancers that may and may not speak for others, TLS where there is none,
//! ports with settings of their own.

use headframe_stratum::StratumConfig;
use headframe_stratum::net::port::{PortConfig, PortScheme};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::facts::Memory;
use crate::proxy;
use crate::scripted::{Client, Scene, Stage, config};
use crate::server::{CAPTURED, NONCE, RESULT, is_ok, message};
use crate::tls;

fn behind(list: &[&str]) -> StratumConfig {
    StratumConfig {
        trusted_proxies: list.iter().map(|text| (*text).to_owned()).collect(),
        ..config()
    }
}

/// A connection that begins with these bytes.
async fn beginning(stage: &Stage, bytes: &[u8]) -> TcpStream {
    beginning_from(stage, "127.0.0.1", bytes).await
}

/// The same from another address of this machine.
async fn beginning_from(stage: &Stage, from: &str, bytes: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(from.parse().unwrap(), 0))
        .unwrap();
    let mut stream = socket.connect(stage.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_balancer_speaks_for_its_miners() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::open(
        Scene::default(),
        StratumConfig {
            tls: tls::in_folder(folder.path()),
            ..behind(&["127.0.0.0/8"])
        },
    )
    .await;
    let header = proxy::from("203.0.113.7:51234".parse().unwrap(), &[0x04, 0, 1, 0]);
    let mut plain = Client::over(beginning(&stage, &header).await)
        .logged_in()
        .await;
    assert!(is_ok(&plain.submit(NONCE, RESULT).await));
    // The header goes first, the handshake after it.
    let relayed = beginning(&stage, &header).await;
    let shaken = tls::handshake(
        relayed,
        stage.fingerprint.as_deref().unwrap(),
        &rustls::version::TLS13,
    )
    .await
    .unwrap();
    assert!(is_ok(
        &Client::over(shaken)
            .logged_in()
            .await
            .submit(NONCE, RESULT)
            .await
    ));
    // To everything behind the listener the connection is the miner's, not the balancer's.
    let came_from = |facts: &Memory| {
        facts
            .sessions
            .lock()
            .unwrap()
            .iter()
            .map(|row| row.ip.clone())
            .collect::<Vec<_>>()
    };
    stage
        .facts
        .until("both logins", |facts| came_from(facts).len() >= 2)
        .await;
    assert!(
        came_from(&stage.facts).iter().all(|ip| ip == "203.0.113.7"),
        "{:?}",
        came_from(&stage.facts)
    );
    // A health check of the balancer's own, and a header that comes byte by byte together with the
    // login.
    Client::over(beginning(&stage, &proxy::header(0x20, 0, &[])).await)
        .logged_in()
        .await;
    let mut slow = TcpStream::connect(stage.address).await.unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in &header {
        slow.write_all(&[*byte]).await.unwrap();
        slow.flush().await.unwrap();
    }
    Client::over(slow).logged_in().await;
    for (bytes, reason) in [
        (
            b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 3333\r\n".to_vec(),
            "version 1 (text) is not supported",
        ),
        (
            CAPTURED.lines().next().unwrap().as_bytes().to_vec(),
            "header was expected from this balancer",
        ),
        (
            proxy::header(0x21, 0x12, &[0; 12]),
            "is not a TCP connection",
        ),
    ] {
        let refused = Client::over(beginning(&stage, &bytes).await).hear().await;
        assert!(message(&refused).contains(reason), "{refused}");
    }
    stage.close().await;
    // Half a header: the login time ends it.
    let stage = Stage::open(
        Scene::unready(),
        StratumConfig {
            login_timeout_s: 1,
            ..behind(&["127.0.0.0/8"])
        },
    )
    .await;
    assert_eq!(
        Client::over(beginning(&stage, &header[..20]).await)
            .hear()
            .await,
        Value::Null
    );
    stage.close().await;
}

/// What the pool says to this, to its very end; an error where the connection is reset, which may
/// take what was said with it.
async fn last_words(stage: &Stage, bytes: &[u8]) -> std::io::Result<String> {
    let (mut stream, mut said) = (beginning(stage, bytes).await, String::new());
    stream.read_to_string(&mut said).await.map(|_| said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_arrives_though_more_was_sent_than_read() {
    let login = CAPTURED.lines().next().unwrap().as_bytes();
    let text = [
        b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 3333\r\n",
        login,
        b"\n",
    ]
    .concat();
    let header = [
        &proxy::from("203.0.113.7:51234".parse().unwrap(), &[])[..],
        login,
        b"\n",
    ]
    .concat();
    let trusting = Stage::open(Scene::unready(), behind(&["127.0.0.0/8"])).await;
    assert!(
        last_words(&trusting, &text)
            .await
            .unwrap()
            .contains("version 1 (text) is not supported")
    );
    trusting.close().await;
    let mut strict = behind(&["10.0.0.7"]);
    strict.defence.allow = vec![];
    strict.defence.limits.connections_per_address = 1;
    let stage = Stage::open(Scene::default(), strict).await;
    assert!(
        last_words(&stage, &header)
            .await
            .unwrap()
            .contains("stratum.trusted_proxies")
    );
    // One that is let in, and from its address one too many.
    let _inside = Client::over(beginning_from(&stage, "127.0.0.9", b"").await)
        .logged_in()
        .await;
    let mut outside = beginning_from(&stage, "127.0.0.9", &[login, b"\n"].concat()).await;
    let mut said = String::new();
    outside.read_to_string(&mut said).await.unwrap();
    assert!(
        said.contains("Too many connections from your address"),
        "{said}"
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_may_claim_to_be_somebody() {
    let stage = Stage::open(Scene::default(), behind(&["10.0.0.7"])).await;
    let header = proxy::from("203.0.113.7:51234".parse().unwrap(), &[]);
    let refused = Client::over(beginning(&stage, &header).await).hear().await;
    assert!(
        message(&refused).contains("stratum.trusted_proxies"),
        "{refused}"
    );
    // Without TLS a handshake is not taken for a line; the connection just ends.
    assert_eq!(
        Client::over(beginning(&stage, &[0x16, 3, 1, 0, 5]).await)
            .hear()
            .await,
        Value::Null
    );
    stage.miner().await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_port_has_its_own_difficulty() {
    let port = |start, fixed, nicehash| PortConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        start_difficulty: start,
        fixed_difficulty: fixed,
        min_difficulty: Some(8),
        max_difficulty: Some(1 << 20),
        nicehash,
        scheme: PortScheme::Pool,
    };
    let ports = vec![
        port(Some(1024), None, false),
        port(None, Some(4096), false),
        port(Some(256), None, true),
    ];
    let stage = Stage::open(Scene::default(), StratumConfig { ports, ..config() }).await;
    let login = |pass: &str| {
        let mut line: Value = serde_json::from_str(CAPTURED.lines().next().unwrap()).unwrap();
        line["params"]["pass"] = json!(pass);
        line.to_string()
    };
    // Each port's own, and what a login may wish within its bounds.
    for (port, pass, target, extensions) in [
        (0, "x", "ffffff0f", 2),
        (1, "x", "ffff3f00", 2),
        (2, "x", "ffff0f00", 2),
        (3, "x", "ffffff00", 3),
        (1, "d=64", "ffffff03", 2),
        (2, "d=64", "ffffff03", 2),
        (2, "d=1", "ffffff1f", 2),
        (2, "d=99999999999", "ff0f0000", 2),
    ] {
        let mut client = Client::over(TcpStream::connect(stage.ports[port]).await.unwrap());
        let answer = client.ask(&login(pass)).await;
        assert_eq!(
            answer["result"]["job"]["target"], target,
            "port {port} with {pass}"
        );
        assert_eq!(
            answer["result"]["extensions"].as_array().unwrap().len(),
            extensions,
            "port {port}"
        );
    }
    stage.close().await;
}

#[test]
fn ports_that_cannot_work_are_refused() {
    let port = |listen: &str| PortConfig {
        listen: listen.parse().unwrap(),
        start_difficulty: None,
        fixed_difficulty: None,
        min_difficulty: None,
        max_difficulty: None,
        nicehash: false,
        scheme: PortScheme::Solo,
    };
    let refusal = |ports: Vec<PortConfig>| {
        let config = StratumConfig {
            listen: "127.0.0.1:3333".parse().unwrap(),
            ports,
            ..config()
        };
        config.validate().map_err(|error| error.to_string())
    };
    assert_eq!(
        refusal(vec![
            port("127.0.0.1:3334"),
            port("127.0.0.1:0"),
            port("127.0.0.1:0")
        ]),
        Ok(())
    );
    for (ports, reason) in [
        (vec![port("127.0.0.1:3333")], "is there twice"),
        (
            vec![port("127.0.0.1:4"), port("127.0.0.1:4")],
            "is there twice",
        ),
        (
            vec![PortConfig {
                min_difficulty: Some(10),
                max_difficulty: Some(9),
                ..port("127.0.0.1:4")
            }],
            "min_difficulty",
        ),
        (
            vec![PortConfig {
                min_difficulty: Some(0),
                ..port("127.0.0.1:4")
            }],
            "min_difficulty",
        ),
        (
            vec![PortConfig {
                max_difficulty: Some(u64::MAX),
                ..port("127.0.0.1:4")
            }],
            "max_difficulty",
        ),
        (
            vec![PortConfig {
                fixed_difficulty: Some(10),
                min_difficulty: Some(11),
                ..port("127.0.0.1:4")
            }],
            "fixed_difficulty",
        ),
        (
            vec![PortConfig {
                start_difficulty: Some(0),
                ..port("127.0.0.1:4")
            }],
            "start_difficulty",
        ),
    ] {
        let said = refusal(ports).unwrap_err();
        assert!(
            said.contains(reason) && said.starts_with("stratum.ports = 127.0.0.1:"),
            "{said}"
        );
    }
}

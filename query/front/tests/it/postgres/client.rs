//! A client that speaks the protocol byte by byte, so that it can also speak it wrongly.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use headframe_query_front::access::accounts::Accounts;
use headframe_query_front::{PostgresConfig, QueryConfig, Server, Services};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::engine::{Seen, engines};
use crate::server::config;

/// No test waits so long unless something hangs.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A server with the wire on.
pub struct Wire {
    pub address: SocketAddr,
    pub seen: Seen,
    pub stop: CancellationToken,
}

impl Wire {
    pub async fn start() -> Self {
        Self::start_with(config(), PostgresConfig::default()).await
    }

    pub async fn start_with(query: QueryConfig, postgres: PostgresConfig) -> Self {
        Self::start_for(query, postgres, None).await
    }

    /// The same with users.
    pub async fn start_for(
        query: QueryConfig,
        postgres: PostgresConfig,
        accounts: Option<Accounts>,
    ) -> Self {
        let services = Services {
            postgres,
            accounts,
            ..Services::default()
        };
        Self::start_by(query, services).await
    }

    /// The same with whatever else a process gives its server.
    pub async fn start_by(query: QueryConfig, services: Services) -> Self {
        let seen = Seen::default();
        let services = Services {
            engines: Some(engines(&seen)),
            postgres: PostgresConfig {
                listen: Some("127.0.0.1:0".parse().unwrap()),
                ..services.postgres
            },
            ..services
        };
        let bound = Server::bind(query, services).await.unwrap();
        let (address, stop) = (bound.postgres_address().unwrap(), CancellationToken::new());
        tokio::spawn(bound.run(stop.clone()));
        Self {
            address,
            seen,
            stop,
        }
    }

    /// A connection that has said nothing yet.
    pub async fn raw(&self) -> Client {
        self.raw_from(Ipv4Addr::LOCALHOST).await
    }

    /// The same from another address of this machine.
    pub async fn raw_from(&self, from: Ipv4Addr) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        Client {
            stream: Box::new(socket.connect(self.address).await.unwrap()),
            backend: Vec::new(),
        }
    }

    /// A session that is ready.
    pub async fn connect(&self) -> Client {
        let mut client = self.raw().await;
        client
            .startup(&[("user", "somebody"), ("database", "headframe")])
            .await;
        client.until_ready().await;
        client
    }

    /// Waits until the engine works on as many statements.
    pub async fn until(&self, count: usize) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.seen.working.load(std::sync::atomic::Ordering::SeqCst) != count {
            assert!(
                std::time::Instant::now() < deadline,
                "not {count} statements"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A connection, in clear or in TLS.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

pub struct Client {
    pub stream: Box<dyn Connection>,
    /// The number and the key of the session.
    pub backend: Vec<u8>,
}

/// A message of the server: its first byte and its body.
pub type Reply = (u8, Vec<u8>);

impl Client {
    pub async fn startup(&mut self, parameters: &[(&str, &str)]) {
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        self.packet(&body).await;
    }

    /// A packet without a kind, as those before a session are.
    pub async fn packet(&mut self, body: &[u8]) {
        let length = (body.len() as u32 + 4).to_be_bytes();
        self.stream
            .write_all(&[&length, body].concat())
            .await
            .unwrap();
    }

    pub async fn send(&mut self, kind: u8, body: &[u8]) {
        let length = (body.len() as u32 + 4).to_be_bytes();
        self.stream
            .write_all(&[&[kind][..], &length, body].concat())
            .await
            .unwrap();
    }

    pub async fn query(&mut self, sql: &str) -> Vec<Reply> {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat()).await;
        self.until_ready().await
    }

    /// The next message; `None` when the server has closed.
    pub async fn reply(&mut self) -> Option<Reply> {
        let mut head = [0; 5];
        match timeout(PATIENCE, self.stream.read_exact(&mut head))
            .await
            .unwrap()
        {
            Ok(_) => {}
            Err(_) => return None,
        }
        let [kind, length @ ..] = head;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        timeout(PATIENCE, self.stream.read_exact(&mut body))
            .await
            .unwrap()
            .ok()?;
        if kind == b'K' {
            self.backend = body.clone();
        }
        Some((kind, body))
    }

    /// Everything up to ReadyForQuery, or to the end of the connection.
    pub async fn until_ready(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.reply().await {
            let ready = reply.0 == b'Z';
            replies.push(reply);
            if ready {
                break;
            }
        }
        replies
    }
}

/// The kinds of messages, one letter each.
pub fn kinds(replies: &[Reply]) -> String {
    replies.iter().map(|(kind, _)| char::from(*kind)).collect()
}

/// The SQLSTATE of the first error.
pub fn sqlstate(replies: &[Reply]) -> Option<String> {
    let (_, body) = replies.iter().find(|(kind, _)| *kind == b'E')?;
    let fields = body.split(|byte| *byte == 0);
    let state = fields.filter_map(|field| field.strip_prefix(b"C")).next()?;
    Some(String::from_utf8(state.to_vec()).unwrap())
}

/// The values of the rows.
pub fn rows(replies: &[Reply]) -> Vec<Vec<Option<Vec<u8>>>> {
    let bodies = replies.iter().filter(|(kind, _)| *kind == b'D');
    bodies.map(|(_, body)| row(body)).collect()
}

fn row(body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let count = u16::from_be_bytes([body[0], body[1]]);
    let mut rest = &body[2..];
    let mut values = Vec::new();
    for _ in 0..count {
        let length = i32::from_be_bytes(rest[..4].try_into().unwrap());
        rest = &rest[4..];
        values.push((length >= 0).then(|| {
            let (value, behind) = rest.split_at(length as usize);
            rest = behind;
            value.to_vec()
        }));
    }
    assert!(rest.is_empty());
    values
}

/// The rows as text; NULL is `-`.
pub fn texts(replies: &[Reply]) -> Vec<Vec<String>> {
    let text = |value: Option<Vec<u8>>| match value {
        Some(value) => String::from_utf8(value).unwrap(),
        None => "-".to_owned(),
    };
    rows(replies)
        .into_iter()
        .map(|row| row.into_iter().map(text).collect())
        .collect()
}

/// The word that ended the last statement.
pub fn tag(replies: &[Reply]) -> String {
    let (_, body) = replies.iter().rfind(|(kind, _)| *kind == b'C').unwrap();
    String::from_utf8(body[..body.len() - 1].to_vec()).unwrap()
}

/// Parts of messages.
pub fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [
        text(name),
        text(sql),
        (types.len() as u16).to_be_bytes().to_vec(),
    ]
    .concat();
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    body
}

/// Values in text or in binary, and the formats of the answer.
pub fn bind(portal: &str, name: &str, values: &[(i16, Option<&[u8]>)], formats: &[i16]) -> Vec<u8> {
    let mut body = [text(portal), text(name)].concat();
    body.extend((values.len() as u16).to_be_bytes());
    values
        .iter()
        .for_each(|(format, _)| body.extend(format.to_be_bytes()));
    body.extend((values.len() as u16).to_be_bytes());
    for (_, value) in values {
        let length = value.map_or(-1, |value| value.len() as i32);
        body.extend(length.to_be_bytes());
        body.extend(value.unwrap_or_default());
    }
    body.extend((formats.len() as u16).to_be_bytes());
    formats
        .iter()
        .for_each(|format| body.extend(format.to_be_bytes()));
    body
}

pub fn execute(portal: &str, max_rows: i32) -> Vec<u8> {
    [text(portal), max_rows.to_be_bytes().to_vec()].concat()
}

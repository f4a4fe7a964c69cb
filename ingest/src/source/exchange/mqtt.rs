//! Subscribes to topics of a broker, and keeps the newest message of each until it is taken.
//!
//! A session lives as long as its connection. Who takes messages and finds none connects anew, at
//! its own pace and after failures later and later; the session itself never does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_rustls::TlsConnector;

use super::{Failure, unreachable};
use crate::source::Subscription;
use crate::source::config::Broker;
use crate::source::credentials::Credentials;
use crate::source::mqtt_packet::{
    Connect, Packet, PacketError, Publish, REFUSED, Stored, stored_bytes,
};

/// Between two signs of life to a broker.
const PING: Duration = Duration::from_secs(20);
/// Without any sign of life from it.
const SILENCE: Duration = Duration::from_secs(50);
/// Bytes of a packet around its payload, and of the answers of a broker.
const MORE_BYTES: usize = 70_000;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a source keeps its session between two polls.
#[derive(Default)]
pub struct SessionSlot(tokio::sync::Mutex<Option<Session>>);

/// What a session needs to know.
pub struct SessionPlan<'a> {
    /// Where.
    pub broker: &'a Broker,
    /// Who.
    pub credentials: &'a Credentials,
    /// What.
    pub subscription: &'a Subscription,
    /// Bytes that a payload may have.
    pub most: usize,
}

impl SessionSlot {
    /// The newest message of each topic, with those that were taken before; connects where there is
    /// no connection.
    pub async fn messages(&self, plan: &SessionPlan<'_>) -> Result<Bytes, Failure> {
        let mut slot = self.0.lock().await;
        if let Some(session) = slot.as_ref() {
            match session.take() {
                Ok(messages) => return Ok(messages),
                // A connection that broke may come back at once.
                Err(Failure::Unreachable(_)) => *slot = None,
                Err(failure) => {
                    *slot = None;
                    return Err(failure);
                }
            }
        }
        let session = Session::open(plan).await?;
        let messages = session.take();
        *slot = Some(session);
        messages
    }
}

/// What a connection brought.
#[derive(Default)]
struct Inbox {
    newest: BTreeMap<String, Stored>,
    ended: Option<Failure>,
}

/// A connection with its subscriptions.
struct Session {
    inbox: Arc<Mutex<Inbox>>,
    task: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    async fn open(plan: &SessionPlan<'_>) -> Result<Self, Failure> {
        let topics = plan.subscription.topics.clone();
        let mut connection = Connection {
            stream: connect(plan).await?,
            bytes: BytesMut::new(),
            most: plan.most + MORE_BYTES,
        };
        connection.log_in(plan.credentials).await?;
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let mut reader = Reader {
            connection,
            topics,
            most: plan.most,
            inbox: inbox.clone(),
        };
        reader.subscribe().await?;
        let ended_inbox = inbox.clone();
        let task = tokio::spawn(async move {
            let failure = reader.run().await;
            locked(&ended_inbox).ended = Some(failure);
        });
        Ok(Self { inbox, task })
    }

    /// The newest messages; those that are new are not from now on. When there is nothing new and
    /// the connection has ended, the reason.
    fn take(&self) -> Result<Bytes, Failure> {
        let mut inbox = locked(&self.inbox);
        let has_news = inbox.newest.values().any(|message| message.is_new);
        if let (Some(failure), false) = (&inbox.ended, has_news) {
            return Err(failure.clone());
        }
        let messages: Vec<Stored> = inbox.newest.values().cloned().collect();
        for message in inbox.newest.values_mut() {
            message.is_new = false;
        }
        Ok(stored_bytes(&messages))
    }
}

async fn connect(plan: &SessionPlan<'_>) -> Result<Box<dyn Stream>, Failure> {
    let Broker { host, port, is_tls } = plan.broker;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let connected = TcpStream::connect((bare, *port)).await;
    let stream = connected.map_err(|error| unreachable(&error))?;
    if !is_tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(bare.to_owned())
        .map_err(|_| Failure::Refused(format!("{bare} is no name that a certificate can have")))?;
    let connector = connector(plan.subscription.tls_ca.as_deref()).map_err(Failure::Refused)?;
    let stream = connector.connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| unreachable(&error))?))
}

/// Trusts the authorities in this file, or those of the system. The error names the key.
fn connector(tls_ca: Option<&Path>) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS can be made: {error}"))?;
    let builder = match tls_ca {
        Some(path) => {
            let shown = path.display();
            let wrong = |error: &dyn std::fmt::Display| {
                format!("tls_ca is {shown}, which has no certificates that can be read: {error}")
            };
            let mut roots = rustls::RootCertStore::empty();
            let file = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
            for certificate in file {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder
            .with_platform_verifier()
            .map_err(|error| format!("the system's authorities cannot be read: {error}"))?,
    };
    let config = builder.with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Packets over a stream.
struct Connection {
    stream: Box<dyn Stream>,
    bytes: BytesMut,
    most: usize,
}

impl Connection {
    async fn send(&mut self, packet: &Packet) -> Result<(), Failure> {
        let sent = async {
            self.stream.write_all(&packet.bytes()).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| unreachable(&error))
    }

    /// The next packet. Nothing is lost where this is dropped.
    async fn next(&mut self) -> Result<Packet, Failure> {
        loop {
            match Packet::take(&mut self.bytes, self.most) {
                Ok(Some(packet)) => return Ok(packet),
                Ok(None) => {}
                Err(PacketError::TooLong) => {
                    return Err(Failure::TooLong(self.most.saturating_sub(MORE_BYTES)));
                }
                Err(PacketError::Malformed(reason)) => {
                    return Err(Failure::Malformed(format!("the broker's {reason}")));
                }
            }
            let read = self.stream.read_buf(&mut self.bytes).await;
            if read.map_err(|error| unreachable(&error))? == 0 {
                let text = "the broker closed the connection";
                return Err(Failure::Unreachable(text.to_owned()));
            }
        }
    }

    async fn log_in(&mut self, credentials: &Credentials) -> Result<(), Failure> {
        let login = match credentials {
            Credentials::None => None,
            Credentials::Basic { user, password } => Some((user.clone(), password.clone())),
            Credentials::Token { .. } => {
                let text = "set user beside the password; a broker knows no tokens";
                return Err(Failure::Refused(text.to_owned()));
            }
        };
        let connect = Connect {
            // Two programs that subscribe to the same device must not push each other out.
            client_id: format!("headframe-{:016x}", rand::random::<u64>()),
            keep_alive_s: SILENCE.as_secs() as u16,
            login,
        };
        self.send(&Packet::Connect(connect)).await?;
        let reason = match self.next().await? {
            Packet::ConnAck(0) => return Ok(()),
            Packet::ConnAck(1) => "it does not speak MQTT 3.1.1",
            Packet::ConnAck(2) => "it does not like the client's name",
            Packet::ConnAck(3) => "it is not available",
            Packet::ConnAck(4) => "user or password is wrong",
            Packet::ConnAck(5) => "the user may not connect",
            _ => "it says something else",
        };
        Err(Failure::Refused(format!("the broker refuses us: {reason}")))
    }
}

/// Reads what is published.
struct Reader {
    connection: Connection,
    topics: Vec<String>,
    most: usize,
    inbox: Arc<Mutex<Inbox>>,
}

impl Reader {
    async fn subscribe(&mut self) -> Result<(), Failure> {
        let topics = Packet::Subscribe(1, self.topics.clone());
        self.connection.send(&topics).await?;
        loop {
            match self.connection.next().await? {
                Packet::SubAck(1, codes) => {
                    let mut pairs = self.topics.iter().zip(&codes);
                    return match pairs.find(|(_, code)| **code >= REFUSED) {
                        Some((topic, _)) => Err(Failure::Refused(format!(
                            "the broker refuses the topic {topic}; may this user read it?"
                        ))),
                        None => Ok(()),
                    };
                }
                packet => self.store(packet)?,
            }
        }
    }

    fn store(&self, packet: Packet) -> Result<(), Failure> {
        match packet {
            Packet::Publish(publish) => self.store_message(publish),
            Packet::PingResp => Ok(()),
            _ => Err(Failure::Malformed(
                "the broker sends what only clients send".to_owned(),
            )),
        }
    }

    fn store_message(&self, publish: Publish) -> Result<(), Failure> {
        if publish.payload.len() > self.most {
            return Err(Failure::TooLong(self.most));
        }
        // What nobody subscribed to would grow without end.
        if self.topics.contains(&publish.topic) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let stored = Stored {
                at_us: now.map_or(0, |now| now.as_micros() as i64),
                is_new: true,
                publish,
            };
            let mut inbox = locked(&self.inbox);
            inbox.newest.insert(stored.publish.topic.clone(), stored);
        }
        Ok(())
    }

    /// Reads until the connection ends; why it did.
    async fn run(mut self) -> Failure {
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let done = tokio::select! {
                packet = self.connection.next() => {
                    heard = Instant::now();
                    packet.and_then(|packet| self.store(packet))
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE {
                        let text = "the broker gives no sign of life";
                        return Failure::Unreachable(text.to_owned());
                    }
                    self.connection.send(&Packet::PingReq).await
                }
            };
            if let Err(failure) = done {
                return failure;
            }
        }
    }
}

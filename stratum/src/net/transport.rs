//! What happens between a connection and its first line.
//!
//! One port serves plain and TLS, told apart by the first byte: a TLS handshake begins with 0x16, a
//! miner's line never does. Before either, a trusted balancer says who is behind it. All of it runs
//! in the connection's own task and within the login time, so that nobody who says nothing holds up
//! anybody else.

use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::disconnect::Disconnect;
use super::proxy::{self, ProxyError, ProxySource, SIGNATURE, TrustedProxies};
use super::stream::{self, StreamReader, StreamWriter};
use super::tls::TlsIdentity;
use crate::defence::refusal::Refusal;
use crate::protocol::answer;

/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// The first byte of a PROXY header.
const HEADER: u8 = SIGNATURE[0];
/// How long a refusal may take to arrive at somebody who is going to be dropped anyway, and how
/// much of its is read meanwhile.
const DISMISSAL_TIME: Duration = Duration::from_secs(1);
const DISMISSAL_BYTES: u64 = 16 * 1024;
/// How many are seen off like this at once; any more are dropped as soon as they were told.
const MAX_DISMISSALS: usize = 64;

/// What the connections need to know before their first line.
pub(crate) struct TransportNegotiator {
    pub(crate) trusted: TrustedProxies,
    pub(crate) identity: Option<TlsIdentity>,
    /// Whether the operator was told of a balancer and this pool that do not agree; one line is
    /// enough.
    warned: AtomicBool,
    dismissals: Semaphore,
}

impl TransportNegotiator {
    /// Believes these balancers and serves TLS with this certificate.
    pub(crate) fn new(trusted: TrustedProxies, identity: Option<TlsIdentity>) -> Self {
        Self {
            trusted,
            identity,
            warned: AtomicBool::new(false),
            dismissals: Semaphore::new(MAX_DISMISSALS),
        }
    }

    /// The miner's own address: the socket's peer, or who a trusted balancer says it is, within
    /// `patience`.
    pub(crate) async fn resolve_peer(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        patience: Duration,
    ) -> Result<SocketAddr, Disconnect> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if !self.trusted.contains(peer.ip()) {
            return Ok(peer);
        }
        match timeout(patience, read_header(stream))
            .await
            .map_err(|_| Disconnect::LoginTimeout)??
        {
            Ok(ProxySource::Socket) => Ok(peer),
            Ok(ProxySource::Miner(miner)) => Ok(miner),
            Err(error) => Err(self.refuse(stream, peer, &error.to_string()).await),
        }
    }

    /// Both directions of a connection whose miner is known, after the handshake if it begins with
    /// one.
    pub(crate) async fn open(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<(StreamReader, StreamWriter), Disconnect> {
        let mut first = [0];
        if stream.peek(&mut first).await.map_err(Disconnect::broken)? == 0 {
            return Err(Disconnect::Closed);
        }
        match (first[0], &self.identity) {
            (TLS_HANDSHAKE, Some(identity)) => handshake(&identity.acceptor, stream).await,
            (TLS_HANDSHAKE, None) => Err(Disconnect::refused(Refusal::TlsOff)),
            (HEADER, _) => {
                let reason = "PROXY protocol headers are only taken from the addresses in \
                              stratum.trusted_proxies, and once a connection";
                Err(self.refuse(&mut stream, peer, reason).await)
            }
            _ => Ok(stream::plain(stream)),
        }
    }

    /// Says why, to whoever is there and once to the operator, who alone can mend it.
    async fn refuse(&self, stream: &mut TcpStream, peer: SocketAddr, reason: &str) -> Disconnect {
        metrics::counter!("headframe_stratum_proxy_headers_refused_total").increment(1);
        if !self.warned.swap(true, Relaxed) {
            tracing::warn!(%peer, reason, "a connection was refused; further ones like it are only \
                                           counted");
        }
        self.dismiss(stream, Refusal::ProxyHeader, reason).await
    }

    /// Says why in plain text. A connection that is closed with something unread is reset, and a
    /// reset may take with it what was said last: so the other side is told that this was all, and
    /// what it still says is read until it goes, too. It is no friend, so that is for a moment, so
    /// many bytes and so many connections only.
    pub(crate) async fn dismiss(
        &self,
        stream: &mut TcpStream,
        refusal: Refusal,
        reason: &str,
    ) -> Disconnect {
        let line = answer::error(&Value::Null, reason);
        let place = self.dismissals.try_acquire();
        let dismissal = async {
            stream.write_all(line.as_bytes()).await?;
            stream.shutdown().await?;
            if place.is_ok() {
                tokio::io::copy(&mut stream.take(DISMISSAL_BYTES), &mut tokio::io::sink()).await?;
            }
            std::io::Result::Ok(())
        };
        // The connection ends whether or not this is read.
        let _ = timeout(DISMISSAL_TIME, dismissal).await;
        Disconnect::Refused(refusal, reason.to_owned())
    }
}

/// Reads exactly the header's bytes: what follows it belongs to the miner.
async fn read_header(
    stream: &mut TcpStream,
) -> Result<Result<ProxySource, ProxyError>, Disconnect> {
    let mut header = Vec::with_capacity(64);
    loop {
        let wanted = match proxy::bytes_missing(&header) {
            Ok(0) => return Ok(proxy::parse(&header)),
            Ok(wanted) => wanted,
            Err(error) => return Ok(Err(error)),
        };
        if (&mut *stream)
            .take(wanted as u64)
            .read_buf(&mut header)
            .await
            .map_err(Disconnect::broken)?
            == 0
        {
            return Err(Disconnect::Closed);
        }
    }
}

/// Boxed, because a handshake's state is large and short-lived, and a session's is small and
/// long-lived.
async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> Result<(StreamReader, StreamWriter), Disconnect> {
    let shaken = Box::pin(acceptor.accept(stream)).await;
    let result = if shaken.is_ok() { "done" } else { "failed" };
    metrics::counter!("headframe_stratum_tls_handshakes_total", "result" => result).increment(1);
    shaken.map(stream::tls).map_err(|error| {
        let reason = format!("the TLS handshake failed: {error}");
        Disconnect::Refused(Refusal::TlsFailed, reason)
    })
}

//! What a connection is spoken over: in clear, or in TLS, which a client asks for by SSLRequest or
//! begins at once, as `sslnegotiation=direct` of PostgreSQL 17 does.
//!
//! Nothing is read ahead before the handshake, so that no byte in clear is taken for one of the
//! session in TLS.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;

use crate::tls::TlsCertificate;
use crate::wire::postgres::message::{Startup, read_startup};
use crate::wire::postgres::outcome::{Input, Output};
use crate::wire::postgres::reader::MessageReader;
use crate::wire::postgres::reply::Replies;

/// What a client that begins with TLS must name, so that its handshake is for no other protocol.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// The first byte of a TLS connection, which no start-up packet begins with.
const TLS_HANDSHAKE: u8 = 0x16;
/// Requests for encryption before a session's own packet: TLS, GSSAPI, and each once more.
const MAX_REQUESTS: usize = 4;
/// A request for encryption: its length in four bytes, and its number.
const REQUEST_BYTES: usize = 8;
const REQUEST_LENGTH: [u8; 4] = [0, 0, 0, REQUEST_BYTES as u8];

/// A connection whose encryption is settled.
pub(super) struct Transport {
    pub(super) input: Input,
    pub(super) output: Output,
    /// The certificate of the handshake; with it nobody between can read what is said.
    pub(super) certificate: Option<CertificateDer<'static>>,
}

/// How connections are opened.
pub(super) struct Transports {
    /// What TLS is spoken with, where it is.
    pub(super) certificate: Option<Arc<TlsCertificate>>,
    /// The longest message of a client.
    pub(super) max_bytes: usize,
    /// How long a message that began may take.
    pub(super) message_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub(super) write_timeout: Duration,
}

impl Transports {
    /// Settles the encryption of a connection; `None` when it ended before that. The handshake has
    /// to be done at the deadline.
    pub(super) async fn open(&self, mut stream: TcpStream, deadline: Instant) -> Option<Transport> {
        let mut first = [0];
        let peeked = timeout_at(deadline, stream.peek(&mut first)).await;
        if matches!(peeked, Ok(Ok(0) | Err(_))) {
            return None;
        }
        if first == [TLS_HANDSHAKE] && self.certificate.is_some() {
            let (stream, certificate) = self.handshake(stream, deadline).await?;
            // Without the name it could be a request of HTTP that somebody turned this way.
            let is_named = stream.get_ref().1.alpn_protocol() == Some(ALPN);
            return is_named.then(|| self.in_tls(stream, certificate));
        }
        let mut head = Vec::with_capacity(REQUEST_BYTES);
        for _ in 0..MAX_REQUESTS {
            let request = read_request(&mut stream, &mut head);
            match timeout_at(deadline, request).await {
                Ok(Ok(Some(Startup::Tls))) if self.certificate.is_some() => {
                    stream.write_all(b"S").await.ok()?;
                    let (stream, certificate) = self.handshake(stream, deadline).await?;
                    return Some(self.in_tls(stream, certificate));
                }
                Ok(Ok(Some(_))) => {
                    stream.write_all(b"N").await.ok()?;
                    head.clear();
                }
                Ok(Err(_)) => return None,
                // Whatever came so far is for the reader of start-up packets, which says what is
                // wrong with it.
                Ok(Ok(None)) | Err(_) => break,
            }
        }
        let (read, write) = stream.into_split();
        Some(self.transport(read, write, head, None))
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        deadline: Instant,
    ) -> Option<(TlsStream<TcpStream>, CertificateDer<'static>)> {
        let (acceptor, certificate) = self.certificate.as_ref()?.acceptor_and_leaf();
        let done = timeout_at(deadline, acceptor.accept(stream)).await;
        let error = match done {
            Ok(Ok(stream)) => return Some((stream, certificate)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took longer than postgres.login_timeout_ms".to_owned(),
        };
        tracing::debug!(error, "a TLS handshake failed");
        metrics::counter!("headframe_postgres_handshakes_failed_total").increment(1);
        None
    }

    fn in_tls(
        &self,
        stream: TlsStream<TcpStream>,
        certificate: CertificateDer<'static>,
    ) -> Transport {
        let (read, write) = tokio::io::split(stream);
        self.transport(read, write, Vec::new(), Some(certificate))
    }

    fn transport(
        &self,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        head: Vec<u8>,
        certificate: Option<CertificateDer<'static>>,
    ) -> Transport {
        let read: Box<dyn AsyncRead + Send + Unpin> = Box::new(read);
        let write: Box<dyn AsyncWrite + Send + Unpin> = Box::new(write);
        Transport {
            input: MessageReader::new(read, head, self.max_bytes, self.message_timeout),
            output: Replies::new(write, self.write_timeout),
            certificate,
        }
    }
}

/// Reads the next packet into `head` when it is a request for encryption. Of every other one no
/// more is read than tells it from those.
async fn read_request(
    stream: &mut TcpStream,
    head: &mut Vec<u8>,
) -> std::io::Result<Option<Startup>> {
    while head.len() < REQUEST_BYTES {
        let missing = (REQUEST_BYTES - head.len()) as u64;
        if (&mut *stream).take(missing).read_buf(head).await? == 0 {
            return Ok(None);
        }
        if head
            .iter()
            .zip(REQUEST_LENGTH)
            .any(|(is, wanted)| *is != wanted)
        {
            return Ok(None);
        }
    }
    let request = read_startup(&head[REQUEST_LENGTH.len()..]).ok();
    Ok(request.filter(|request| matches!(request, Startup::Tls | Startup::Gss)))
}

//! A connection's two directions, plain or TLS, behind one type each.
//!
//! An enum and not a boxed trait: a plain connection, of which there are thousands, pays nothing
//! for the other kind.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

/// What the miner says.
#[derive(Debug)]
pub(crate) enum Reading {
    Plain(OwnedReadHalf),
    Tls(ReadHalf<TlsStream<TcpStream>>),
}

/// What the miner is told. After a write over TLS it must be flushed, or the end of it may stay
/// behind.
#[derive(Debug)]
pub(crate) enum Writing {
    Plain(OwnedWriteHalf),
    Tls(WriteHalf<TlsStream<TcpStream>>),
}

/// Both directions of a plain connection.
pub(crate) fn plain(stream: TcpStream) -> (Reading, Writing) {
    let (read, write) = stream.into_split();
    (Reading::Plain(read), Writing::Plain(write))
}

/// Both directions of a connection whose handshake is done.
pub(crate) fn tls(stream: TlsStream<TcpStream>) -> (Reading, Writing) {
    let (read, write) = tokio::io::split(stream);
    (Reading::Tls(read), Writing::Tls(write))
}

impl AsyncRead for Reading {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Reading::Plain(half) => Pin::new(half).poll_read(context, bytes),
            Reading::Tls(half) => Pin::new(half).poll_read(context, bytes),
        }
    }
}

impl AsyncWrite for Writing {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Writing::Plain(half) => Pin::new(half).poll_write(context, bytes),
            Writing::Tls(half) => Pin::new(half).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Writing::Plain(half) => Pin::new(half).poll_flush(context),
            Writing::Tls(half) => Pin::new(half).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Writing::Plain(half) => Pin::new(half).poll_shutdown(context),
            Writing::Tls(half) => Pin::new(half).poll_shutdown(context),
        }
    }
}

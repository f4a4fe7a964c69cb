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
pub(crate) enum StreamReader {
    Plain(OwnedReadHalf),
    Tls(ReadHalf<TlsStream<TcpStream>>),
}

/// What the miner is told. After a write over TLS it must be flushed, or the end of it may stay
/// behind.
#[derive(Debug)]
pub(crate) enum StreamWriter {
    Plain(OwnedWriteHalf),
    Tls(WriteHalf<TlsStream<TcpStream>>),
}

/// Both directions of a plain connection.
pub(crate) fn plain(stream: TcpStream) -> (StreamReader, StreamWriter) {
    let (read, write) = stream.into_split();
    (StreamReader::Plain(read), StreamWriter::Plain(write))
}

/// Both directions of a connection whose handshake is done.
pub(crate) fn tls(stream: TlsStream<TcpStream>) -> (StreamReader, StreamWriter) {
    let (read, write) = tokio::io::split(stream);
    (StreamReader::Tls(read), StreamWriter::Tls(write))
}

impl AsyncRead for StreamReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            StreamReader::Plain(half) => Pin::new(half).poll_read(context, bytes),
            StreamReader::Tls(half) => Pin::new(half).poll_read(context, bytes),
        }
    }
}

impl AsyncWrite for StreamWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            StreamWriter::Plain(half) => Pin::new(half).poll_write(context, bytes),
            StreamWriter::Tls(half) => Pin::new(half).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            StreamWriter::Plain(half) => Pin::new(half).poll_flush(context),
            StreamWriter::Tls(half) => Pin::new(half).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            StreamWriter::Plain(half) => Pin::new(half).poll_shutdown(context),
            StreamWriter::Tls(half) => Pin::new(half).poll_shutdown(context),
        }
    }
}

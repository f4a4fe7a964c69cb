//! Connections of workers: plain, or TLS with the certificate that they showed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::tls::reload::ServerTls;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time.
const HANDSHAKES: usize = 256;
/// Connections that the server has not taken yet.
const ACCEPTED: usize = 64;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(super) struct PeerIdentity {
    /// The certificate that was shown; none without TLS.
    pub(super) certificate: Option<CertificateDer<'static>>,
}

/// A worker's connection.
pub(super) struct WorkerConnection {
    stream: Box<dyn Duplex>,
    identity: PeerIdentity,
    /// Done when the certificates that it was let in by are served no more.
    replaced: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

impl Connected for WorkerConnection {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.identity.clone()
    }
}

impl AsyncRead for WorkerConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(replaced) = &mut self.replaced
            && replaced.as_mut().poll(context).is_ready()
        {
            self.replaced = None;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WorkerConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The connections as they come. Handshakes go on beside each other, so that a slow one holds up
/// nobody.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    stop: CancellationToken,
) -> impl Stream<Item = io::Result<WorkerConnection>> {
    let (sender, receiver) = mpsc::channel(ACCEPTED);
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sender.closed() => {}
            () = accept(listener, tls, &sender) => {}
        }
    });
    futures::stream::unfold(receiver, |mut receiver| async {
        let connection = receiver.recv().await?;
        Some((Ok(connection), receiver))
    })
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    sender: &mpsc::Sender<WorkerConnection>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a worker's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (served, sender) = (tls.as_ref().map(|tls| tls.current()), sender.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Some(connection) = shake_hands(stream, from, served).await {
                // A server that has stopped wants no more.
                let _ = sender.send(connection).await;
            }
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    from: SocketAddr,
    served: Option<(Arc<ServerConfig>, CancellationToken)>,
) -> Option<WorkerConnection> {
    // Without it a small message waits for the answer to the one before.
    let _ = stream.set_nodelay(true);
    let Some((config, replaced)) = served else {
        return Some(WorkerConnection {
            stream: Box::new(stream),
            identity: PeerIdentity { certificate: None },
            replaced: None,
        });
    };
    let acceptor = TlsAcceptor::from(config);
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(reason)) => {
            tracing::warn!(%from, %reason, "a worker's certificate was refused");
            return None;
        }
        Err(_) => {
            tracing::warn!(%from, "a handshake took too long");
            return None;
        }
    };
    let shown = stream.get_ref().1.peer_certificates();
    let certificate = shown
        .and_then(|chain| chain.first())
        .map(|one| one.clone().into_owned());
    Some(WorkerConnection {
        stream: Box::new(stream),
        identity: PeerIdentity { certificate },
        replaced: Some(Box::pin(replaced.cancelled_owned())),
    })
}

//! The way to the coordinator, and what a refused certificate means.
//!
//! With TLS 1.3 a server looks at the worker's certificate after the handshake is over for the
//! worker; its refusal comes as an alert on the first read, which gRPC only reports as a broken
//! connection. So the reads are watched for it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::{SessionEnd, ended_by};
use crate::config::CoordinatorSection;
use crate::proto::client::CoopMineClient;
use crate::tls::TlsError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The last thing that was wrong with a certificate, ours or theirs.
type Complaint = Arc<Mutex<Option<rustls::Error>>>;

/// How to reach the coordinator.
pub(super) struct CoordinatorConnection {
    /// The coordinators, of which one is active.
    addresses: Vec<String>,
    at: AtomicUsize,
    tls: Option<Arc<ClientConfig>>,
    complaint: Complaint,
}

impl CoordinatorConnection {
    pub(super) fn new(section: &CoordinatorSection) -> Result<Self, TlsError> {
        let tls = section
            .tls
            .enabled
            .then(|| section.tls.client())
            .transpose()?;
        Ok(Self {
            addresses: section
                .address
                .split(',')
                .map(|address| address.trim().to_owned())
                .collect(),
            at: AtomicUsize::new(0),
            tls,
            complaint: Complaint::default(),
        })
    }

    /// The coordinator that is called.
    fn address(&self) -> &str {
        let at = self.at.load(Relaxed) % self.addresses.len().max(1);
        self.addresses.get(at).map_or("", String::as_str)
    }

    /// Calls the next one from now on.
    pub(super) fn call_next(&self) {
        self.at.fetch_add(1, Relaxed);
    }

    /// Connects.
    pub(super) async fn connect(&self) -> Result<CoopMineClient, SessionEnd> {
        self.complain(None);
        let lost = |error: &dyn std::fmt::Display| {
            SessionEnd::Lost(format!("cannot connect to {}: {error}", self.address()))
        };
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address()))
            .map_err(|error| lost(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        let (address, tls) = (self.address().to_owned(), self.tls.clone());
        let complaint = self.complaint.clone();
        let connector =
            tower::service_fn(move |_| open(address.clone(), tls.clone(), complaint.clone()));
        let channel: Result<Channel, _> = endpoint.connect_with_connector(connector).await;
        match channel {
            Ok(channel) => Ok(CoopMineClient::new(channel)),
            Err(error) => Err(self.refusal().unwrap_or_else(|| {
                let reason = std::error::Error::source(&error);
                lost(reason.map_or(&error as &dyn std::fmt::Display, |reason| reason as _))
            })),
        }
    }

    /// Why a call failed: a certificate if one was the reason, else what was answered.
    pub(super) fn explain(&self, status: &Status) -> SessionEnd {
        self.refusal().unwrap_or_else(|| ended_by(status))
    }

    fn complain(&self, error: Option<rustls::Error>) {
        *self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error;
    }

    fn refusal(&self) -> Option<SessionEnd> {
        let error = self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let said = explanation(&error)?;
        Some(SessionEnd::Refused(format!(
            "the coordinator {}: {said}",
            self.address()
        )))
    }
}

/// What to do about a certificate; `None` for what passes by itself.
fn explanation(error: &rustls::Error) -> Option<&'static str> {
    Some(match error {
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "it takes only workers with a certificate; set coordinator.tls.cert and .key, \
                 which `coopmine certs worker` makes"
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError => {
                "this worker's certificate is of another authority; have it made where the \
                 coordinator's ca.key is"
            }
            AlertDescription::CertificateRevoked => {
                "this worker's certificate was revoked; have another one made"
            }
            AlertDescription::CertificateExpired => {
                "this worker's certificate has expired; make a new one with `coopmine certs worker`"
            }
            _ => return None,
        },
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not of the authority in coordinator.tls.ca"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is not for this address; `coopmine certs server` takes names"
            }
            _ => "its certificate cannot be used",
        },
        _ => return None,
    })
}

async fn open(
    address: String,
    tls: Option<Arc<ClientConfig>>,
    complaint: Complaint,
) -> io::Result<TokioIo<WatchedStream>> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        let inner = Transport::Plain(stream);
        return Ok(TokioIo::new(WatchedStream { inner, complaint }));
    };
    let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    match TlsConnector::from(tls).connect(name, stream).await {
        Ok(stream) => {
            let inner = Transport::Tls(Box::new(stream));
            Ok(TokioIo::new(WatchedStream { inner, complaint }))
        }
        Err(error) => {
            note(&complaint, &error);
            Err(error)
        }
    }
}

fn note(complaint: &Complaint, error: &io::Error) {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(error) = inner {
        *complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection whose failed reads are remembered.
struct WatchedStream {
    inner: Transport,
    complaint: Complaint,
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(match &mut self.inner {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        });
        if let Err(error) = &read {
            note(&self.complaint, error);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

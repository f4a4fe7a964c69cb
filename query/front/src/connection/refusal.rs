//! The short answer to a connection over a limit, which must itself cost next to nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connection::limits::Limit;
use crate::connection::settings::ConnectionSettings;
use crate::error::{ErrorCode, QueryError};

/// Refusals answered at once; those beyond are closed without a word.
const MAX_ANSWERED: usize = 32;
/// The longest that a refusal may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers connections that are over a limit.
pub(super) struct Refusals {
    answered: Arc<Semaphore>,
    settings: ConnectionSettings,
}

impl Refusals {
    /// Says what these settings are.
    pub(super) fn new(settings: ConnectionSettings) -> Self {
        Self {
            answered: Arc::new(Semaphore::new(MAX_ANSWERED)),
            settings,
        }
    }

    /// Counts a connection that closes without an answer, which over TLS would cost a handshake.
    pub(super) fn close(&self, limit: Limit) {
        let name = match limit {
            Limit::All(_) => "all",
            Limit::PerAddress(_) => "address",
        };
        metrics::counter!("headframe_http_connections_refused_total", "limit" => name).increment(1);
    }

    /// Says which limit it was and closes.
    pub(super) fn answer(&self, tasks: &mut JoinSet<()>, stream: TcpStream, limit: Limit) {
        self.close(limit);
        let Ok(permit) = self.answered.clone().try_acquire_owned() else {
            return;
        };
        let (status, error) = describe(limit, &self.settings);
        tasks.spawn(async move {
            let _permit = permit;
            let _ = timeout(PATIENCE, write_refusal(stream, status, error)).await;
        });
    }
}

/// Tells a client that speaks plain HTTP to a port with TLS what to do, and closes.
pub(super) async fn answer_plain_http(stream: TcpStream) {
    let error = QueryError::bad_request(
        "this port speaks HTTPS, and the request came as plain HTTP",
        "ask https:// instead of http://",
    );
    let _ = timeout(PATIENCE, write_refusal(stream, "400 Bad Request", error)).await;
}

async fn write_refusal(
    mut stream: TcpStream,
    status: &'static str,
    error: QueryError,
) -> std::io::Result<()> {
    let body = error.to_json().to_string();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection and take the answer away with it.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn describe(limit: Limit, settings: &ConnectionSettings) -> (&'static str, QueryError) {
    match limit {
        Limit::All(max) => (
            "503 Service Unavailable",
            QueryError::new(
                ErrorCode::ConnectionLimit,
                format!("{max} connections are open, which is the limit"),
                settings.hint("try again in a second", "max_connections"),
            ),
        ),
        Limit::PerAddress(max) => (
            "429 Too Many Requests",
            QueryError::new(
                ErrorCode::RateLimit,
                format!("{max} connections from this address are open, which is the limit"),
                settings.hint("close some", "max_connections_per_address"),
            ),
        ),
    }
}

//! The listener: takes connections, bounds how many there are, and gives each a session of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::defence::guard::refused;
use crate::defence::refusal::Refusal;
use crate::pool::Pool;

mod accept;
mod account;
mod block;
mod check;
mod ends;
mod greet;
mod presence;
mod session;
mod socket;
mod tempo;

/// Pause after a failed accept, which is nearly always a lack of file descriptors that only time mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then waits for the sessions to finish what is in flight.
pub(crate) async fn serve(listener: TcpListener, pool: Arc<Pool>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(pool.config.max_sessions));
    let connections = AtomicU32::new(0);
    let (mut sessions, mut failures) = (JoinSet::new(), accept::Failures::default());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if failures.note(&error) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            refused(Refusal::Full);
            continue;
        };
        // The extranonce holds 32 bits; after 2³² connections in one process a number may come again.
        let connection = connections.fetch_add(1, Relaxed);
        sessions.spawn(connect(pool.clone(), stream, peer, connection, stop.clone(), permit));
    }
    drop(listener);
    let all_done = async { while sessions.join_next().await.is_some() {} };
    if tokio::time::timeout(pool.config.drain(), all_done).await.is_err() {
        tracing::warn!("some sessions did not end within the drain time");
    }
}

async fn connect(
    pool: Arc<Pool>,
    stream: TcpStream,
    peer: SocketAddr,
    connection: u32,
    stop: CancellationToken,
    permit: OwnedSemaphorePermit,
) {
    let bounded = || socket::prepare(&stream, pool.config.defence.send_buffer_bytes);
    if let Err(error) = stream.set_nodelay(true).and_then(|()| bounded()) {
        tracing::debug!(%error, "a connection broke before it began");
        return;
    }
    let end = session::run(pool, stream, peer, connection, stop).await;
    tracing::debug!(connection, ?end, "connection ended");
    drop(permit);
}

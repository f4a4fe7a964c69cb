//! A connection's way in: who it is, whether it may come in, its login, and the answer to it.
//!
//! It is apart from the session because it needs much memory for a short time, and a session little
//! for a long time.

use serde_json::Value;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::await_login::await_pending_login;
use super::disconnect;
use super::line_writer::LineWriter;
use super::session::{Connection, Disconnect, Session};
use super::socket;
use crate::defence::refusal::Refusal;
use crate::pool::Pool;
use crate::protocol::answer;

/// Lets a connection in, up to the answer to its login.
pub(super) async fn arrive(
    pool: Arc<Pool>,
    mut stream: TcpStream,
    mut connection: Connection,
    stop: CancellationToken,
) -> Result<Box<Session>, Disconnect> {
    socket::prepare(&stream, pool.config.defence.send_buffer_bytes).map_err(Disconnect::broken)?;
    let resolved = tokio::select! {
        () = stop.cancelled() => return Err(Disconnect::Shutdown),
        resolved = pool.transport.resolve_peer(&mut stream, connection.peer, pool.config.login_timeout()) => resolved,
    };
    connection.peer = resolved?;
    let mut admission = match pool.defence.enter(connection.peer.ip()) {
        Ok(admission) => admission,
        Err(refusal) => {
            // Not to the banned: every line to them is work for us. In plain text, because a
            // handshake is work, too; over TLS it is only the end.
            return Err(match refusal {
                Refusal::BannedAddress => Disconnect::Refused(refusal.to_string()),
                _ => {
                    pool.transport
                        .dismiss(&mut stream, &refusal.to_string())
                        .await
                }
            });
        }
    };
    let pending = tokio::select! {
        () = stop.cancelled() => return Err(Disconnect::Shutdown),
        pending = await_pending_login(&pool, stream, connection.peer) => pending,
    };
    let mut pending = match pending {
        Ok(pending) => pending,
        Err(end) => {
            if let Some(offence) = disconnect::before_login(&end) {
                admission.offence(offence);
            }
            return Err(end);
        }
    };
    let peer = match admission.login(&mut pending.login, u64::from(connection.number)) {
        Ok(peer) => peer,
        Err(refusal) => return Err(refuse(&mut pending.out, &pending.id, refusal).await),
    };
    tracing::debug!(connection = connection.number, peer = %connection.peer, worker = %pending.login.worker, "miner logged in");
    let (session, id) = Session::new(pool, pending, admission, peer, connection);
    let mut session = Box::new(session);
    match session.welcome(&id).await {
        Ok(()) => Ok(session),
        Err(end) => Err(session.end(end).await),
    }
}

/// Says why a login is not taken.
async fn refuse(out: &mut LineWriter, id: &Value, refusal: Refusal) -> Disconnect {
    let said = out.send(&answer::error(id, &refusal.to_string())).await;
    said.err()
        .unwrap_or_else(|| Disconnect::Refused(refusal.to_string()))
}

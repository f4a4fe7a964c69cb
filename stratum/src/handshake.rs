//! A connection's handshake: who the peer is, whether it may come in, and its login.
//!
//! It is apart from the session because it needs much memory for a short time, and a session little
//! for a long time.

use serde_json::Value;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::context::PoolContext;
use crate::defence::admission::{Admission, Peer};
use crate::defence::login_attempt::LoginAttempt;
use crate::defence::refusal::Refusal;
use crate::net::connection::Connection;
use crate::net::disconnect::{self, Disconnect};
use crate::net::line_writer::LineWriter;
use crate::net::socket;
use crate::protocol::answer;

mod login;

pub(crate) use login::PendingLogin;

/// A connection whose miner is logged in and waits for the answer.
pub(crate) struct AdmittedLogin {
    pub(crate) pending: PendingLogin,
    pub(crate) admission: Admission,
    pub(crate) peer: Arc<Peer>,
    pub(crate) connection: Connection,
}

/// Lets a connection in, up to its login. Every refusal is told to the miner before the connection
/// ends.
pub(crate) async fn shake_hands(
    pool: &PoolContext,
    mut stream: TcpStream,
    mut connection: Connection,
    attempt: &mut LoginAttempt,
    stop: CancellationToken,
) -> Result<AdmittedLogin, Disconnect> {
    socket::prepare(&stream, pool.config.defence.send_buffer_bytes).map_err(Disconnect::broken)?;
    let patience = pool.config.login_timeout();
    let resolved = tokio::select! {
        () = stop.cancelled() => return Err(Disconnect::Shutdown),
        resolved = pool.transport.resolve_peer(&mut stream, connection.peer, patience) => resolved,
    };
    connection.peer = resolved?;
    attempt.address = connection.peer.ip();
    let mut admission = match pool.defence.enter(connection.peer.ip()) {
        Ok(admission) => admission,
        // Not to the banned: every line to them is work for us. In plain text, because a handshake
        // is work, too; over TLS it is only the end.
        Err(refusal @ Refusal::BannedAddress) => {
            return Err(Disconnect::refused(refusal));
        }
        Err(refusal) => {
            let reason = refusal.to_string();
            return Err(pool.transport.dismiss(&mut stream, refusal, &reason).await);
        }
    };
    let pending = tokio::select! {
        () = stop.cancelled() => return Err(Disconnect::Shutdown),
        pending = login::await_pending_login(pool, stream, connection.peer, attempt) => pending,
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
    let peer = match admission.login(&mut pending.login, connection.place) {
        Ok(peer) => peer,
        Err(refusal) => return Err(refuse(&mut pending.out, &pending.id, refusal).await),
    };
    tracing::debug!(
        connection = connection.number,
        peer = %connection.peer,
        worker = %pending.login.worker,
        "miner logged in"
    );
    Ok(AdmittedLogin {
        pending,
        admission,
        peer,
        connection,
    })
}

/// Says why a login is not taken.
async fn refuse(out: &mut LineWriter, id: &Value, refusal: Refusal) -> Disconnect {
    let said = out.send(&answer::error(id, &refusal.to_string())).await;
    said.err().unwrap_or_else(|| Disconnect::refused(refusal))
}

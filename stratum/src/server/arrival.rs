//! A connection's way in: who it is, whether it may come in, its login, and the answer to it.
//!
//! It is apart from the session because it needs much memory for a short time, and a session little
//! for a long time.

use serde_json::Value;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::ends;
use super::greet::meet;
use super::out::Out;
use super::session::{Caller, End, Session};
use super::socket;
use crate::defence::refusal::Refusal;
use crate::pool::Pool;
use crate::protocol::answer;

/// Lets a connection in, up to the answer to its login.
pub(super) async fn arrive(
    pool: Arc<Pool>,
    mut stream: TcpStream,
    mut caller: Caller,
    stop: CancellationToken,
) -> Result<Box<Session>, End> {
    socket::prepare(&stream, pool.config.defence.send_buffer_bytes).map_err(End::broken)?;
    let introduced = tokio::select! {
        () = stop.cancelled() => return Err(End::Shutdown),
        introduced = pool.entrance.introduce(&mut stream, caller.peer, pool.config.login_timeout()) => introduced,
    };
    caller.peer = introduced?;
    let mut visit = match pool.defence.enter(caller.peer.ip()) {
        Ok(visit) => visit,
        Err(refusal) => {
            // Not to the banned: every line to them is work for us. In plain text, because a
            // handshake is work, too; over TLS it is only the end.
            return Err(match refusal {
                Refusal::BannedAddress => End::Refused(refusal.to_string()),
                _ => {
                    pool.entrance
                        .dismiss(&mut stream, &refusal.to_string())
                        .await
                }
            });
        }
    };
    let met = tokio::select! {
        () = stop.cancelled() => return Err(End::Shutdown),
        met = meet(&pool, stream, caller.peer) => met,
    };
    let mut met = match met {
        Ok(met) => met,
        Err(end) => {
            if let Some(offence) = ends::before_login(&end) {
                visit.offence(offence);
            }
            return Err(end);
        }
    };
    let guest = match visit.login(&mut met.login, u64::from(caller.connection)) {
        Ok(guest) => guest,
        Err(refusal) => return Err(refuse(&mut met.out, &met.id, refusal).await),
    };
    tracing::debug!(connection = caller.connection, peer = %caller.peer, worker = %met.login.worker, "miner logged in");
    let (session, id) = Session::new(pool, met, visit, guest, caller);
    let mut session = Box::new(session);
    match session.welcome(&id).await {
        Ok(()) => Ok(session),
        Err(end) => Err(session.end(end).await),
    }
}

/// Says why a login is not taken.
async fn refuse(out: &mut Out, id: &Value, refusal: Refusal) -> End {
    let said = out.send(&answer::error(id, &refusal.to_string())).await;
    said.err()
        .unwrap_or_else(|| End::Refused(refusal.to_string()))
}

//! The listener: takes connections, bounds how many there are, and gives each a session of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::PoolContext;
use crate::defence::login_attempt::{LoginAttempt, count_accepted};
use crate::defence::refusal::Refusal;
use crate::defence::{Place, refused};
use crate::handshake::shake_hands;
use crate::net::accept;
use crate::net::connection::Connection;
use crate::net::disconnect::{self, Disconnect};
use crate::net::port::Port;
use crate::session::Session;

/// Pause after a failed accept, which is nearly always a lack of file descriptors that only time
/// mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the ports of a pool share.
struct AcceptContext {
    pool: Arc<PoolContext>,
    stop: CancellationToken,
}

/// Serves until `stop`, then waits for the sessions to finish what is in flight, for `drain` at
/// most. Returns when `stop` was heard.
pub(crate) async fn serve(
    listeners: Vec<(TcpListener, Port)>,
    pool: Arc<PoolContext>,
    stop: CancellationToken,
    drain: Duration,
) -> Instant {
    let context = Arc::new(AcceptContext {
        pool,
        stop: stop.clone(),
    });
    let mut ports = JoinSet::new();
    for (listener, port) in listeners {
        ports.spawn(listen(context.clone(), listener, Arc::new(port)));
    }
    stop.cancelled().await;
    let stopped = Instant::now();
    context.pool.counters.stopping();
    tracing::info!("the pool takes no more miners, and finishes the shares in flight");
    let all_done = async { while ports.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, all_done).await.is_err() {
        tracing::warn!("some sessions did not end within the drain time");
    }
    let miners = context.pool.sent_to_successor.load(Relaxed);
    if let Some(successor) = &context.pool.config.successor {
        tracing::info!(miners, successor, "miners were sent to the successor");
    }
    stopped
}

/// Takes connections on one port, each into a task of its own, which end with this one.
async fn listen(context: Arc<AcceptContext>, listener: TcpListener, port: Arc<Port>) {
    let (mut sessions, mut failures) = (JoinSet::new(), accept::Failures::default());
    loop {
        let accepted = tokio::select! {
            () = context.stop.cancelled() => break,
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
        let Some(place) = context.pool.defence.take_place() else {
            let refusal = refused(Refusal::Full);
            let attempt = LoginAttempt::new(peer.ip());
            let defence = &context.pool.defence;
            defence.login_refused(&attempt, refusal, &refusal.to_string());
            continue;
        };
        let connection = Connection {
            // The extranonce holds 31 bits of it; after 2³¹ connections in one process a number may
            // come again.
            number: place.number() as u32,
            place: place.number(),
            peer,
            port: port.clone(),
        };
        sessions.spawn(connect(&context, stream, connection, place));
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}

/// One connection from its beginning to its end. What its beginning needs is boxed and given back,
/// because a task is as large as its largest moment, and thousands of tasks only wait.
fn connect(
    context: &AcceptContext,
    stream: TcpStream,
    connection: Connection,
    place: Place,
) -> impl Future<Output = ()> + Send + use<> {
    let (number, stop) = (connection.number, context.stop.clone());
    let opening = Box::pin(open_session(
        context.pool.clone(),
        stream,
        connection,
        stop.clone(),
    ));
    async move {
        let opened = opening.await;
        let end = match opened {
            Ok(mut session) => session.serve(&stop).await,
            Err(end) => end,
        };
        tracing::debug!(connection = number, ?end, "connection ended");
        drop(place);
    }
}

/// Everything up to the answer to the login.
async fn open_session(
    pool: Arc<PoolContext>,
    stream: TcpStream,
    connection: Connection,
    stop: CancellationToken,
) -> Result<Box<Session>, Disconnect> {
    let mut attempt = LoginAttempt::new(connection.peer.ip());
    let login = match shake_hands(&pool, stream, connection, &mut attempt, stop).await {
        Ok(login) => login,
        Err(end) => {
            if let Some(refusal) = end.refusal() {
                let message = disconnect::reason(&end);
                pool.defence.login_refused(&attempt, refusal, &message);
            }
            return Err(end);
        }
    };
    let (session, id) = Session::new(pool, login);
    let mut session = Box::new(session);
    match session.welcome(&id).await {
        Ok(()) => {
            count_accepted();
            Ok(session)
        }
        Err(end) => Err(session.end(end).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the future that serves a connection.
    fn task<F: Future>(_: fn(&AcceptContext, TcpStream, Connection, Place) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_miner_that_waits_takes_little_memory() {
        let (task, session) = (task(connect), size_of::<Session>());
        println!("the task of a connection takes {task} bytes, its session {session}");
        assert!(task <= 1000 && session <= 1000, "{task} + {session}");
    }
}

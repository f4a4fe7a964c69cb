//! The same events over a WebSocket: one JSON text message each.
//!
//! A page of a browser can set no header of a WebSocket, so that its token may come as the first
//! message instead.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures::SinkExt;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use crate::access::{MessageLogin, OngoingAccess, Principal};
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};
use crate::live::{Event, Seat, Subscription};

/// Bytes that a message of a client may have: it has nothing to say but a token.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// Bytes read at a time.
const READ_BYTES: usize = 4 * 1024;
/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 16 * 1024;
/// A client is left when nothing came of it for so many pings.
const PINGS: u32 = 3;
/// How long a wrong token waits for its refusal.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);

/// How long a client may take.
#[derive(Clone, Copy)]
pub(super) struct SocketTimeouts {
    /// For its first message, where that brings its token.
    login: Duration,
    /// Without taking a message.
    write: Duration,
    /// Between two pings.
    ping: Duration,
}

/// A connection whose token has not come yet.
pub(super) struct PendingLogin {
    pub(super) login: Arc<MessageLogin>,
    /// It is counted until its token has come.
    pub(super) seat: Seat,
}

impl SocketTimeouts {
    /// Those of the configuration.
    pub(super) fn from_config(config: &QueryConfig) -> Self {
        Self {
            login: Duration::from_millis(config.header_timeout_ms),
            write: Duration::from_millis(config.write_timeout_ms),
            ping: Duration::from_millis(config.live_ping_ms),
        }
    }
}

/// Answers an upgrade with the events of a subscription. A token that comes although none was
/// needed is looked at by `login`, and changes nothing.
pub(super) fn answer(
    upgrade: WebSocketUpgrade,
    subscription: Subscription,
    login: Option<Arc<MessageLogin>>,
    timeouts: SocketTimeouts,
) -> Response {
    limited(upgrade).on_upgrade(move |socket| serve(socket, subscription, login, timeouts))
}

/// The same where the first message says who asks, who is then subscribed by `subscribe`.
pub(super) fn answer_login<F>(
    upgrade: WebSocketUpgrade,
    pending: PendingLogin,
    subscribe: impl FnOnce(Principal, OngoingAccess) -> F + Send + 'static,
    timeouts: SocketTimeouts,
) -> Response
where
    F: Future<Output = Result<Subscription, QueryError>> + Send,
{
    limited(upgrade).on_upgrade(async move |mut socket| {
        let first = timeout(timeouts.login, first_message(&mut socket));
        let PendingLogin { login, seat } = pending;
        let admitted = match first.await {
            Ok(Some(message)) => login.admit(&message),
            Ok(None) => return,
            Err(_) => Err(late(timeouts.login)),
        };
        let subscribed = match admitted {
            Ok((principal, access)) => subscribe(principal, access).await,
            Err(refusal) => {
                sleep(REFUSAL_PAUSE).await;
                Err(refusal)
            }
        };
        drop(seat);
        match subscribed {
            Ok(subscription) => serve(socket, subscription, None, timeouts).await,
            Err(error) => {
                let sent = timeout(timeouts.write, send(&mut socket, &Event::Failed(error))).await;
                if matches!(sent, Ok(Ok(()))) {
                    close(socket, timeouts).await;
                }
            }
        }
    })
}

fn limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
}

/// The first message that says something; `None` when the connection ends before.
async fn first_message(socket: &mut WebSocket) -> Option<Utf8Bytes> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => return Some(text),
            // Pings are answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return None,
        }
    }
}

async fn serve(
    mut socket: WebSocket,
    mut subscription: Subscription,
    mut login: Option<Arc<MessageLogin>>,
    timeouts: SocketTimeouts,
) {
    let mut heard = Instant::now();
    let mut pings = interval_at(heard + timeouts.ping, timeouts.ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            // What the client has said is known before it is called dead.
            biased;
            received = socket.recv() => {
                heard = Instant::now();
                match received {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Text(text))) => match login.take() {
                        Some(login) => match login.admit(&text) {
                            Ok(_) => continue,
                            Err(refusal) => Some(Event::Failed(refusal)),
                        },
                        None => return,
                    },
                    _ => return,
                }
            }
            _ = pings.tick() => {
                if heard.elapsed() >= timeouts.ping * PINGS {
                    metrics::counter!("headframe_live_dead_total").increment(1);
                    return;
                }
                Some(Event::Heartbeat)
            }
            event = subscription.next() => event,
        };
        let Some(event) = event else {
            return close(socket, timeouts).await;
        };
        match timeout(timeouts.write, send(&mut socket, &event)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
        if matches!(event, Event::Failed(_)) {
            return close(socket, timeouts).await;
        }
    }
}

async fn close(mut socket: WebSocket, timeouts: SocketTimeouts) {
    let _ = timeout(timeouts.write, socket.send(Message::Close(None))).await;
}

async fn send(socket: &mut WebSocket, event: &Event) -> Result<(), axum::Error> {
    if matches!(event, Event::Heartbeat) {
        return socket.send(Message::Ping(Default::default())).await;
    }
    for message in event.messages() {
        socket.feed(Message::Text(message.into())).await?;
    }
    socket.flush().await
}

fn late(limit: Duration) -> QueryError {
    QueryError::new(
        ErrorCode::Unauthorized,
        format!("no token came within {} ms", limit.as_millis()),
        "send {\"token\": \"…\"} as the first message, or the token as Authorization: Bearer",
    )
}

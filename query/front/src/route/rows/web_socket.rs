//! The same events over a WebSocket: one JSON text message each.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures::SinkExt;
use tokio::time::timeout;

use crate::live::{Event, Subscription};

/// Bytes that a message of a client may have: it has nothing to say.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// Bytes read at a time.
const READ_BYTES: usize = 4 * 1024;
/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 16 * 1024;

/// Answers an upgrade with the events of a subscription. A client that takes nothing for
/// `patience` is left.
pub(super) fn answer(
    upgrade: WebSocketUpgrade,
    subscription: Subscription,
    patience: Duration,
) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .on_upgrade(move |socket| serve(socket, subscription, patience))
}

async fn serve(mut socket: WebSocket, mut subscription: Subscription, patience: Duration) {
    loop {
        let event = tokio::select! {
            event = subscription.next() => event,
            received = socket.recv() => match received {
                // Pings are answered by the library, and nothing else is expected.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => return,
            },
        };
        let Some(event) = event else {
            let _ = timeout(patience, socket.send(Message::Close(None))).await;
            return;
        };
        match timeout(patience, send(&mut socket, &event)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
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

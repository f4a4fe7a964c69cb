//! Listens to monerod's notices of new blocks, so that miners hear of one before the next poll
//! would have seen it.
//!
//! Only a notice: whatever goes wrong here, polling finds the same block a moment later.

use serde::Deserialize;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::zmtp::{GREETING, Messages, ZmtpError, check_greeting, greeting, ready, subscribe};
use crate::chain::Hash;

/// The topic: height, parent and ids of the blocks that were added to the best chain.
pub const TOPIC: &str = "json-minimal-chain_main";
/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Silence after which the connection is made anew: a peer that vanished without a word looks the
/// same.
const SILENCE: Duration = Duration::from_secs(900);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The end of the chain as a notice tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// Id of the newest block.
    pub hash: Hash,
    /// Height the next block will have.
    pub next_height: u64,
}

#[derive(Deserialize)]
struct Chain {
    first_height: u64,
    ids: Vec<String>,
}

#[derive(Debug, Error)]
enum Broken {
    #[error("{0}")]
    Protocol(#[from] ZmtpError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it said nothing for {} s", .0.as_secs())]
    Silent(Duration),
}

/// Reads a message; `None` when it is no notice of blocks.
pub fn notice(message: &[u8]) -> Option<Notice> {
    let body = message.strip_prefix(TOPIC.as_bytes())?.strip_prefix(b":")?;
    let chain: Chain = serde_json::from_slice(body).ok()?;
    let mut hash = [0; 32];
    hex::decode_to_slice(chain.ids.last()?, &mut hash).ok()?;
    Some(Notice {
        hash,
        next_height: chain.first_height.checked_add(chain.ids.len() as u64)?,
    })
}

/// Hands every notice of the publisher at `address` (`host:port`) to `notify` until `stop`;
/// reconnects for ever.
pub async fn listen(address: &str, notify: impl Fn(Notice), stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let broken = tokio::select! {
            () = stop.cancelled() => return,
            broken = follow(address, &notify, &mut pause) => broken,
        };
        metrics::gauge!("headframe_stratum_zmq_connected", "publisher" => address.to_owned())
            .set(0.0);
        tracing::warn!(publisher = address, reason = %broken, "no notices of blocks by ZMQ; \
                                                               polling goes on");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

/// One connection, to its end.
async fn follow(address: &str, notify: &impl Fn(Notice), pause: &mut Duration) -> Broken {
    let mut stream = match tokio::time::timeout(HANDSHAKE, connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(broken)) => return broken,
        Err(_) => return Broken::Silent(HANDSHAKE),
    };
    *pause = FIRST_PAUSE;
    metrics::gauge!("headframe_stratum_zmq_connected", "publisher" => address.to_owned()).set(1.0);
    tracing::info!(publisher = address, "listening for blocks by ZMQ");
    let mut messages = Messages::default();
    let mut buffer = vec![0; 4096];
    loop {
        let read = match tokio::time::timeout(SILENCE, stream.read(&mut buffer)).await {
            Ok(Ok(0)) => return Broken::Io(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return Broken::Io(error),
            Err(_) => return Broken::Silent(SILENCE),
        };
        messages.push(&buffer[..read]);
        loop {
            match messages.take() {
                Ok(Some(message)) => {
                    if let Some(notice) = notice(&message) {
                        metrics::counter!("headframe_stratum_zmq_blocks_total",
                            "publisher" => address.to_owned())
                        .increment(1);
                        notify(notice);
                    }
                }
                Ok(None) => break,
                Err(error) => return Broken::Protocol(error),
            }
        }
    }
}

async fn connect(address: &str) -> Result<TcpStream, Broken> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&greeting()).await?;
    let mut theirs = [0; GREETING];
    stream.read_exact(&mut theirs).await?;
    check_greeting(&theirs)?;
    // The peer's READY is the first command that will be read, and tells a subscriber nothing.
    stream
        .write_all(&[ready(), subscribe(TOPIC)].concat())
        .await?;
    Ok(stream)
}

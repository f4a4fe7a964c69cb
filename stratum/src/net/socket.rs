//! What the kernel is told about a miner's socket, so that a peer that is gone or does not read
//! costs little and not for long.

use rustix::net::sockopt;
use std::time::Duration;
use tokio::net::TcpStream;

/// Silence after which the kernel asks whether the peer is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Between such questions, and how many of them go unanswered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 6;
/// How long sent bytes may go unacknowledged; longer than any hiccup of a home's line.
const UNACKNOWLEDGED_MS: u32 = 60_000;

/// Sends every line at once, and bounds what a peer that does not read can make the kernel hold,
/// and for how long one that vanished is believed to be there.
pub(crate) fn prepare(stream: &TcpStream, send_buffer_bytes: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_send_buffer_size(stream, send_buffer_bytes)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_COUNT)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?;
    Ok(())
}

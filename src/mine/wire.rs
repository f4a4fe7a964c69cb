//! The line between the miner and its pool: every byte passes unchanged, and what the pool says is told on the way.
//!
//! The miner counts, and tells nobody why a login failed, at which height it is or which seed its memory is for. It also comes
//! again every second, which a pool that is away is spared here: the line waits longer each time before it calls the pool.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use headframe_stratum::protocol::line::LineReader;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::tcp::WriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::heard::{self, Heard, Job};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A pool that says nothing for so long is gone: it has been sent two keepalives by then.
const SILENCE: Duration = Duration::from_secs(150);
/// A connection that held for so long was a good one, and the next is tried at once.
const SETTLED: Duration = Duration::from_secs(30);
/// Seconds between tries at most; the miner itself waits one of them.
const LONGEST_WAIT_S: u64 = 30;
/// The longest line that the miner takes from a pool.
const MAX_LINE: usize = 64 * 1024;
/// Events that nobody has looked at yet; a pool that says more has to wait.
const EVENTS: usize = 64;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The pool took the login and gave the first work.
    LoggedIn(Job),
    /// It gave other work.
    Job(Job),
    /// It refused the login.
    Refused(String),
    /// The connection ended or did not come about; without a reason it was the miner who ended it.
    Lost(Option<String>),
}

/// The line: the miner connects to its near end.
pub struct Wire {
    /// Where the miner is to connect, on this machine alone.
    pub address: SocketAddr,
    near: TcpListener,
    pool: String,
    events: mpsc::Sender<Event>,
}

impl Wire {
    /// Opens the near end. The pool is called when the miner comes.
    pub async fn open(pool: String) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let near = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (events, told) = mpsc::channel(EVENTS);
        Ok((Self { address: near.local_addr()?, near, pool, events }, told))
    }

    /// Carries one connection after the other until `stop`.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.carry_all() => ended,
        }
    }

    async fn carry_all(&self) -> io::Result<()> {
        let mut failures = 0;
        loop {
            let (near, _) = self.near.accept().await?;
            tokio::time::sleep(wait(failures)).await;
            let (started, mut admitted) = (Instant::now(), false);
            let why = self.carry(near, &mut admitted).await;
            failures = if admitted && started.elapsed() >= SETTLED { 1 } else { failures + 1 };
            if self.events.send(Event::Lost(why)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// One connection to its end; the reason, unless the miner ended it.
    async fn carry(&self, mut near: TcpStream, admitted: &mut bool) -> Option<String> {
        let mut far = match timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.pool)).await {
            Ok(Ok(far)) => far,
            Ok(Err(error)) => return Some(error.to_string()),
            Err(_) => return Some(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
        };
        if let Err(error) = near.set_nodelay(true).and_then(|()| far.set_nodelay(true)) {
            return Some(error.to_string());
        }
        let (mut near_reads, near_writes) = near.split();
        let (far_reads, mut far_writes) = far.split();
        tokio::select! {
            sent = tokio::io::copy(&mut near_reads, &mut far_writes) => sent.err().map(|error| error.to_string()),
            why = self.listen(LineReader::new(far_reads), near_writes, admitted) => why,
        }
    }

    /// The pool's lines to the miner.
    async fn listen<R: AsyncRead + Unpin>(&self, mut from: LineReader<R>, mut to: WriteHalf<'_>, admitted: &mut bool) -> Option<String> {
        loop {
            let mut line = match timeout(SILENCE, from.next(MAX_LINE)).await {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) => return Some("the pool closed the connection".to_owned()),
                Ok(Err(error)) => return Some(error.to_string()),
                Err(_) => return Some(format!("the pool said nothing for {} s", SILENCE.as_secs())),
            };
            let event = match heard::read(&line) {
                Heard::LoggedIn(job) => {
                    *admitted = true;
                    Some(Event::LoggedIn(job))
                }
                Heard::Job(job) => Some(Event::Job(job)),
                Heard::Refused(reason) => Some(Event::Refused(reason)),
                Heard::Other => None,
            };
            if let Some(event) = event {
                // Nobody listens any more when everything ends.
                self.events.send(event).await.ok()?;
            }
            line.push(b'\n');
            to.write_all(&line).await.ok()?;
        }
    }
}

/// How long to wait before the pool is called after so many failures in a row, beside the second that the miner waits itself.
fn wait(failures: u32) -> Duration {
    let seconds = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(LONGEST_WAIT_S).clamp(1, LONGEST_WAIT_S);
    Duration::from_secs(seconds - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_away_is_called_less_and_less() {
        let waits: Vec<u64> = [0, 1, 2, 3, 4, 5, 6, 7, 70, u32::MAX].into_iter().map(|failures| wait(failures).as_secs()).collect();
        assert_eq!(waits, [0, 0, 1, 3, 7, 15, 29, 29, 29, 29]);
    }
}

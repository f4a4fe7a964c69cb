//! LineBuffer out of a byte stream, with a limit, so that nobody fills memory by never ending one.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use thiserror::Error;
use tokio::io::{AsyncRead, ReadBuf};

/// The longest line accepted before login; XMRig's with a long algorithm list is about 700 bytes.
pub const BEFORE_LOGIN: usize = 4 * 1024;
/// The longest line accepted after login; XMRig never sends more.
pub const AFTER_LOGIN: usize = 16 * 1024;
/// Bytes read at a time. Most lines of a miner are shorter than this.
const READ_LEN: usize = 1024;

/// Why there is no next line.
#[derive(Debug, Error)]
pub enum LineError {
    /// More bytes than allowed without a newline.
    #[error("a line is longer than {0} bytes")]
    TooLong(usize),
    /// The socket failed.
    #[error("reading failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Bytes received and not yet handed out. Pure: knows no socket.
#[derive(Debug, Default)]
pub struct LineBuffer {
    buffer: Vec<u8>,
    /// Bytes already known to hold no newline, so that a slow sender cannot make us search again
    /// and again.
    searched: usize,
}

impl LineBuffer {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole line, without its end and without a carriage return. Blank lines are
    /// skipped.
    pub fn take(&mut self, limit: usize) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            let Some(at) = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            else {
                self.searched = self.buffer.len();
                return if self.buffer.len() > limit {
                    Err(LineError::TooLong(limit))
                } else {
                    Ok(None)
                };
            };
            let end = self.searched + at;
            if end > limit {
                return Err(LineError::TooLong(limit));
            }
            // Most often nothing follows, and the buffer itself is the line: a silent miner then
            // holds no memory here.
            let mut line = if end + 1 == self.buffer.len() {
                std::mem::take(&mut self.buffer)
            } else {
                self.buffer.drain(..=end).collect()
            };
            self.searched = 0;
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line));
            }
        }
    }
}

/// LineBuffer of a socket.
#[derive(Debug)]
pub struct LineReader<R> {
    source: R,
    lines: LineBuffer,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines from this source.
    pub fn new(source: R) -> Self {
        Self {
            source,
            lines: LineBuffer::default(),
        }
    }

    /// The next line, `None` at the end of the stream. Dropping the future loses nothing.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            if let Some(line) = self.lines.take(limit)? {
                return Ok(Some(line));
            }
            if poll_fn(|context| self.poll_more(context)).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes what has come. The bytes lie on the stack of this call and not in the future, of which
    /// there are thousands.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; READ_LEN];
        let mut came = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.source).poll_read(context, &mut came))?;
        self.lines.push(came.filled());
        Poll::Ready(Ok(came.filled().len()))
    }
}

//! What the server sends, written into one buffer and sent off in pieces.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::error::QueryError;
use crate::sqlstate::SqlState;

/// Bytes that are worth sending.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// The side of a connection that is written.
pub(super) struct Replies<W> {
    stream: W,
    buffer: Vec<u8>,
    /// Bytes that are not in the buffer any more.
    flushed: u64,
    write_timeout: Duration,
}

/// A column as a client is told it.
pub(super) struct ColumnHead<'a> {
    pub(super) name: &'a str,
    pub(super) oid: u32,
    pub(super) length: i16,
    pub(super) modifier: i32,
    pub(super) format: i16,
}

/// How bad an error is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Severity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
}

impl<W: AsyncWrite + Unpin> Replies<W> {
    /// A piece that the client does not take within `write_timeout` ends the session.
    pub(super) fn new(stream: W, write_timeout: Duration) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            flushed: 0,
            write_timeout,
        }
    }

    /// Sends what was written.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        for piece in self.buffer.chunks(PIECE_BYTES) {
            timeout(self.write_timeout, self.stream.write_all(piece)).await??;
        }
        timeout(self.write_timeout, self.stream.flush()).await??;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        // A row of many megabytes must not stay in memory as long as the session does.
        self.buffer.shrink_to(2 * PIECE_BYTES);
        Ok(())
    }

    /// Bytes that were written until now.
    pub(super) fn sent(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Sends what was written when it is worth it.
    pub(super) async fn flush_when_full(&mut self) -> io::Result<()> {
        match self.is_full() {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Whether there is a piece worth sending.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= PIECE_BYTES
    }

    /// Takes what a client still sends until it closes, so that closing does not reset the
    /// connection and take the last words away with it.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.flush().await?;
        timeout(self.write_timeout, self.stream.shutdown()).await?
    }

    /// Writes a message whose length is known at its end.
    pub(super) fn message<T>(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.buffer.push(kind);
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        let made = body(&mut self.buffer);
        // A row is at most the frame of a worker, as text twice that.
        let length = u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX);
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
        made
    }

    /// Takes back what was written after this place.
    pub(super) fn truncate(&mut self, place: usize) {
        self.buffer.truncate(place);
    }

    /// The place where the next message will be.
    pub(super) fn place(&self) -> usize {
        self.buffer.len()
    }

    /// A message without a body.
    pub(super) fn plain(&mut self, kind: u8) {
        self.message(kind, |_| ());
    }

    /// A step of the log-in.
    pub(super) fn authentication(&mut self, step: u32, data: &[u8]) {
        self.message(b'R', |out| {
            out.extend_from_slice(&step.to_be_bytes());
            out.extend_from_slice(data);
        });
    }

    /// A setting that clients are told.
    pub(super) fn parameter_status(&mut self, name: &str, value: &str) {
        self.message(b'S', |out| {
            put_text(name, out);
            put_text(value, out);
        });
    }

    /// What cancels this session's statements.
    pub(super) fn backend_key(&mut self, backend: i32, key: &[u8]) {
        self.message(b'K', |out| {
            out.extend_from_slice(&backend.to_be_bytes());
            out.extend_from_slice(key);
        });
    }

    /// That version 3.0 is spoken, and which options of the start-up packet are not known.
    pub(super) fn negotiate_version(&mut self, unknown: &[&str]) {
        self.message(b'v', |out| {
            out.extend_from_slice(&0_u32.to_be_bytes());
            // A start-up packet cannot hold more.
            out.extend_from_slice(&(unknown.len() as u32).to_be_bytes());
            for name in unknown {
                put_text(name, out);
            }
        });
    }

    /// That the next statement may come: `I` outside a transaction, `T` in one, `E` in one that
    /// failed.
    pub(super) fn ready(&mut self, status: u8) {
        self.message(b'Z', |out| out.push(status));
    }

    /// The types of a statement's parameters.
    pub(super) fn parameter_description(&mut self, oids: impl ExactSizeIterator<Item = u32>) {
        self.message(b't', |out| {
            // A Bind has no more parameters than two bytes count.
            out.extend_from_slice(&(oids.len() as u16).to_be_bytes());
            for oid in oids {
                out.extend_from_slice(&oid.to_be_bytes());
            }
        });
    }

    /// The columns of an answer.
    pub(super) fn row_description<'a>(
        &mut self,
        columns: impl ExactSizeIterator<Item = ColumnHead<'a>>,
    ) {
        self.message(b'T', |out| {
            out.extend_from_slice(&count_of(columns.len()));
            for column in columns {
                put_text(column.name, out);
                // No column is of a table that a client could look up.
                out.extend_from_slice(&[0; 6]);
                out.extend_from_slice(&column.oid.to_be_bytes());
                out.extend_from_slice(&column.length.to_be_bytes());
                out.extend_from_slice(&column.modifier.to_be_bytes());
                out.extend_from_slice(&column.format.to_be_bytes());
            }
        });
    }

    /// A row of text.
    pub(super) fn text_row(&mut self, values: &[String]) {
        self.message(b'D', |out| {
            out.extend_from_slice(&count_of(values.len()));
            for value in values {
                let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(value.as_bytes());
            }
        });
    }

    /// That a statement is done.
    pub(super) fn command_complete(&mut self, tag: &str) {
        self.message(b'C', |out| put_text(tag, out));
    }

    /// What went wrong.
    pub(super) fn error(&mut self, severity: Severity, state: SqlState, text: &str, hint: &str) {
        let severity = match severity {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        };
        self.message(b'E', |out| {
            let fields = [
                (b'S', severity),
                (b'V', severity),
                (b'C', state.as_str()),
                (b'M', text),
                (b'H', hint),
            ];
            for (field, value) in fields {
                if !value.is_empty() {
                    out.push(field);
                    put_text(value, out);
                }
            }
            out.push(0);
        });
    }

    /// What went wrong with a statement.
    pub(super) fn query_error(&mut self, error: &QueryError) {
        self.error(
            Severity::Error,
            error.sqlstate(),
            &error.message,
            &error.hint,
        );
    }
}

/// How many columns an answer has, in two bytes. No plan that passes the engine's limits has more.
pub(super) fn count_of(columns: usize) -> [u8; 2] {
    u16::try_from(columns).unwrap_or(u16::MAX).to_be_bytes()
}

/// Text ends at its first zero byte, so that none may be in it.
fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.push(0);
}

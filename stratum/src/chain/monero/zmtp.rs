//! As much of ZMTP 3.0 as a subscriber needs: the greeting, the NULL handshake, and frames. Pure
//! bytes, no sockets.
//!
//! monerod publishes new blocks over ZeroMQ. The protocol's subscribing side is small, and written
//! here every length that a peer names has a bound, which a general library leaves to its user. The
//! `zeromq` crate would bring six crates that nothing else here needs (counted in `cargo tree`)
//! in place of these 180 lines. Source: rfc.zeromq.org/spec/23.

use thiserror::Error;

/// Bytes of a greeting.
pub const GREETING: usize = 64;
/// The longest frame that is read; monerod's notices of blocks take a few hundred bytes.
pub const MAX_FRAME: usize = 256 * 1024;
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// What a peer must not send.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ZmtpError {
    /// The first bytes are something else.
    #[error("the peer does not speak ZMTP 3; is this the port of monerod's --zmq-pub?")]
    Greeting,
    /// It wants a password or keys.
    #[error("the peer wants the security mechanism {0:?}; only NULL is spoken here")]
    Mechanism(String),
    /// Reserved bits are set.
    #[error("a frame has the unknown flags {0:#04x}")]
    Flags(u8),
    /// More than we are ready to hold.
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME} that are read")]
    TooLong(u64),
    /// A message never ends.
    #[error("a message has more than {MAX_FRAME} bytes in its frames")]
    Endless,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Part of the handshake, not of a message.
    pub command: bool,
    /// More frames of the same message follow.
    pub more: bool,
    /// The content.
    pub body: Vec<u8>,
}

/// Our greeting: version 3.0, no security, not a server.
pub fn greeting() -> [u8; GREETING] {
    let mut bytes = [0; GREETING];
    (bytes[0], bytes[9]) = (0xff, 0x7f);
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// Checks the peer's greeting.
pub fn check_greeting(bytes: &[u8; GREETING]) -> Result<(), ZmtpError> {
    if bytes[0] != 0xff || bytes[9] & 1 != 1 || bytes[10] < 3 {
        return Err(ZmtpError::Greeting);
    }
    let mechanism = String::from_utf8_lossy(&bytes[12..32])
        .trim_end_matches('\0')
        .to_owned();
    if mechanism == "NULL" {
        Ok(())
    } else {
        Err(ZmtpError::Mechanism(mechanism))
    }
}

/// The command that ends our side of the handshake.
pub fn ready() -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type".to_vec();
    body.extend_from_slice(&3u32.to_be_bytes());
    body.extend_from_slice(b"SUB");
    frame(COMMAND, &body)
}

/// The message that subscribes to everything that begins with `topic`.
pub fn subscribe(topic: &str) -> Vec<u8> {
    frame(0, &[b"\x01", topic.as_bytes()].concat())
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(length) => [&[flags, length], body].concat(),
        Err(_) => [
            &[flags | LONG][..],
            &(body.len() as u64).to_be_bytes(),
            body,
        ]
        .concat(),
    }
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame. After an error the connection is of no more use.
    pub fn take(&mut self) -> Result<Option<Frame>, ZmtpError> {
        let Some(&flags) = self.bytes.first() else {
            return Ok(None);
        };
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(ZmtpError::Flags(flags));
        }
        let (head, length) = if flags & LONG == 0 {
            let Some(&length) = self.bytes.get(1) else {
                return Ok(None);
            };
            (2, u64::from(length))
        } else {
            let Some(length) = self.bytes.get(1..9).and_then(|bytes| bytes.try_into().ok()) else {
                return Ok(None);
            };
            (9, u64::from_be_bytes(length))
        };
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_FRAME)
            .ok_or(ZmtpError::TooLong(length))?;
        if self.bytes.len() < head + length {
            return Ok(None);
        }
        let body = self.bytes[head..head + length].to_vec();
        self.bytes.drain(..head + length);
        Ok(Some(Frame {
            command: flags & COMMAND != 0,
            more: flags & MORE != 0,
            body,
        }))
    }
}

/// Joins frames to messages.
#[derive(Debug, Default)]
pub struct Messages {
    frames: Frames,
    parts: Vec<u8>,
}

impl Messages {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// The next whole message, its frames one after the other. Commands are passed over: after the
    /// handshake none matters to a subscriber of version 3.0.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, ZmtpError> {
        while let Some(frame) = self.frames.take()? {
            if frame.command {
                continue;
            }
            if self.parts.len() + frame.body.len() > MAX_FRAME {
                return Err(ZmtpError::Endless);
            }
            self.parts.extend_from_slice(&frame.body);
            if !frame.more {
                return Ok(Some(std::mem::take(&mut self.parts)));
            }
        }
        Ok(None)
    }
}

//! What clients send, read from bytes that nobody has checked.
//!
//! `pgwire` has readers for them that panic where a message is shorter than its counts say, so that
//! these are ours: every count and length is compared with the bytes that are there.

/// The longest start-up packet, as PostgreSQL has it.
pub(super) const MAX_STARTUP_BYTES: usize = 10_000;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// Bytes that are no message, and what is wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// The first packet of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Startup {
    /// To go on in TLS.
    Tls,
    /// To go on in GSSAPI, which is not spoken here.
    Gss,
    /// To cancel what another session does.
    Cancel {
        /// The session.
        backend: i32,
        /// The key that it was given.
        key: Vec<u8>,
    },
    /// To begin a session.
    Session {
        /// The minor number of version 3 of the protocol.
        minor: u16,
        /// Names and values.
        parameters: Vec<(String, String)>,
    },
}

/// A message of a session.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// Statements, each run at once.
    Query(String),
    /// A statement to keep.
    Parse {
        /// Its name; empty for the one without.
        name: String,
        /// The statement.
        sql: String,
        /// The types of its parameters, as far as the client knows them.
        types: Vec<u32>,
    },
    /// Parameters for a statement.
    Bind(Bind),
    /// To tell what a statement or a portal gives.
    Describe(Target),
    /// To run a portal.
    Execute {
        /// Its name.
        portal: String,
        /// How many rows to send at most; all of them when it is not positive.
        max_rows: i32,
    },
    /// To forget a statement or a portal.
    Close(Target),
    /// To send what was answered so far.
    Flush,
    /// To end a row of messages.
    Sync,
    /// A password, or a step of SCRAM.
    Password(Vec<u8>),
    /// A part of a COPY, or its end.
    Copy,
    /// To end the session.
    Terminate,
    /// A message that this server does not know.
    Unknown(u8),
}

/// What a message is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement(String),
    /// A portal.
    Portal(String),
}

/// Parameters for a statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Bind {
    /// The portal to make.
    pub portal: String,
    /// The statement.
    pub statement: String,
    /// How the values are written: none for text, one for all, or one each; 1 is binary.
    pub formats: Vec<i16>,
    /// The values; `None` is NULL.
    pub values: Vec<Option<Vec<u8>>>,
    /// The same for the columns of the answer.
    pub result_formats: Vec<i16>,
}

/// Reads a start-up packet, its length taken off.
pub fn read_startup(body: &[u8]) -> Result<Startup, Malformed> {
    let mut rest = Bytes(body);
    match rest.u32()? {
        SSL_REQUEST => Ok(Startup::Tls),
        GSS_REQUEST => Ok(Startup::Gss),
        CANCEL_REQUEST => Ok(Startup::Cancel {
            backend: rest.i32()?,
            key: rest.0.to_vec(),
        }),
        version if version >> 16 == 3 => {
            let mut parameters = Vec::new();
            loop {
                let name = rest.text()?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, rest.text()?));
            }
            Ok(Startup::Session {
                minor: version as u16,
                parameters,
            })
        }
        _ => Err(Malformed("only version 3 of the protocol is spoken here")),
    }
}

/// Reads a message of a session by its first byte, that and its length taken off.
pub fn read_message(kind: u8, body: &[u8]) -> Result<Message, Malformed> {
    let mut rest = Bytes(body);
    let message = match kind {
        b'Q' => Message::Query(rest.text()?),
        b'P' => Message::Parse {
            name: rest.text()?,
            sql: rest.text()?,
            types: rest.list(Bytes::u32)?,
        },
        b'B' => Message::Bind(Bind {
            portal: rest.text()?,
            statement: rest.text()?,
            formats: rest.list(Bytes::i16)?,
            values: rest.list(Bytes::value)?,
            result_formats: rest.list(Bytes::i16)?,
        }),
        b'D' => Message::Describe(rest.target()?),
        b'C' => Message::Close(rest.target()?),
        b'E' => Message::Execute {
            portal: rest.text()?,
            max_rows: rest.i32()?,
        },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'p' => Message::Password(std::mem::take(&mut rest.0).to_vec()),
        b'd' | b'c' | b'f' => {
            rest.0 = &[];
            Message::Copy
        }
        other => {
            rest.0 = &[];
            Message::Unknown(other)
        }
    };
    match rest.0.is_empty() {
        true => Ok(message),
        false => Err(Malformed("a message is longer than what it says")),
    }
}

/// Bytes that are not read yet.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(Malformed("a message ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_be_bytes)
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        self.take().map(i16::from_be_bytes)
    }

    /// Text up to a zero byte.
    fn text(&mut self) -> Result<String, Malformed> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or(Malformed("a text in a message does not end"))?;
        let text = std::str::from_utf8(&self.0[..end])
            .map_err(|_| Malformed("a text in a message is not UTF-8"))?;
        let text = text.to_owned();
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    /// As many as a count of two bytes says. Nothing is reserved on the word of the count.
    fn list<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = u16::from_be_bytes(self.take()?);
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    fn value(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let length = self.i32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length)
            .map_err(|_| Malformed("a value in a message has a negative length"))?;
        let (value, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("a message ends too early"))?;
        self.0 = rest;
        Ok(Some(value.to_vec()))
    }

    fn target(&mut self) -> Result<Target, Malformed> {
        match self.take::<1>()? {
            [b'S'] => Ok(Target::Statement(self.text()?)),
            [b'P'] => Ok(Target::Portal(self.text()?)),
            _ => Err(Malformed(
                "a message names neither a statement nor a portal",
            )),
        }
    }
}

//! How far a stream has been sent: a small file a stream, written anew and renamed.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::MessageFingerprint;
use super::{ExpectedStream, Message, ReadFrom};

/// A place in a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The next sequence to send.
    pub next: u64,
    /// When the stream was created, nanoseconds since 1970.
    pub created_ns: i64,
    /// The message before; none where that one is gone.
    pub last_message: Option<MessageFingerprint>,
}

impl Place {
    /// The place after a message.
    pub fn after(message: &Message, created_ns: i64) -> Self {
        Self {
            next: message.seq + 1,
            created_ns,
            last_message: Some(MessageFingerprint::from_message(message)),
        }
    }

    /// Where a reader goes on.
    pub fn read_from(&self) -> ReadFrom {
        ReadFrom {
            next: self.next,
            expect: ExpectedStream {
                created_ns: Some(self.created_ns),
                last_message: self.last_message.clone(),
            },
        }
    }
}

/// The file of one stream.
#[derive(Debug, Clone)]
pub struct PlaceFile {
    folder: PathBuf,
    name: String,
}

impl PlaceFile {
    /// A file in this folder, which is made when something is written.
    pub fn new(folder: &Path, stream: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            name: format!("{stream}.json"),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// What it says; nothing when there is none. One that says nonsense was not written here: it is
    /// an error that names it, since sending all again is for a person to decide.
    pub fn read(&self) -> Result<Option<Place>, String> {
        let path = self.path();
        let shown = path.display();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{shown} cannot be read: {error}")),
        };
        let place = serde_json::from_slice(&text).map_err(|error| {
            format!(
                "{shown} holds no place in a stream ({error}); remove it, and everything that \
                 the stream holds is sent again, which the office stores once"
            )
        })?;
        Ok(Some(place))
    }

    /// Replaces it, so that a crash leaves the old or the new one.
    pub fn write(&self, place: &Place) -> Result<(), String> {
        let path = self.path();
        let attempt = || -> std::io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let next = self.folder.join(format!("{}.next", self.name));
            let mut file = File::create(&next)?;
            file.write_all(&serde_json::to_vec(place)?)?;
            file.sync_all()?;
            fs::rename(&next, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        attempt().map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }
}

//! The two users of a managed server: their keys, and what the server lets each of them do.
//!
//! The subscriber lives in an account of its own, because permissions alone do not hold it: the
//! server answers a pull request at whatever reply subject it names, and a "404 No Messages" sent
//! to `$JS.API.STREAM.DELETE.instructions` deletes that stream. Between accounts the reply subject
//! stays the subscriber's own, where there is neither a stream nor a JetStream API.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use headframe_schemas::stream;
use nkeys::KeyPair;

use super::ServerError;
use crate::nats::provision::SUBSCRIBER_DURABLE;

/// The account with the streams.
pub const ACCOUNT: &str = "HEADFRAME";
/// The file with the seed of the user who may do everything.
pub const OWN_SEED: &str = "headframe.nk";
/// What the inbox subjects of the subscriber's user must begin with, so that it cannot read the
/// answers that others get.
pub const SUBSCRIBER_INBOX: &str = "_INBOX_subscriber";

/// Key files in a server's folder, and the public keys in them.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The seed of the user who may do everything.
    pub own_seed: PathBuf,
    own_key: String,
    subscriber_key: String,
}

impl Credentials {
    /// Reads the keys, or makes random ones in a folder that has none yet.
    pub fn load_or_create(folder: &Path) -> Result<Self, ServerError> {
        let own_seed = folder.join(OWN_SEED);
        let own_key = load_or_create_key(&own_seed)?;
        let subscriber_key = load_or_create_key(&folder.join("subscriber.nk"))?;
        Ok(Self {
            own_seed,
            own_key,
            subscriber_key,
        })
    }

    /// The `accounts` section of the server's configuration.
    pub fn accounts_section(&self) -> String {
        let subjects: Vec<String> = stream::ALL
            .iter()
            .filter(|stream| stream.is_subscribable())
            .flat_map(|stream| subscriber_subjects(stream.name()))
            .collect();
        let exports: Vec<String> = subjects
            .iter()
            .map(|subject| {
                format!(
                    "{{ service: {subject:?}, response_type: stream, accounts: [SUBSCRIBERS] }}"
                )
            })
            .collect();
        let imports: Vec<String> = subjects
            .iter()
            .map(|subject| format!("{{ service: {{ account: {ACCOUNT}, subject: {subject:?} }} }}"))
            .collect();
        format!(
            "accounts {{\n    {ACCOUNT} {{\n        jetstream: enabled\n        \
             users: [ {{ nkey: {own} }} ]\n        \
             exports: [\n            {exports}\n        ]\n    }}\n    \
             # Reads the streams below through ready-made durables, and can do nothing else.\n    \
             SUBSCRIBERS {{\n        users: [ {{ nkey: {subscriber}, permissions: {{\n            \
             publish: {{ allow: {subjects:?} }}\n            \
             subscribe: {{ allow: [\"{SUBSCRIBER_INBOX}.>\"] }}\n        }} }} ]\n        \
             imports: [\n            {imports}\n        ]\n    }}\n}}\n",
            own = self.own_key,
            subscriber = self.subscriber_key,
            exports = exports.join("\n            "),
            imports = imports.join("\n            "),
        )
    }
}

/// What reading a stream through the subscriber's durable takes: asking for messages and
/// acknowledging them. Looking at the durable is answered for the caller's own account only.
fn subscriber_subjects(stream: &str) -> [String; 2] {
    [
        format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{SUBSCRIBER_DURABLE}"),
        format!("$JS.ACK.{stream}.{SUBSCRIBER_DURABLE}.>"),
    ]
}

/// The public key of the seed in this file, which only its owner can read afterwards.
fn load_or_create_key(path: &Path) -> Result<String, ServerError> {
    let failed = |attempt| {
        move |source| ServerError::File {
            attempt,
            path: path.to_owned(),
            source,
        }
    };
    let invalid = |error: nkeys::error::Error| ServerError::Key {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    match fs::read_to_string(path) {
        Ok(seed) => {
            let key = KeyPair::from_seed(seed.trim()).map_err(invalid)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))
                .map_err(failed("close to others"))?;
            Ok(key.public_key())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = KeyPair::new_user();
            let seed = key.seed().map_err(invalid)?;
            write_private(path, seed.as_bytes()).map_err(failed("write"))?;
            Ok(key.public_key())
        }
        Err(error) => Err(failed("read")(error)),
    }
}

/// Writes a file that only its owner can read: it is whole or not there.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    fs::remove_file(&part).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)
}

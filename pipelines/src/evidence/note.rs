//! Signed checkpoints as the transparency logs of C2SP write them: `tlog-checkpoint` inside
//! `signed-note`, so that their tools verify ours.
//!
//! A checkpoint is three lines, the log's name, its size and its root in Base64; a note is a text,
//! an empty line and a line for each signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::evidence::tree::Hash;
use crate::signature::{SigningKey, verify};

/// The number of Ed25519 among the algorithms of `signed-note`.
const ED25519: u8 = 1;

/// A root over the first facts of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub log: String,
    /// How many facts it is over.
    pub size: u64,
    /// The root.
    pub root: Hash,
}

impl Checkpoint {
    /// Its text, which is signed.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.log,
            self.size,
            STANDARD.encode(self.root)
        )
    }

    /// The signed note.
    pub fn signed(&self, key: &SigningKey) -> String {
        let text = self.text();
        let public = hex::decode(key.public_hex()).unwrap_or_default();
        let mut signature = key_id(&self.log, &public).to_vec();
        signature.extend(hex::decode(key.sign(&text)).unwrap_or_default());
        format!(
            "{text}\n\u{2014} {} {}\n",
            self.log,
            STANDARD.encode(signature)
        )
    }
}

/// Who signs, as `signed-note` writes a public key: `name+id+key`.
pub fn verifier(log: &str, public_hex: &str) -> String {
    let public = hex::decode(public_hex).unwrap_or_default();
    let typed: Vec<u8> = [&[ED25519][..], &public].concat();
    let id = hex::encode(key_id(log, &public));
    format!("{log}+{id}+{}", STANDARD.encode(typed))
}

/// Which key a signature is of: the first bytes of the SHA-256 of name, line feed, algorithm, key.
fn key_id(name: &str, public: &[u8]) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', ED25519]);
    hash.update(public);
    let whole: Hash = hash.finalize().into();
    [whole[0], whole[1], whole[2], whole[3]]
}

/// The text of a note that this verifier (`name+id+key`) signed; an error says what does not hold.
pub fn opened<'a>(note: &'a str, verifier: &str) -> Result<&'a str, String> {
    let (name, public) = parse_verifier(verifier)?;
    let (text, signatures) = note
        .rsplit_once("\n\n")
        .ok_or("it has no empty line before its signatures")?;
    // The line feed before the empty line belongs to the text.
    let text = &note[..=text.len()];
    let id = key_id(&name, &public);
    for line in signatures.lines() {
        let Some((by, signature)) = line
            .strip_prefix("\u{2014} ")
            .and_then(|line| line.split_once(' '))
        else {
            return Err("a line of its signatures is none".to_owned());
        };
        let signature = STANDARD.decode(signature).unwrap_or_default();
        let Some((of, signature)) = signature.split_first_chunk::<4>() else {
            return Err("a signature is too short".to_owned());
        };
        if by != name || *of != id {
            continue;
        }
        return match verify(&hex::encode(&public), text, &hex::encode(signature)) {
            true => Ok(text),
            false => Err(format!("the signature of {name} is not of this text")),
        };
    }
    Err(format!("{name} did not sign it with the key of that id"))
}

/// The name and the key of a verifier.
fn parse_verifier(verifier: &str) -> Result<(String, Vec<u8>), String> {
    let wrong = || format!("{verifier:?} is no verifier key: name+id+key, of Ed25519");
    let mut parts = verifier.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let typed = STANDARD.decode(key).map_err(|_| wrong())?;
    match typed.split_first() {
        Some((&ED25519, public)) if hex::encode(key_id(name, public)) == id => {
            Ok((name.to_owned(), public.to_vec()))
        }
        _ => Err(wrong()),
    }
}

/// The checkpoint that a text states.
pub fn parse(text: &str) -> Result<Checkpoint, String> {
    let mut lines = text.lines();
    let log = lines
        .next()
        .filter(|log| !log.is_empty())
        .ok_or("it names no log")?;
    let size = lines
        .next()
        .and_then(|size| size.parse().ok())
        .ok_or("it has no size")?;
    let root = lines.next().and_then(|root| STANDARD.decode(root).ok());
    let root = root
        .and_then(|root| Hash::try_from(root).ok())
        .ok_or("it has no root")?;
    Ok(Checkpoint {
        log: log.to_owned(),
        size,
        root,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The example of golang.org/x/mod/sumdb/note, which the format comes from.
    const PUBLISHED_KEY: &str =
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PUBLISHED: &str = "If you think cryptography is the answer to your problem,\nthen you \
        don't know what your problem is.\n\n\u{2014} PeterNeumann \
        x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSN\
        XgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_that_others_published_is_opened() {
        let text = opened(PUBLISHED, PUBLISHED_KEY).unwrap();
        assert!(text.ends_with("problem is.\n"));
        let changed = PUBLISHED.replace("answer", "Answer");
        assert!(
            opened(&changed, PUBLISHED_KEY)
                .unwrap_err()
                .contains("not of this text")
        );
    }

    #[test]
    fn a_checkpoint_is_signed_opened_and_read() {
        let key = SigningKey::ephemeral().unwrap();
        let checkpoint = Checkpoint {
            log: "north/evidence".to_owned(),
            size: 17,
            root: [7; 32],
        };
        let note = checkpoint.signed(&key);
        let verifier = verifier("north/evidence", &key.public_hex());
        let text = opened(&note, &verifier).unwrap();
        assert_eq!(parse(text).unwrap(), checkpoint);
        assert_eq!(text, checkpoint.text());
        for (at, byte) in note.bytes().enumerate() {
            let mut flipped = note.clone().into_bytes();
            flipped[at] = byte ^ 1;
            let flipped = String::from_utf8_lossy(&flipped).into_owned();
            let opened = opened(&flipped, &verifier);
            assert!(opened.is_err() || opened == Ok(text), "byte {at}");
        }
        let other = SigningKey::ephemeral().unwrap();
        let other = super::verifier("north/evidence", &other.public_hex());
        assert!(opened(&note, &other).unwrap_err().contains("did not sign"));
        assert!(opened(&note, "x").unwrap_err().contains("no verifier key"));
    }
}

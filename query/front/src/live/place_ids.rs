//! How a place in a stream is written for a subscriber.
//!
//! A sequence counts everybody's rows. Who sees some of them only is given places that are sealed:
//! they tell neither how many rows lie between two of them nor which comes first, and no two are
//! the same, so that not even the progress of a stream without rows of his shows in them.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::QueryError;
use crate::live::place_key::PlaceKey;
use crate::live::position::Position;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// A nonce, a sequence, a row, a tag.
const SEALED_BYTES: usize = NONCE_BYTES + 16 + TAG_BYTES;

/// How places are written.
#[derive(Clone)]
pub(crate) enum PlaceIds {
    /// As they are.
    Sequences,
    /// Sealed, for one miner and one stream.
    Sealed(Arc<RandomizedNonceKey>),
}

impl PlaceIds {
    /// Sealed places of one miner in one stream.
    pub(super) fn sealed(key: &PlaceKey, stream: &str, address: &str) -> Result<Self, QueryError> {
        let key = key.of_miner(stream, address);
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).map_err(unsealed)?;
        Ok(Self::Sealed(Arc::new(key)))
    }

    /// A place as a subscriber is told it.
    pub(super) fn write(&self, position: Position) -> Result<String, QueryError> {
        let Self::Sealed(key) = self else {
            return Ok(position.to_string());
        };
        let mut bytes = Vec::with_capacity(SEALED_BYTES);
        bytes.extend_from_slice(&position.seq.to_be_bytes());
        bytes.extend_from_slice(&position.row.to_be_bytes());
        let nonce = key
            .seal_in_place_append_tag(Aad::empty(), &mut bytes)
            .map_err(unsealed)?;
        bytes.splice(0..0, nonce.as_ref().iter().copied());
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The place that was told so; `None` for what nobody was told.
    pub(crate) fn read(&self, text: &str) -> Option<Position> {
        let Self::Sealed(key) = self else {
            return Position::parse(text);
        };
        // The length is looked at first, so that a long text costs nothing.
        if text.len() != (SEALED_BYTES * 8).div_ceil(6) {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut sealed = bytes.split_off(NONCE_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).ok()?;
        let place = key.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        let number = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_be_bytes);
        let (seq, row) = place.split_at_checked(8)?;
        Some(Position::after_row(number(seq)?, number(row)?))
    }

    /// Whether nobody may learn sequences from what is told.
    pub(super) fn are_sealed(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }
}

fn unsealed(_: Unspecified) -> QueryError {
    QueryError::internal("the place of a row cannot be sealed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sealed_places_are_read_by_whom_they_were_told_to_and_nobody_else() {
        let key = PlaceKey::ephemeral();
        let of = |stream, miner| PlaceIds::sealed(&key, stream, miner).unwrap();
        let own = of("shares", "4A");
        let place = Position::after_row(7, 3);
        let id = own.write(place).unwrap();
        assert_eq!(own.read(&id), Some(place));
        // Another server with the same key reads it as well.
        assert_eq!(of("shares", "4A").read(&id), Some(place));
        let whole = Position::after_message(7);
        assert_eq!(own.read(&own.write(whole).unwrap()), Some(whole));
        // The same place is another text each time, of the same length as every other.
        let again = own.write(place).unwrap();
        assert_ne!(id, again);
        let far = own.write(Position::after_message(i64::MAX)).unwrap();
        assert_eq!([id.len(), again.len(), far.len()], [59; 3]);
        for other in [of("shares", "4B"), of("blocks", "4A")] {
            assert_eq!(other.read(&id), None);
        }
        assert_eq!(PlaceIds::Sequences.read(&id), None);
    }

    #[test]
    fn a_place_that_was_changed_or_made_up_is_none() {
        let own = PlaceIds::sealed(&PlaceKey::ephemeral(), "shares", "4A").unwrap();
        let id = own.write(Position::after_message(7)).unwrap();
        for index in 0..id.len() {
            let mut changed = id.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(own.read(&changed), None, "{changed}");
        }
        let twice = format!("{id}{id}");
        for made_up in ["", "7", "7.3", "0", &id[1..], &twice, &"A".repeat(59)] {
            assert_eq!(own.read(made_up), None, "{made_up:?}");
        }
    }
}

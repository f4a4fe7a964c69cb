//! Frames: how records lie in a segment, so that a torn tail is told from damage and a bad byte
//! costs one record.
//!
//! A frame is a mark, the length of its body, a sum of these two, a sum of the body, and the body.
//! The head has a sum of its own because a wrong length would otherwise look like a file that was
//! cut.

use std::ops::Range;

/// Opens each frame. 0xFF is no part of any UTF-8 text, so no record looks like a frame within.
const MARK: [u8; 4] = [0xFF, b'H', b'F', 0x01];
/// CoinbaseTag 4, length 4, head's sum 4, body's sum 16.
pub const HEAD: usize = 28;
/// No body is longer; a length beyond it is damage.
pub const MAX_BODY: usize = 64 * 1024 * 1024;

/// What a stretch of a segment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The body of a whole frame.
    Record(Range<usize>),
    /// Bytes that were a frame once.
    Damaged(Range<usize>),
    /// The rest of the file: a frame whose writing was cut short, so nobody was ever told that it
    /// is durable.
    Torn(Range<usize>),
}

/// Adds a frame around `body`.
pub fn encode(body: &[u8], out: &mut Vec<u8>) {
    let mut head = [0_u8; HEAD];
    head[..4].copy_from_slice(&MARK);
    // Callers bound their bodies far below; a longer one would be told as damage, not taken for
    // another.
    head[4..8].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    let sum = blake3::hash(&head[..8]);
    head[8..12].copy_from_slice(&sum.as_bytes()[..4]);
    head[12..HEAD].copy_from_slice(&blake3::hash(body).as_bytes()[..16]);
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
}

/// Takes a segment apart. The pieces cover it without gap or overlap, but for the heads of records.
pub fn scan(bytes: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let found = piece_at(&bytes[at..]);
        if let Found::Whole(length) = found {
            pieces.push(Piece::Record(at + HEAD..at + HEAD + length));
            at += HEAD + length;
            continue;
        }
        let is_whole = |&next: &usize| {
            bytes[next] == MARK[0] && matches!(piece_at(&bytes[next..]), Found::Whole(_))
        };
        let next = (at + 1..bytes.len()).find(is_whole);
        match (next, found) {
            (Some(next), _) => pieces.push(Piece::Damaged(at..next)),
            (None, Found::Cut) => pieces.push(Piece::Torn(at..bytes.len())),
            (None, _) => pieces.push(Piece::Damaged(at..bytes.len())),
        }
        at = next.unwrap_or(bytes.len());
    }
    pieces
}

enum Found {
    Whole(usize),
    Cut,
    Bad,
}

/// What begins here.
fn piece_at(bytes: &[u8]) -> Found {
    let marked = bytes.len().min(MARK.len());
    if bytes[..marked] != MARK[..marked] {
        // A file system may have made space for bytes that it never got.
        return if bytes.iter().all(|byte| *byte == 0) {
            Found::Cut
        } else {
            Found::Bad
        };
    }
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Found::Cut;
    };
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if blake3::hash(&head[..8]).as_bytes()[..4] != head[8..12] || length > MAX_BODY {
        return Found::Bad;
    }
    let Some(body) = rest.get(..length) else {
        return Found::Cut;
    };
    if blake3::hash(body).as_bytes()[..16] == head[12..] {
        Found::Whole(length)
    } else {
        Found::Bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(bodies: &[Vec<u8>]) -> (Vec<u8>, Vec<Range<usize>>) {
        let (mut bytes, mut frames) = (Vec::new(), Vec::new());
        for body in bodies {
            let from = bytes.len();
            encode(body, &mut bytes);
            frames.push(from..bytes.len());
        }
        (bytes, frames)
    }

    fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
        let body = |piece| {
            if let Piece::Record(range) = piece {
                Some(bytes[range].to_vec())
            } else {
                None
            }
        };
        scan(bytes).into_iter().filter_map(body).collect()
    }

    /// Text, as records are; short ones, so that cuts and flips fall on heads often.
    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(0x20_u8..0x7F, 0..40), 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_was_written_is_read(bodies in bodies()) {
            let (bytes, _) = segment(&bodies);
            prop_assert_eq!(records(&bytes), bodies.clone());
            prop_assert_eq!(scan(&bytes).len(), bodies.len());
        }

        #[test]
        fn a_cut_costs_the_frame_that_was_cut_and_nothing_else(bodies in bodies(),
            cut in any::<prop::sample::Index>()) {
            let (bytes, frames) = segment(&bodies);
            let cut = cut.index(bytes.len() + 1);
            let whole = frames.iter().filter(|frame| frame.end <= cut).count();
            prop_assert_eq!(records(&bytes[..cut]), bodies[..whole].to_vec());
            let end = frames[..whole].last().map_or(0, |frame| frame.end);
            let rest: Vec<Piece> = scan(&bytes[..cut]).into_iter().skip(whole).collect();
            prop_assert_eq!(rest, if end == cut { vec![] } else { vec![Piece::Torn(end..cut)] });
        }

        #[test]
        fn a_flipped_bit_is_told_and_costs_its_frame_only(bodies in bodies(),
            flip in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let (mut bytes, frames) = segment(&bodies);
            let flip = flip.index(bytes.len());
            bytes[flip] ^= 1 << bit;
            let hit = frames.iter().position(|frame| frame.contains(&flip)).unwrap_or_default();
            let mut left = bodies.clone();
            left.remove(hit);
            prop_assert_eq!(records(&bytes), left);
            prop_assert_eq!(&scan(&bytes)[hit], &Piece::Damaged(frames[hit].clone()));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300),
            cut in any::<prop::sample::Index>()) {
            let mut strange = bytes.clone();
            encode(b"a record", &mut strange);
            strange.extend_from_slice(&bytes);
            strange.truncate(cut.index(strange.len() + 1));
            let mut at = 0;
            for piece in scan(&strange) {
                let (from, to) = match piece {
                    Piece::Record(range) => (range.start - HEAD, range.end),
                    Piece::Damaged(range) | Piece::Torn(range) => (range.start, range.end),
                };
                prop_assert_eq!(from, at);
                prop_assert!(to > from);
                at = to;
            }
            prop_assert_eq!(at, strange.len());
        }
    }

    #[test]
    fn space_that_was_never_filled_is_a_torn_tail() {
        let (mut bytes, _) = segment(&[b"one".to_vec()]);
        let end = bytes.len();
        bytes.extend_from_slice(&[0; 4096]);
        assert_eq!(scan(&bytes)[1], Piece::Torn(end..end + 4096));
    }
}

//! The line codec: however a stream is cut, the same lines come out, and none is longer than
//! allowed.

use headframe_stratum::protocol::line::LineBuffer;

/// The first byte chooses the limit, the second how the rest is cut.
pub fn run(bytes: &[u8]) {
    let [limit, cut, stream @ ..] = bytes else {
        return;
    };
    let (limit, cut) = (usize::from(*limit) + 1, usize::from(*cut) + 1);
    let expected = split(stream, limit);
    for piece in [cut, 1, stream.len().max(1)] {
        assert_eq!(
            read(stream, limit, piece),
            expected,
            "cut into pieces of {piece}"
        );
    }
}

/// Lines, and whether the stream ended in one that is too long.
type Split = (Vec<Vec<u8>>, bool);

fn read(stream: &[u8], limit: usize, piece: usize) -> Split {
    let (mut lines, mut taken) = (LineBuffer::default(), Vec::new());
    for bytes in stream.chunks(piece) {
        lines.push(bytes);
        loop {
            match lines.take(limit) {
                Ok(Some(line)) => taken.push(line),
                Ok(None) => break,
                Err(_) => return (taken, true),
            }
        }
    }
    (taken, false)
}

/// The same by the plainest code there is.
fn split(stream: &[u8], limit: usize) -> Split {
    let mut lines = Vec::new();
    let mut parts: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let unfinished = parts.pop().unwrap_or_default();
    for part in parts {
        if part.len() > limit {
            return (lines, true);
        }
        let line = part.strip_suffix(b"\r").unwrap_or(part);
        if !line.iter().all(u8::is_ascii_whitespace) {
            lines.push(line.to_vec());
        }
    }
    (lines, unfinished.len() > limit)
}

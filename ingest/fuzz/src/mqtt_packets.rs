//! What a broker sends, or a client.

use bytes::{BufMut, BytesMut};
use headframe_ingest::source::mqtt_packet::{Packet, stored, stored_bytes};

/// Bytes that a packet may have.
const MOST: usize = 4_096;

/// Packets as long as there are any, and whether the stream can go on.
fn packets(bytes: &mut BytesMut, found: &mut Vec<Packet>) -> bool {
    loop {
        match Packet::take(bytes, MOST) {
            Ok(Some(packet)) => found.push(packet),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// The stream at once and byte by byte, and messages as a session keeps them.
pub fn run(bytes: &[u8]) {
    let mut whole = Vec::new();
    let mut buffer = BytesMut::from(bytes);
    let goes_on = packets(&mut buffer, &mut whole);
    let (mut pieces, mut buffer, mut is_open) = (Vec::new(), BytesMut::new(), true);
    for byte in bytes {
        if !is_open {
            break;
        }
        buffer.put_u8(*byte);
        is_open = packets(&mut buffer, &mut pieces);
    }
    assert_eq!(whole, pieces, "packets depend on how they are cut");
    assert_eq!(goes_on, is_open, "a fault depends on how the stream is cut");
    for packet in whole {
        let mut again = BytesMut::from(&packet.bytes()[..]);
        let same = Packet::take(&mut again, usize::MAX);
        assert!(matches!(same, Ok(Some(same)) if same == packet) && again.is_empty());
    }
    if let Ok(messages) = stored(bytes) {
        assert_eq!(stored(&stored_bytes(&messages)), Ok(messages));
    }
}

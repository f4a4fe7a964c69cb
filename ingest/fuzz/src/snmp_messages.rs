//! What a device with SNMP sends, and what one is sent.

use headframe_ingest::source::snmp_message::{
    Head, Version, answer, bindings, bindings_bytes, received, request, response,
};

/// The bytes as an answer, a request and a list of objects.
pub fn run(bytes: &[u8]) {
    if let Ok(found) = answer(bytes) {
        let head = Head {
            version: Version::V2c,
            community: b"public".to_vec(),
            id: found.id,
        };
        let error = [found.error, found.error_index];
        let written = response(&head, error, &found.bindings);
        let again = answer(&written).expect("an answer that was written can be read");
        assert_eq!((again.id, again.error), (found.id, found.error));
        assert_eq!(
            response(&head, error, &again.bindings),
            written,
            "an answer changes when it is written again"
        );
    }
    if let Ok((head, pdu)) = received(bytes)
        && let Ok(community) = std::str::from_utf8(&head.community)
    {
        let written = request(head.version, community, head.id, &pdu);
        assert_eq!(received(&written), Ok((head, pdu)));
    }
    if let Ok(found) = bindings(bytes) {
        let written = bindings_bytes(&found);
        let again = bindings(&written).expect("objects that were written can be read");
        assert_eq!(bindings_bytes(&again), written);
    }
}

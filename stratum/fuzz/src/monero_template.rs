//! Templates of a Monero daemon: anything but a template is refused, and what is taken makes the
//! blobs and blocks that the `monero` crate makes of the same bytes.

use headframe_stratum::chain::monero::template::{MoneroTemplate, TemplateAnswer};
use headframe_stratum::chain::{Extranonce, Template};
use monero::consensus::encode::{deserialize, serialize};
use serde_json::json;

/// Either a daemon's answer as JSON, or the reserve's place (two bytes, little-endian) and the
/// block.
pub fn run(bytes: &[u8]) {
    if bytes.first() == Some(&b'{') {
        if let Ok(answer) = serde_json::from_slice::<TemplateAnswer>(bytes) {
            check(&answer);
        }
        return;
    }
    let [low, high, blob @ ..] = bytes else {
        return;
    };
    // Without the hashing blob that belongs to it everything is read, and then refused.
    assert!(MoneroTemplate::parse(&answer(blob, u16::from_le_bytes([*low, *high]), &[])).is_err());
    if let Some(hashing) = oracle(blob) {
        check(&answer(blob, u16::from_le_bytes([*low, *high]), &hashing));
    }
}

fn check(answer: &TemplateAnswer) {
    let Ok(template) = MoneroTemplate::parse(answer) else {
        return;
    };
    let extranonce = Extranonce {
        instance: 0x0102_0304,
        connection: 5,
        job: 6,
    };
    let nonce = [7, 8, 9, 10];
    let found = template.block(extranonce, nonce);
    let mut blob = template.hashing_blob(extranonce);
    let at = template.nonce_offset();
    assert_eq!(blob[at..at + 4], [0; 4]);
    blob[at..at + 4].copy_from_slice(&nonce);
    // What the other hand reads before the extranonce is written must be readable after it.
    if hex::decode(&answer.blocktemplate_blob).is_ok_and(|bytes| oracle(&bytes).is_some()) {
        let hashing = oracle(&found.bytes).expect("the extranonce made a block that is none");
        assert_eq!(
            hex::encode(blob),
            hex::encode(hashing),
            "the blob a miner hashes is not that of the block it makes"
        );
    }
}

/// The hashing blob of a block by another's hand; `None` for what that hand does not read, or
/// writes differently.
fn oracle(blob: &[u8]) -> Option<Vec<u8>> {
    let block: monero::Block = deserialize(blob).ok()?;
    (serialize(&block) == blob).then(|| block.serialize_hashable())
}

fn answer(blob: &[u8], reserved_offset: u16, hashing: &[u8]) -> TemplateAnswer {
    let answer = json!({
        "blocktemplate_blob": hex::encode(blob),
        "blockhashing_blob": hex::encode(hashing),
        "reserved_offset": reserved_offset,
        "height": 1,
        "prev_hash": "01".repeat(32),
        "seed_hash": "02".repeat(32),
        "next_seed_hash": "",
        "wide_difficulty": "0x10",
        "difficulty": 16,
        "difficulty_top64": 0,
        "expected_reward": 600_000_000_000u64,
    });
    serde_json::from_value(answer).expect("the fields of a template")
}

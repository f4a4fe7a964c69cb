//! Templates of an OpenSY node: anything but a template is refused, and what is taken makes blocks
//! that the `bitcoin` crate reads, with the root, the witness commitment and the id it would give
//! them itself.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, Transaction};
use headframe_stratum::chain::bitcoin::template::{BitcoinTemplate, Keys, TemplateAnswer};
use headframe_stratum::chain::bitcoin::transaction::ids;
use headframe_stratum::chain::{Extranonce, Template};

/// A script that everybody can spend: OP_TRUE.
const REWARD: [u8; 1] = [0x51];

/// Either a node's answer as JSON, or one transaction.
pub fn run(bytes: &[u8]) {
    if bytes.first() == Some(&b'{') {
        if let Ok(answer) = serde_json::from_slice::<TemplateAnswer>(bytes) {
            check(&answer);
        }
        return;
    }
    let (ours, oracle) = (
        ids(bytes),
        deserialize::<Transaction>(bytes)
            .ok()
            .filter(|transaction| !transaction.input.is_empty()),
    );
    let Some(transaction) = oracle.filter(|transaction| serialize(transaction) == bytes) else {
        return;
    };
    let Some(ours) = ours else {
        panic!("a transaction is not understood")
    };
    assert_eq!(ours.txid, transaction.compute_txid().to_byte_array());
    assert_eq!(ours.wtxid, transaction.compute_wtxid().to_byte_array());
    assert_eq!(ours.weight, transaction.weight().to_wu());
}

fn check(answer: &TemplateAnswer) {
    let Ok(template) = BitcoinTemplate::parse(
        answer,
        &REWARD,
        Keys {
            current: [1; 32],
            next: None,
        },
    ) else {
        return;
    };
    let extranonce = Extranonce {
        instance: 0x0102_0304,
        connection: 5,
        job: 6,
    };
    let nonce = [7, 8, 9, 10];
    let found = template.block(extranonce, nonce);
    let mut header = template.hashing_blob(extranonce);
    let at = template.nonce_offset();
    assert_eq!(header[at..at + 4], [0; 4]);
    header[at..at + 4].copy_from_slice(&nonce);
    assert_eq!(
        header,
        found.bytes[..header.len()],
        "the header a miner hashes is not that of the block it makes"
    );
    // The other hand is stricter about what may stand in a transaction; what it reads must be
    // sound.
    let readable = answer.transactions.iter().all(|each| {
        hex::decode(&each.data).is_ok_and(|bytes| deserialize::<Transaction>(&bytes).is_ok())
    });
    if !readable {
        return;
    }
    let block: Block = deserialize(&found.bytes).expect("the coinbase made a block that is none");
    assert_eq!(
        block
            .block_hash()
            .to_byte_array()
            .into_iter()
            .rev()
            .collect::<Vec<_>>(),
        found.id,
        "another id"
    );
    assert!(block.check_merkle_root(), "another root");
    assert_eq!(block.txdata.len(), answer.transactions.len() + 1);
    assert!(
        answer.default_witness_commitment.is_none() || block.check_witness_commitment(),
        "another commitment"
    );
    assert_eq!(
        block.txdata[0]
            .output
            .iter()
            .map(|output| output.value.to_sat())
            .sum::<u64>(),
        answer.coinbasevalue
    );
}

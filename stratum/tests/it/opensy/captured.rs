//! What a real OpenSY node said and made: read, rebuilt and verified.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use headframe_stratum::chain::bitcoin::address::{Network, parse};
use headframe_stratum::chain::bitcoin::encode::height_push;
use headframe_stratum::chain::bitcoin::header::{Header, LEN, id};
use headframe_stratum::chain::bitcoin::keys::KeySchedule;
use headframe_stratum::chain::bitcoin::schedule_check::evidence::{
    Sample, ScheduleMismatch, judge,
};
use headframe_stratum::chain::bitcoin::sha256d::{from_printed, reversed};
use headframe_stratum::chain::bitcoin::target::Target;
use headframe_stratum::chain::bitcoin::template::{BitcoinTemplate, Keys};
use headframe_stratum::chain::bitcoin::transaction::ids;
use headframe_stratum::chain::{Extranonce, Hash, Template, with_nonce};
use headframe_stratum::randomx::{Mode, SeedMemory, Vm};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

use super::{BLOCK_100, CHAIN_INFO, HEADERS, WALLET, bytes32, json, node, template_answer};

const SCHEDULE: KeySchedule = KeySchedule {
    interval: 32,
    fork_height: 1,
};

#[derive(Deserialize)]
struct File {
    headers: Vec<Captured>,
}

#[derive(Deserialize)]
struct Captured {
    height: u64,
    header: String,
    block_hash: String,
    key_height: u64,
    key_block_hash_rpc: String,
    key_bytes: String,
    randomx_hash: String,
}

impl Captured {
    fn header(&self) -> [u8; LEN] {
        hex::decode(&self.header).unwrap().try_into().unwrap()
    }
}

fn captured() -> Vec<Captured> {
    serde_json::from_str::<File>(HEADERS).unwrap().headers
}

/// RandomX in light mode with the memories of all keys asked for.
struct Hasher(HashMap<Hash, Vm>);

impl Hasher {
    fn hash(&mut self, key: &Hash, bytes: &[u8]) -> Hash {
        let make = || Vm::new(&Arc::new(SeedMemory::build(key, Mode::Light).unwrap())).unwrap();
        self.0.entry(*key).or_insert_with(make).hash(bytes).unwrap()
    }
}

#[test]
fn the_twelve_headers_verify_under_our_schedule_and_under_no_other() {
    let captured = captured();
    assert_eq!(captured.len(), 12);
    let mut hasher = Hasher(HashMap::new());
    let mut samples = Vec::new();
    for block in &captured {
        let (header, key) = (block.header(), bytes32(&block.key_bytes));
        assert_eq!(hex::encode(id(&header)), block.block_hash);
        assert_eq!(Header::parse(&header).bytes(), header);
        assert_eq!(
            SCHEDULE.key_height(block.height),
            block.key_height,
            "height {}",
            block.height
        );
        assert_eq!(
            from_printed(&block.key_block_hash_rpc),
            Some(key),
            "the key is the id's bytes, not its print"
        );
        let hash = hasher.hash(&key, &header);
        assert_eq!(
            hex::encode(hash),
            block.randomx_hash,
            "height {}",
            block.height
        );
        assert!(
            Target::from_compact(Header::parse(&header).bits)
                .unwrap()
                .is_met_by(&hash)
        );
        samples.push(Sample {
            height: block.height,
            header,
            key,
        });
    }
    let mut judged = |schedule: &KeySchedule, samples: &[Sample]| {
        judge(schedule, samples, |key, bytes| Ok(hasher.hash(key, bytes))).unwrap()
    };
    assert_eq!(judged(&SCHEDULE, &samples), Ok(()));
    // Interval 64 gives the blocks from 64 on the genesis block's key, and those hashes miss the
    // target somewhere.
    let wrong = KeySchedule {
        interval: 64,
        fork_height: 1,
    };
    let genesis = samples[0].key;
    let misled: Vec<Sample> = samples
        .iter()
        .map(|sample| Sample {
            key: genesis,
            ..sample.clone()
        })
        .collect();
    assert!(matches!(
        judged(&wrong, &misled),
        Err(ScheduleMismatch::Key { interval: 64, .. })
    ));
    let late = KeySchedule {
        fork_height: 1000,
        ..SCHEDULE
    };
    assert!(matches!(
        judged(&late, &samples),
        Err(ScheduleMismatch::ForkTooHigh {
            fork_height: 1000,
            ..
        })
    ));
}

#[test]
fn the_stand_in_begins_at_the_real_genesis() {
    assert_eq!(
        node::genesis().block_hash().to_string(),
        captured()[0].key_block_hash_rpc
    );
    assert_eq!(
        hex::encode(node::genesis().block_hash().to_byte_array()),
        captured()[0].key_bytes
    );
}

#[test]
fn block_100_is_read_and_written_as_the_node_writes_it() {
    let bytes = hex::decode(BLOCK_100.trim()).unwrap();
    let header: [u8; LEN] = bytes[..LEN].try_into().unwrap();
    let fields = Header::parse(&header);
    assert_eq!(fields.bytes(), header);
    assert_eq!(hex::encode(id(&header)), json(CHAIN_INFO)["bestblockhash"]);
    // One transaction follows: its id without the witness is the root, and it begins with its
    // height.
    assert_eq!(bytes[LEN], 1);
    let coinbase = &bytes[LEN + 1..];
    let ids = ids(coinbase).unwrap();
    assert_eq!(ids.txid, fields.root);
    assert!(ids.has_witness());
    let oracle: bitcoin::Block = deserialize(&bytes).unwrap();
    assert_eq!(oracle.txdata[0].compute_txid().to_byte_array(), ids.txid);
    assert_eq!(oracle.txdata[0].compute_wtxid().to_byte_array(), ids.wtxid);
    assert_eq!(oracle.txdata[0].weight().to_wu(), ids.weight);
    assert!(
        oracle.txdata[0].input[0]
            .script_sig
            .as_bytes()
            .starts_with(&height_push(100))
    );
    assert_eq!(serialize(&oracle), bytes);
}

/// The captured template differs from the block before it in what a miner adds only, so the same
/// blocks come of both.
#[test]
fn the_captured_template_becomes_a_block() {
    let reward = parse(WALLET, Network::Regtest).unwrap().script();
    let keys = Keys {
        current: [1; 32],
        next: Some([2; 32]),
    };
    let template = BitcoinTemplate::parse(&template_answer(), &reward, keys).unwrap();
    assert_eq!(
        (
            template.height(),
            template.reward_atomic(),
            template.nonce_offset()
        ),
        (101, 1_000_000_000_000, 76)
    );
    assert_eq!(
        hex::encode(template.prev()),
        json(CHAIN_INFO)["bestblockhash"]
    );
    assert_eq!(
        (template.seed(), template.next_seed()),
        ([1; 32], Some([2; 32]))
    );
    // The node counts two hashes a block: its chain work after 101 blocks is 202.
    assert_eq!(template.network_difficulty(), 2);
    assert_eq!(
        u64::from_str_radix(json(CHAIN_INFO)["chainwork"].as_str().unwrap(), 16).unwrap(),
        101 * 2
    );
    let extranonce = Extranonce {
        instance: 1,
        connection: 2,
        job: 3,
    };
    let found = template.block(extranonce, [4, 5, 6, 7]);
    let blob = with_nonce(template.hashing_blob(extranonce), 76, [4, 5, 6, 7]);
    assert_eq!((blob.len(), &found.bytes[..80]), (80, blob.as_slice()));
    let oracle: bitcoin::Block = deserialize(&found.bytes).unwrap();
    assert_eq!(oracle.block_hash().to_string(), hex::encode(found.id));
    assert_eq!(oracle.block_hash().to_byte_array(), reversed(found.id));
    assert!(oracle.check_merkle_root() && oracle.check_witness_commitment());
    let coinbase = &oracle.txdata[0];
    assert_eq!(coinbase.output[0].script_pubkey.as_bytes(), reward);
    assert_eq!(
        coinbase.output[1].script_pubkey.to_hex_string(),
        template_answer().default_witness_commitment.unwrap()
    );
    let script = coinbase.input[0].script_sig.as_bytes();
    assert_eq!(
        script,
        [&[1, 101, 12], extranonce.bytes().as_slice()].concat()
    );
    assert_eq!(coinbase.lock_time.to_consensus_u32(), 100);
}

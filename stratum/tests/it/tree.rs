//! The tree with its cached branch, and blobs made with it, against an independent implementation,
//! a million times each.

use headframe_stratum::chain::monero::template::{
    MoneroTemplate, NONCE_OFFSET, RESERVE, TemplateAnswer,
};
use headframe_stratum::chain::monero::tree;
use headframe_stratum::chain::{Extranonce, Template, with_nonce};
use headframe_stratum::keccak::{keccak256, keccak256_pair};
use monero::consensus::encode::{deserialize, serialize};
use monero::cryptonote::hash::tree_hash;

use crate::random::Random;

const CASES: u64 = 1_000_000;
const THREADS: u64 = 2;

/// Shares the cases between threads, each with its own seed.
fn cases(check: impl Fn(&mut Random, u64) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let check = &check;
            scope.spawn(move || {
                let mut random = Random(thread);
                (0..CASES / THREADS).for_each(|case| check(&mut random, case));
            });
        }
    });
}

#[test]
fn the_folded_branch_is_the_oracles_root() {
    cases(|random, case| {
        // Mostly small blocks, now and then every size up to a large one.
        let leaves = if case % 2000 == 0 {
            1 + random.below(300)
        } else {
            1 + random.below(6)
        };
        let leaf0 = random.hash();
        let others: Vec<[u8; 32]> = (1..leaves).map(|_| random.hash()).collect();
        let oracle: Vec<monero::Hash> = others.iter().map(|hash| monero::Hash(*hash)).collect();
        let root = tree::fold(leaf0, &tree::branch(&others));
        assert_eq!(
            root,
            tree_hash(monero::Hash(leaf0), &oracle).0,
            "{leaves} leaves, first {}",
            hex::encode(leaf0)
        );
    });
}

#[test]
fn the_branch_is_as_long_as_the_tree_is_deep_for_leaf_0() {
    for count in 1usize..=1025 {
        let others = vec![[7; 32]; count - 1];
        let longest = count.next_power_of_two().trailing_zeros() as usize;
        let branch = tree::branch(&others).len();
        assert!(
            branch == longest || branch + 1 == longest,
            "{count} leaves, branch of {branch}"
        );
    }
}

#[test]
fn a_pair_is_hashed_like_any_other_bytes() {
    let mut random = Random(3);
    for _ in 0..1000 {
        let (left, right) = (random.hash(), random.hash());
        assert_eq!(keccak256_pair(&left, &right), keccak256(&[&left, &right]));
    }
}

/// A template with so many other transactions, as its daemon would send it by the oracle's own
/// serialisation, and the oracle's block.
fn template(random: &mut Random, transactions: u64) -> (MoneroTemplate, monero::Block) {
    let captured: serde_json::Value =
        serde_json::from_str(include_str!("../data/monerod-get_block_template.json")).unwrap();
    let answer: TemplateAnswer = serde_json::from_value(captured["result"].clone()).unwrap();
    let block: monero::Block =
        deserialize(&hex::decode(&answer.blocktemplate_blob).unwrap()).unwrap();
    let tx_hashes = (0..transactions)
        .map(|_| monero::Hash(random.hash()))
        .collect();
    let block = monero::Block { tx_hashes, ..block };
    let blocktemplate_blob = hex::encode(serialize(&block));
    let answer = TemplateAnswer {
        blocktemplate_blob,
        blockhashing_blob: hex::encode(block.serialize_hashable()),
        ..answer
    };
    (MoneroTemplate::parse(&answer).unwrap(), block)
}

#[test]
fn blobs_of_every_connection_are_the_oracles() {
    let mut seed = Random(11);
    let templates: Vec<_> = (0..40)
        .map(|number| template(&mut seed, number % 5))
        .collect();
    // The reserve is the last thing in the coinbase's extra field.
    let reserve = templates[0].1.miner_tx.prefix.extra.0.len() - RESERVE;
    cases(|random, case| {
        let (template, block) = &templates[random.below(40) as usize];
        let (words, nonce) = (
            [random.next_u64(), random.next_u64()],
            random.next_u64() as u32,
        );
        let extranonce = Extranonce {
            instance: words[0] as u32,
            connection: (words[0] >> 32) as u32,
            job: words[1] as u32,
        };
        let mut oracle = block.clone();
        oracle.header.nonce = nonce;
        oracle.miner_tx.prefix.extra.0[reserve..reserve + Extranonce::LEN]
            .copy_from_slice(&extranonce.bytes());
        let blob = with_nonce(
            template.hashing_blob(extranonce),
            NONCE_OFFSET,
            nonce.to_le_bytes(),
        );
        assert_eq!(blob, oracle.serialize_hashable(), "{extranonce:?} {nonce}");
        if case % 256 == 0 {
            let found = template.block(extranonce, nonce.to_le_bytes());
            assert_eq!(found.bytes, serialize(&oracle));
            assert_eq!(found.id, oracle.id().0);
        }
    });
}

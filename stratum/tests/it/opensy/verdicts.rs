//! Verdicts on blocks: the stand-in says what the real node said, and the driver understands each
//! word of it.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, Block, BlockHash, Witness};
use headframe_stratum::chain::bitcoin::BitcoinChain;
use headframe_stratum::chain::bitcoin::sha256d::{from_printed, reversed};
use headframe_stratum::chain::{
    Chain, Extranonce, FoundBlock, Hash, Submitted, Template, with_nonce,
};
use headframe_stratum::randomx::{Seeds, Vm};
use std::sync::Arc;
use std::time::Duration;

use super::http::StandIn;
use super::node::{Node, Rules};
use super::{ANSWERS, BLOCK_100, HEADERS, WALLET, json, settings};

const RULES: Rules = Rules {
    interval: 4,
    fork_height: 1,
    bits: 0x207f_ffff,
};

/// The stand-in where the real node was before block 100: its parent and its key's block are known.
fn before_block_100() -> Node {
    let headers = json(HEADERS);
    let printed = headers["headers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|header| header["height"] == 100)
        .unwrap();
    let hash = |text: &str| BlockHash::from_byte_array(from_printed(text).unwrap());
    let parent: [u8; 32] = hex::decode(&BLOCK_100[8..72]).unwrap().try_into().unwrap();
    let known = [
        (64, hash(printed["key_block_hash_rpc"].as_str().unwrap())),
        (99, BlockHash::from_byte_array(parent)),
    ];
    let rules = Rules {
        interval: 32,
        fork_height: 1,
        bits: 0x207f_ffff,
    };
    Node::continuing(rules, &known)
}

#[tokio::test]
async fn the_stand_in_says_of_the_captured_block_what_the_real_node_said() {
    let mut node = before_block_100();
    let good = BLOCK_100.trim().to_owned();
    let answers = json(ANSWERS);
    let with_byte = |at: usize, xor: u8| {
        let mut bytes = hex::decode(&good).unwrap();
        bytes[at] ^= xor;
        hex::encode(bytes)
    };
    // A wrong nonce misses the target every other time; the captured one did.
    let mut misses = 0;
    for xor in 1..=8 {
        match node.submit(&with_byte(76, xor)).await {
            Ok(Some(word)) => assert_eq!(
                (word.as_str(), misses += 1),
                (answers["nonce changed"].as_str().unwrap(), ())
            ),
            other => {
                assert_eq!(other, Ok(None));
                node.rewind(99);
            }
        }
    }
    assert!(misses > 0);
    assert_eq!(
        node.submit(&with_byte(36, 1)).await,
        Ok(Some(
            answers["merkle root changed"].as_str().unwrap().to_owned()
        ))
    );
    assert_eq!(
        node.submit(&with_byte(4, 1)).await,
        Ok(Some(
            answers["previous block changed"]
                .as_str()
                .unwrap()
                .to_owned()
        ))
    );
    let (code, message) = node.submit(&good[..good.len() - 2]).await.unwrap_err();
    assert_eq!(
        format!("error code: {code}\nerror message:\n{message}"),
        answers["truncated"]
    );
    // The block itself it takes, once.
    assert_eq!(node.submit(&good).await, Ok(None));
    assert_eq!(
        node.submit(&good).await,
        Ok(Some(answers["duplicate"].as_str().unwrap().to_owned()))
    );
}

/// What the node says to a change of the block.
type Wrong = (&'static str, fn(&mut Block));

/// A node with a short chain and transactions, its driver, and a template of it.
struct Scene {
    stand_in: StandIn,
    chain: BitcoinChain,
    seeds: Arc<Seeds>,
}

impl Scene {
    async fn open() -> Self {
        let stand_in = StandIn::open(RULES).await;
        let seeds = stand_in.node().await.seeds();
        stand_in.node().await.fill(5);
        let chain = BitcoinChain::new(
            &stand_in.url,
            WALLET,
            &settings(&stand_in.url, 4, 1),
            Duration::from_secs(60),
        )
        .unwrap();
        assert_eq!(chain.tip().await.unwrap().unready, None);
        Self {
            stand_in,
            chain,
            seeds,
        }
    }

    /// The first nonce whose hash under `key` is as wanted.
    async fn nonce(
        &self,
        blob: &[u8],
        key: Hash,
        wanted: impl Fn(&Hash, &[u8]) -> bool + Send + 'static,
    ) -> [u8; 4] {
        let (memory, blob) = (self.seeds.memory(key).await.unwrap(), blob.to_vec());
        let search = move || {
            let machine = Vm::new(&memory).unwrap();
            let good = |nonce: &[u8; 4]| {
                let bytes = with_nonce(blob.clone(), 76, *nonce);
                wanted(&machine.hash(&bytes).unwrap(), &bytes)
            };
            (0u32..10_000).map(u32::to_le_bytes).find(good).unwrap()
        };
        tokio::task::spawn_blocking(search).await.unwrap()
    }

    async fn found(&self, template: &Arc<dyn Template>, job: u32) -> FoundBlock {
        let extranonce = Extranonce {
            job,
            ..Extranonce::default()
        };
        let judge = template.clone();
        let nonce = self
            .nonce(
                &template.hashing_blob(extranonce),
                template.seed(),
                move |hash, _| judge.is_block(hash),
            )
            .await;
        template.block(extranonce, nonce)
    }

    /// The block changed by somebody who can mine: with a good root and good work.
    async fn forged(
        &self,
        template: &Arc<dyn Template>,
        change: impl FnOnce(&mut Block),
    ) -> FoundBlock {
        let mut block: Block =
            deserialize(&template.block(Extranonce::default(), [0; 4]).bytes).unwrap();
        change(&mut block);
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        let judge = template.clone();
        let blob = serialize(&block.header);
        let nonce = self
            .nonce(&blob, template.seed(), move |hash, _| judge.is_block(hash))
            .await;
        block.header.nonce = u32::from_le_bytes(nonce);
        FoundBlock {
            id: reversed(block.block_hash().to_byte_array()),
            bytes: serialize(&block),
        }
    }

    async fn refused(&self, block: &FoundBlock) -> String {
        match self.chain.submit(block).await.unwrap() {
            Submitted::Refused(word) => word,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_with_a_wrong_key_root_or_coinbase_are_refused_and_good_ones_taken() {
    let scene = Scene::open().await;
    let template = scene.chain.template().await.unwrap();
    let good = scene.found(&template, 1).await;

    // Work under another key: as good a hash, worth nothing.
    let blob = template.hashing_blob(Extranonce::default());
    let right = Vm::new(&scene.seeds.memory(template.seed()).await.unwrap()).unwrap();
    let judge = template.clone();
    let mut missed = None;
    // One in two misses, so that a run in which none of so many does is not to be expected.
    for start in 0..64u8 {
        let mut other = blob.clone();
        other[68] ^= start;
        let judge = judge.clone();
        let nonce = scene
            .nonce(&other, [9; 32], move |hash, _| judge.is_block(hash))
            .await;
        let hash = right.hash(&with_nonce(other, 76, nonce)).unwrap();
        if !template.is_block(&hash) {
            missed = Some((start, nonce));
            break;
        }
    }
    drop(right);
    let (start, nonce) = missed.expect("one in two misses");
    let mut wrong_key = template.block(Extranonce::default(), nonce);
    wrong_key.bytes[68] ^= start;
    assert_eq!(scene.refused(&wrong_key).await, "high-hash-randomx");

    let mut wrong_root = good.clone();
    wrong_root.bytes[36] ^= 1;
    assert_eq!(scene.refused(&wrong_root).await, "bad-txnmrklroot");
    // A root of somebody else's coinbase is as wrong as any.
    let mut foreign = template.block(
        Extranonce {
            connection: 8,
            ..Extranonce::default()
        },
        [0; 4],
    );
    foreign.bytes[..80].copy_from_slice(&good.bytes[..80]);
    assert_eq!(scene.refused(&foreign).await, "bad-txnmrklroot");

    let wrong: [Wrong; 6] = [
        ("bad-cb-amount", |block| {
            block.txdata[0].output[0].value += Amount::from_sat(1)
        }),
        ("bad-cb-height", |block| {
            let script = [
                &[0x5f],
                &block.txdata[0].input[0].script_sig.as_bytes()[1..],
            ]
            .concat();
            block.txdata[0].input[0].script_sig = script.into();
        }),
        ("bad-witness-nonce-size", |block| {
            block.txdata[0].input[0].witness = Witness::new()
        }),
        ("bad-witness-merkle-match", |block| {
            let script = [
                &block.txdata[0].output[1].script_pubkey.as_bytes()[..37],
                &[0],
            ]
            .concat();
            block.txdata[0].output[1].script_pubkey = script.into();
        }),
        ("unexpected-witness", |block| {
            drop(block.txdata[0].output.pop())
        }),
        ("bad-txns-inputs-missingorspent", |block| {
            block.txdata[1].output[0].value += Amount::from_sat(1);
            let commitment =
                Block::compute_witness_commitment(&block.witness_root().unwrap(), &[0; 32]);
            let script = [
                &block.txdata[0].output[1].script_pubkey.as_bytes()[..6],
                commitment.as_byte_array(),
            ]
            .concat();
            block.txdata[0].output[1].script_pubkey = script.into();
        }),
    ];
    for (word, change) in wrong {
        assert_eq!(
            scene.refused(&scene.forged(&template, change).await).await,
            word
        );
    }
    let time = scene.forged(&template, |block| block.header.time = 1).await;
    assert_eq!(scene.refused(&time).await, "time-too-old");
    let bits = scene
        .forged(&template, |block| {
            block.header.bits = bitcoin::CompactTarget::from_consensus(0x207f_fffe)
        })
        .await;
    assert_eq!(scene.refused(&bits).await, "bad-diffbits");
    let orphan = scene
        .forged(&template, |block| {
            block.header.prev_blockhash = BlockHash::all_zeros()
        })
        .await;
    assert_eq!(scene.refused(&orphan).await, "prev-blk-not-found");
    let cut = FoundBlock {
        bytes: good.bytes[..good.bytes.len() - 1].to_vec(),
        ..good.clone()
    };
    assert_eq!(scene.refused(&cut).await, "Block decode failed");
    assert_eq!(
        scene.stand_in.node().await.tip().0,
        0,
        "none of them is on the chain"
    );

    // The answer to the first try gets lost; the second finds the block in place.
    scene.stand_in.node().await.mood.lost_answers = 1;
    assert_eq!(
        scene.chain.submit(&good).await.unwrap(),
        Submitted::Accepted
    );
    assert_eq!(
        scene.chain.submit(&good).await.unwrap(),
        Submitted::Accepted,
        "it has it already"
    );
    let tip = scene.chain.tip().await.unwrap();
    assert_eq!((tip.hash, tip.next_height), (good.id, 2));
    assert_eq!(
        scene
            .stand_in
            .node()
            .await
            .blocks
            .values()
            .next()
            .unwrap()
            .txdata
            .len(),
        6
    );
    // A second block of the same height is taken and not gone on from.
    let second = scene.found(&template, 2).await;
    assert_ne!(second.id, good.id);
    assert_eq!(
        scene.chain.submit(&second).await.unwrap(),
        Submitted::Orphaned
    );
    assert_eq!(
        scene.chain.submit(&second).await.unwrap(),
        Submitted::Orphaned
    );
}

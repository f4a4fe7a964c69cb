//! Hashing blobs and blocks: equal to the daemon's, and to an independent implementation's for any
//! number of transactions.

use headframe_stratum::chain::coinbase_tag::{CoinbaseKey, CoinbaseTag, FoundTag, TagProof};
use headframe_stratum::chain::monero::template::{
    MoneroTemplate, NONCE_OFFSET, TemplateAnswer, found_tag,
};
use headframe_stratum::chain::{Extranonce, Template, with_nonce};
use monero::consensus::encode::{deserialize, serialize};
use proptest::prelude::*;

const CAPTURED: &str = include_str!("../data/monerod-get_block_template.json");
const CAPTURED_BLOCK: &str = include_str!("../data/monerod-get_block.json");

fn captured() -> TemplateAnswer {
    let answer: serde_json::Value = serde_json::from_str(CAPTURED).unwrap();
    serde_json::from_value(answer["result"].clone()).unwrap()
}

/// The captured template with other transactions, and the hashing blob the oracle makes of it.
fn with_transactions(hashes: &[[u8; 32]]) -> TemplateAnswer {
    let mut answer = captured();
    let block: monero::Block =
        deserialize(&hex::decode(&answer.blocktemplate_blob).unwrap()).unwrap();
    let block = monero::Block {
        tx_hashes: hashes.iter().map(|hash| monero::Hash(*hash)).collect(),
        ..block
    };
    answer.blocktemplate_blob = hex::encode(serialize(&block));
    answer.blockhashing_blob = hex::encode(block.serialize_hashable());
    answer
}

#[test]
fn the_captured_template_is_read() {
    let template = MoneroTemplate::parse(&captured()).unwrap();
    assert_eq!(
        (template.height(), template.network_difficulty()),
        (4, 2000)
    );
    assert_eq!(hex::encode(template.seed()), captured().seed_hash);
    assert_eq!(template.next_seed(), None);
    let zero = template.hashing_blob(Extranonce::default());
    assert_eq!(hex::encode(zero), captured().blockhashing_blob);
}

#[test]
fn a_real_blocks_id_is_the_daemons() {
    let answer: serde_json::Value = serde_json::from_str(CAPTURED_BLOCK).unwrap();
    let (blob, header) = (
        answer["result"]["blob"].as_str().unwrap(),
        &answer["result"]["block_header"],
    );
    let block: monero::Block = deserialize(&hex::decode(blob).unwrap()).unwrap();
    // A mined block is a template whose header has a nonce. Its coinbase has no reserve, so the
    // bytes that are "reserved" here are its public key's, put back as they were.
    let mut template_block = block.clone();
    template_block.header.nonce = 0;
    let bytes = serialize(&template_block);
    let reserved = bytes.len() - 2 - Extranonce::LEN - 1;
    let kept: [u8; 12] = bytes[reserved..reserved + 12].try_into().unwrap();
    let part = |at: usize| u32::from_le_bytes(kept[at..at + 4].try_into().unwrap());
    let extranonce = Extranonce {
        instance: part(0),
        connection: part(4),
        job: part(8),
    };
    let hashing = hex::encode(template_block.serialize_hashable());
    let template = MoneroTemplate::parse(&TemplateAnswer {
        blocktemplate_blob: hex::encode(&bytes),
        blockhashing_blob: hashing,
        reserved_offset: reserved,
        ..captured()
    })
    .unwrap();
    let nonce = u32::try_from(header["nonce"].as_u64().unwrap())
        .unwrap()
        .to_le_bytes();
    let found = template.block(extranonce, nonce);
    assert_eq!(hex::encode(found.id), header["hash"].as_str().unwrap());
    assert_eq!(hex::encode(found.bytes), blob);
}

#[test]
fn broken_templates_are_refused_with_a_reason() {
    let good = captured();
    let longer = format!("{}00", good.blocktemplate_blob);
    let cut = good.blocktemplate_blob[..good.blocktemplate_blob.len() - 2].to_owned();
    let broken = [
        TemplateAnswer {
            blocktemplate_blob: longer,
            ..good.clone()
        },
        TemplateAnswer {
            blocktemplate_blob: cut,
            ..good.clone()
        },
        TemplateAnswer {
            blocktemplate_blob: "zz".to_owned(),
            ..good.clone()
        },
        TemplateAnswer {
            blockhashing_blob: good.blockhashing_blob.replace("9f48", "9f49"),
            ..good.clone()
        },
        TemplateAnswer {
            reserved_offset: 3,
            ..good.clone()
        },
        TemplateAnswer {
            reserved_offset: usize::MAX,
            ..good.clone()
        },
        TemplateAnswer {
            reserved_offset: 180,
            ..good.clone()
        },
        TemplateAnswer {
            wide_difficulty: "0x0".to_owned(),
            ..good.clone()
        },
        TemplateAnswer {
            seed_hash: "12".to_owned(),
            ..good.clone()
        },
    ];
    for answer in broken {
        MoneroTemplate::parse(&answer).unwrap_err();
    }
}

#[test]
fn every_extranonce_makes_another_blob() {
    let template = MoneroTemplate::parse(&captured()).unwrap();
    let mut seen = std::collections::HashSet::new();
    for (instance, connection, job) in [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (1, 0, 0),
        (u32::MAX, u32::MAX, u32::MAX),
    ] {
        assert!(seen.insert(template.hashing_blob(Extranonce {
            instance,
            connection,
            job
        })));
    }
}

/// Everything a stranger can take from a block of the pool proves nothing for another one.
#[test]
fn a_tag_proves_its_own_block_alone() {
    let tag = CoinbaseTag::new("main", "wallet", Some(CoinbaseKey::new([7; 32])));
    let template = MoneroTemplate::parse(&captured()).unwrap().tagged(&tag);
    let extranonce = Extranonce {
        instance: 1,
        connection: 2,
        job: 3,
    };
    let bytes = template.block(extranonce, [9; 4]).bytes;
    for solo in [true, false] {
        let connection = Extranonce::connection(2, solo);
        let own = Extranonce {
            connection,
            ..extranonce
        };
        let found = found_tag(&template.block(own, [9; 4]).bytes, &tag);
        let proof = TagProof::Proven;
        assert_eq!(found, Some(FoundTag { proof, solo }));
    }
    let proof = |block: &[u8], tag| found_tag(block, tag).map(|found| found.proof);
    assert_eq!(proof(&bytes, &tag), Some(TagProof::Proven));
    let proof_after = |change: fn(&mut monero::Block)| {
        let mut block: monero::Block = deserialize(&bytes).unwrap();
        change(&mut block);
        proof(&serialize(&block), &tag)
    };
    assert_eq!(
        proof_after(|block| block.header.nonce += 1),
        Some(TagProof::Proven)
    );
    let other_parent = proof_after(|block| block.header.prev_id = monero::Hash([5; 32]));
    assert_eq!(other_parent, Some(TagProof::Unproven));
    let other_value = proof_after(|block| block.miner_tx.prefix.outputs[0].amount.0 += 1);
    assert_eq!(other_value, Some(TagProof::Unproven));
    let other_unlock = proof_after(|block| block.miner_tx.prefix.unlock_time.0 += 1);
    assert_eq!(other_unlock, Some(TagProof::Unproven));
    // The transaction key, without which the wallet does not find its output, is proven, too.
    let other_key = proof_after(|block| block.miner_tx.prefix.extra.0[1] ^= 1);
    assert_eq!(other_key, Some(TagProof::Unproven));
    let foreign = CoinbaseTag::new("main", "wallet", Some(CoinbaseKey::new([8; 32])));
    assert_eq!(proof(&bytes, &foreign), Some(TagProof::Unproven));
    let other_pool = CoinbaseTag::new("other", "wallet", Some(CoinbaseKey::new([7; 32])));
    assert_eq!(proof(&bytes, &other_pool), None);
    let plain = MoneroTemplate::parse(&captured()).unwrap();
    let plain = plain.block(extranonce, [9; 4]).bytes;
    assert_eq!(proof(&plain, &tag), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn blobs_and_ids_equal_the_oracles(
        hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70),
        numbers in any::<[u32; 3]>(),
        nonce in any::<[u8; 4]>(),
    ) {
        let template = MoneroTemplate::parse(&with_transactions(&hashes)).unwrap();
        let extranonce = Extranonce { instance: numbers[0], connection: numbers[1],
            job: numbers[2] };
        let found = template.block(extranonce, nonce);
        let oracle: monero::Block = deserialize(&found.bytes).unwrap();
        prop_assert_eq!(oracle.tx_hashes.len(), hashes.len());
        let ours = with_nonce(template.hashing_blob(extranonce), NONCE_OFFSET, nonce);
        prop_assert_eq!(ours, oracle.serialize_hashable());
        prop_assert_eq!(found.id, oracle.id().0);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400),
        at in 0usize..400, cut in 0usize..188) {
        let good = hex::decode(captured().blocktemplate_blob).unwrap();
        let mut mixed = good[..cut].to_vec();
        mixed.extend_from_slice(&bytes);
        for blob in [bytes, mixed] {
            let answer = TemplateAnswer { blocktemplate_blob: hex::encode(blob),
                reserved_offset: at, ..captured() };
            // Whatever it says, it must say it.
            let _ = MoneroTemplate::parse(&answer);
        }
    }
}

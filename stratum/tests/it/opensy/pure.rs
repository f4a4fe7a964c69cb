//! The pure rules of a Bitcoin-shaped chain against naive versions of themselves and against
//! rust-bitcoin.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use headframe_stratum::chain::bitcoin::coinbase::{ChainCoinbase, Coinbase, Content, TAG_GAP};
use headframe_stratum::chain::bitcoin::encode::{Cursor, height_push, push_size};
use headframe_stratum::chain::bitcoin::keys::KeySchedule;
use headframe_stratum::chain::bitcoin::merkle::{branch_by, fold_by, root};
use headframe_stratum::chain::bitcoin::schedule_check::evidence::heights;
use headframe_stratum::chain::bitcoin::target::Target;
use headframe_stratum::chain::bitcoin::template::{BitcoinTemplate, Keys};
use headframe_stratum::chain::bitcoin::transaction::ids;
use headframe_stratum::chain::coinbase_tag::{CoinbaseKey, CoinbaseTag, FoundTag, TagProof};
use headframe_stratum::chain::{Extranonce, Template, with_nonce};
use headframe_stratum::work::difficulty::miner_submits;
use proptest::prelude::*;

use super::Numbers;
use super::node::{Node, Rules};

const MILLION: u64 = 1_000_000;

/// A way of joining that is cheap and knows left from right.
fn join(left: &u64, right: &u64) -> u64 {
    left.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ right.wrapping_add(0x1234_5678_9abc_def1)
}

/// The tree as Satoshi's text has it: level by level, the last of an odd level twice.
fn naive(level: &mut [u64], mut count: usize) -> u64 {
    while count > 1 {
        let half = count.div_ceil(2);
        for place in 0..half {
            let right = (2 * place + 1).min(count - 1);
            level[place] = join(&level[2 * place], &level[right]);
        }
        count = half;
    }
    level[0]
}

#[test]
fn a_million_trees_have_the_root_their_branch_makes() {
    let mut numbers = Numbers(1);
    for case in 0..MILLION {
        // Small trees mostly, where the shapes differ most; each size up to 64 comes thousands of
        // times.
        let count = 1 + (numbers.draw() % if case % 16 == 0 { 64 } else { 9 }) as usize;
        let mut leaves = [0; 64];
        leaves[..count].fill_with(|| numbers.draw());
        let folded = fold_by(leaves[0], &branch_by(&leaves[1..count], join), join);
        assert_eq!(
            folded,
            naive(&mut leaves, count),
            "{count} leaves, case {case}"
        );
    }
}

#[test]
fn a_million_targets_survive_their_compact_form() {
    let mut numbers = Numbers(2);
    let mut valid = 0u64;
    for _ in 0..MILLION {
        let drawn = numbers.draw();
        // Sizes up to a little beyond what fits; the rest of 256 sizes would be refused all the
        // same.
        let bits = (drawn as u32 & 0x00ff_ffff) | ((drawn >> 32) as u32 % 37) << 24;
        let Some(target) = Target::from_compact(bits) else {
            assert!(oracle_refuses(bits), "{bits:08x}");
            continue;
        };
        valid += 1;
        let compact = target.to_compact();
        assert_eq!(
            Target::from_compact(compact),
            Some(target),
            "{bits:08x} as {compact:08x}"
        );
        // What has no leading zero byte and no sign is in its one canonical form already.
        if bits & 0x00ff_8000 != 0 && bits >> 24 >= 3 {
            assert_eq!(compact, bits);
        }
    }
    assert!(valid > MILLION / 3, "{valid}");
}

/// Negative, zero or overflowing, as `arith_uint256::SetCompact` says it.
fn oracle_refuses(bits: u32) -> bool {
    let (size, word) = (bits >> 24, bits & 0x007f_ffff);
    let shifted = if size <= 3 {
        word >> (8 * (3 - size))
    } else {
        word
    };
    let overflow =
        word != 0 && (size > 34 || (word > 0xff && size > 33) || (word > 0xffff && size > 32));
    bits & 0x0080_0000 != 0 || shifted == 0 || overflow
}

#[test]
fn a_million_hashes_are_compared_in_all_their_bytes() {
    let mut numbers = Numbers(3);
    let mut met = 0u64;
    for _ in 0..MILLION {
        let size = 3 + (numbers.draw() % 30) as u32;
        let bits = size << 24 | 0x8000 | (numbers.draw() as u32 & 0x007f_7fff);
        let Some(target) = Target::from_compact(bits) else {
            continue;
        };
        let mut printed = [0u8; 32];
        let word = (bits & 0x007f_ffff).to_be_bytes();
        for (place, byte) in word[1..].iter().enumerate() {
            // The word's first byte is byte `size` from the right.
            if let Some(index) = (32 + place)
                .checked_sub(size as usize)
                .filter(|index| *index < 32)
            {
                printed[index] = *byte;
            }
        }
        // Equal to the target, or off by one byte somewhere.
        let mut hash = printed;
        let at = (numbers.draw() % 32) as usize;
        hash[at] = hash[at].wrapping_add((numbers.draw() % 3) as u8);
        // Big-endian bytes compare as the numbers do.
        let expected = hash <= printed;
        hash.reverse();
        assert_eq!(target.is_met_by(&hash), expected, "{bits:08x} {hash:?}");
        met += u64::from(expected);
    }
    assert!(met > MILLION / 10 && met < MILLION - MILLION / 10, "{met}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn targets_and_their_work_are_the_oracles(size in 3u32..33, word in 1u32..0x0080_0000) {
        let bits = size << 24 | word;
        let Some(target) = Target::from_compact(bits) else { return Ok(()) };
        let oracle = bitcoin::Target::from_compact(bitcoin::CompactTarget::from_consensus(bits));
        prop_assert_eq!(Target::from_printed(&hex::encode(oracle.to_be_bytes())), Some(target));
        prop_assert_eq!(target.to_compact(), oracle.to_compact_lossy().to_consensus());
        let work = oracle.to_work().to_be_bytes();
        let fits = work[..16] == [0; 16];
        let low = u128::from_be_bytes(work[16..].try_into().unwrap());
        let expected = if fits { low } else { u128::MAX };
        prop_assert_eq!(target.difficulty(), expected);
    }

    #[test]
    fn no_block_is_lost_between_a_jobs_target_and_the_networks(size in 20u32..33,
        word in 0x8000u32..0x0080_0000, wish in any::<u64>(), low in any::<[u8; 24]>()) {
        let bits = size << 24 | word;
        let Some(target) = Target::from_compact(bits) else { return Ok(()) };
        let answer = super::template::with_bits(bits);
        let template = BitcoinTemplate::parse(&answer, &[0x51], Keys { current: [0; 32],
            next: None }).unwrap();
        let job = template.assign(wish);
        let wire = headframe_stratum::work::difficulty::target_from_hex(&job.target_hex()).unwrap();
        prop_assert_eq!(job.target_hex().len(), 16);
        // The largest hash that makes a block, and one with the same top bits.
        let oracle = bitcoin::Target::from_compact(bitcoin::CompactTarget::from_consensus(bits)).to_le_bytes();
        let mut near = oracle;
        near[..24].copy_from_slice(&low);
        for hash in [oracle, near] {
            if target.is_met_by(&hash) {
                prop_assert!(template.is_block(&hash) && miner_submits(&hash,
                    wire) && job.is_met_by(&hash));
            }
        }
        prop_assert!(template.is_block(&oracle));
        // The miner works at what it is credited, at least at what was asked for unless a block
        // costs less.
        prop_assert!(job.hashes() >= wish.max(1).min(u64::MAX / (target.top_limb() + 1)));
    }

    #[test]
    fn sizes_and_heights_are_written_as_the_oracle_writes_them(size in any::<u64>(),
        shift in 0u32..64, height in any::<u32>()) {
        let size = size >> shift;
        let mut written = Vec::new();
        push_size(&mut written, size);
        prop_assert_eq!(&written, &serialize(&bitcoin::VarInt(size)));
        prop_assert_eq!(Cursor::new(&written).size(), usize::try_from(size).ok());
        for height in [height, height >> 8, height >> 16, height % 40] {
            prop_assert_eq!(height_push(height),
                Builder::new().push_int(i64::from(height)).into_script().into_bytes());
        }
    }

    #[test]
    fn a_coinbase_reads_back_as_it_was_meant(
        height in 1u32..0x7fff_ffff,
        value in 0u64..2_100_000_000_000_000_000,
        reward in prop::collection::vec(any::<u8>(), 0..80),
        auxiliary in prop::collection::vec(any::<u8>(), 0..80),
        numbers in any::<[u32; 3]>(),
        segwit in any::<bool>(),
        pool in prop::option::of("[a-z]{1,8}"),
    ) {
        let tag = pool.map(|pool| CoinbaseTag::new(&pool, "wallet",
            Some(CoinbaseKey::new([7; 32]))));
        let commitment = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed], [9; 32].as_slice()].concat();
        let witness_commitment = segwit.then_some(commitment.as_slice());
        let content = Content { height, value, reward_script: &reward, witness_commitment,
            auxiliary: &auxiliary, parent: [5; 32], tag: tag.as_ref() };
        let extranonce = Extranonce { instance: numbers[0], connection: numbers[1],
            job: numbers[2] };
        let coinbase = Coinbase::new(&content).unwrap();
        let bytes = coinbase.bytes(extranonce);
        let oracle: bitcoin::Transaction = deserialize(&bytes).unwrap();
        prop_assert!(oracle.is_coinbase());
        prop_assert_eq!(serialize(&oracle), bytes.clone());
        prop_assert_eq!(oracle.compute_txid().to_byte_array(), coinbase.txid(extranonce));
        let read = ids(&bytes).unwrap();
        prop_assert_eq!((read.txid, read.has_witness()), (coinbase.txid(extranonce), segwit));
        prop_assert_eq!(read.wtxid, oracle.compute_wtxid().to_byte_array());
        let plain = [height_push(height), vec![12], extranonce.bytes().to_vec()].concat();
        // A script has a hundred bytes; what does not fit in beside the daemon's own is left out.
        let fitting = tag.filter(|_| plain.len() + auxiliary.len() + 33 <= 100);
        let on_chain = ChainCoinbase::read(&bytes).unwrap();
        let signed = fitting.as_ref().map_or_else(Vec::new, |tag| {
            [&[32], tag.bytes(&[5; 32], on_chain.outputs).as_slice()].concat()
        });
        let script = [plain, signed, auxiliary].concat();
        prop_assert_eq!(oracle.input[0].script_sig.as_bytes(), script.as_slice());
        prop_assert_eq!(on_chain.script, script.as_slice());
        prop_assert_eq!(on_chain.value_to(|_| true), u128::from(value));
        prop_assert_eq!(on_chain.value_to(|paid| paid == reward), u128::from(value));
        prop_assert_eq!(on_chain.value_to(|paid| paid == b"somebody else's script"), 0);
        if let Some(tag) = fitting {
            let payments = |_| Some(on_chain.outputs);
            let solo = numbers[1] >> 31 == 1;
            for (parent, proof) in [(5, TagProof::Proven), (6, TagProof::Unproven)] {
                let found = tag.find(&script, TAG_GAP, &[parent; 32], payments);
                prop_assert_eq!(found, Some(FoundTag { proof, solo }));
            }
        }
        prop_assert_eq!(oracle.output.len(), 1 + usize::from(segwit));
        prop_assert_eq!((oracle.output[0].value.to_sat(),
            oracle.output[0].script_pubkey.as_bytes()), (value, reward.as_slice()));
        prop_assert_eq!(oracle.input[0].witness.len(), usize::from(segwit));
    }

    #[test]
    fn any_bytes_are_a_transaction_to_us_only_if_they_are_to_the_oracle(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        let mut node = Node::new(RULES);
        node.fill(2);
        let template = node.template();
        let data = template["transactions"][cut % 2]["data"].as_str().unwrap();
        let good = hex::decode(data).unwrap();
        let mut mixed = good[..cut.min(good.len())].to_vec();
        mixed.extend_from_slice(&bytes);
        for bytes in [bytes, mixed, good] {
            if let Some(read) = ids(&bytes) {
                let oracle: bitcoin::Transaction = deserialize(&bytes).unwrap();
                prop_assert_eq!(read.txid, oracle.compute_txid().to_byte_array());
                prop_assert_eq!(read.wtxid, oracle.compute_wtxid().to_byte_array());
                prop_assert_eq!(read.weight, oracle.weight().to_wu());
            }
        }
    }
}

const RULES: Rules = Rules {
    interval: 32,
    fork_height: 1,
    bits: 0x207f_ffff,
};

#[test]
fn roots_and_blocks_are_the_oracles_for_any_number_of_transactions() {
    for count in 0..40 {
        let mut node = Node::new(RULES);
        node.fill(count);
        let answer = serde_json::from_value(node.template()).unwrap();
        let template = BitcoinTemplate::parse(
            &answer,
            &[0x51],
            Keys {
                current: [0; 32],
                next: None,
            },
        )
        .unwrap();
        let extranonce = Extranonce {
            instance: count as u32,
            connection: 7,
            job: 9,
        };
        let found = template.block(extranonce, [1, 2, 3, 4]);
        let oracle: bitcoin::Block = deserialize(&found.bytes).unwrap();
        assert_eq!(oracle.txdata.len() as u64, count + 1);
        assert!(
            oracle.check_merkle_root() && oracle.check_witness_commitment(),
            "{count} transactions"
        );
        assert_eq!(
            with_nonce(template.hashing_blob(extranonce), 76, [1, 2, 3, 4]),
            found.bytes[..80]
        );
        assert_eq!(serialize(&oracle), found.bytes);
        let txids: Vec<[u8; 32]> = oracle
            .txdata
            .iter()
            .map(|transaction| transaction.compute_txid().to_byte_array())
            .collect();
        assert_eq!(
            root(txids[0], &txids[1..]),
            oracle.header.merkle_root.to_byte_array()
        );
    }
}

#[test]
fn the_key_of_each_height_is_the_one_the_chain_asks_for() {
    let schedule = KeySchedule {
        interval: 32,
        fork_height: 210_000,
    };
    let table = [
        (0, 0),
        (1, 0),
        (31, 0),
        (32, 0),
        (63, 0),
        (64, 32),
        (95, 32),
        (96, 64),
        (100, 64),
        (210_000, 209_952),
        (210_016, 209_984),
    ];
    for (height, key) in table {
        assert_eq!(schedule.key_height(height), key, "height {height}");
    }
    assert!(!schedule.is_randomx(209_999) && schedule.is_randomx(210_000));
    for interval in [1, 2, 4, 32, 33, 64] {
        let schedule = KeySchedule {
            interval,
            fork_height: 1,
        };
        for height in 1..1000 {
            let key = schedule.key_height(height);
            assert!(
                key < height || height == 0,
                "the key must exist before the block"
            );
            assert!(height < 2 * interval || (interval..2 * interval).contains(&(height - key)));
            // What is announced as next is the key once the epoch is over, and is announced
            // throughout its rest.
            let next_epoch = schedule.epoch(height) + interval;
            match schedule.next_key_height(height) {
                Some(next) => {
                    assert!(next < height, "it must exist already");
                    assert_eq!(schedule.key_height(next_epoch), next);
                }
                None => assert!(
                    height == schedule.epoch(height) || schedule.key_height(next_epoch) == key
                ),
            }
        }
    }
}

#[test]
fn a_check_of_the_schedule_looks_at_the_newest_epochs() {
    let schedule = KeySchedule {
        interval: 32,
        fork_height: 1,
    };
    // A regtest header says one bit, so whole epochs are looked at; a real one says sixteen or
    // more.
    assert_eq!(
        heights(&schedule, 100, 0x207f_ffff, 3),
        (32..=100).collect::<Vec<_>>()
    );
    assert_eq!(
        heights(&schedule, 100, 0x207f_ffff, 1),
        (96..=100).collect::<Vec<_>>()
    );
    assert_eq!(
        heights(&schedule, 100, 0x1f00_ffff, 3),
        [62, 63, 94, 95, 99, 100]
    );
    assert_eq!(heights(&schedule, 100, 0x1b00_ffff, 3), [63, 95, 100]);
    assert_eq!(heights(&schedule, 2, 0x207f_ffff, 3), [1, 2]);
    assert_eq!(heights(&schedule, 0, 0x207f_ffff, 3), [0; 0]);
}

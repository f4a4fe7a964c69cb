//! A stand-in for an OpenSY node: it keeps a chain from the real regtest genesis, hands out
//! templates with transactions, and judges a submitted block in the order and with the words of a
//! real node.
//!
//! It reads and checks blocks with rust-bitcoin, so that it shares no mistake with the pool;
//! RandomX alone is the same library. Stricter than a real node in one thing: a coinbase without
//! its witness is refused, where `submitblock` would add it.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::transaction::Version as TxVersion;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Target, Transaction,
    TxIn, TxMerkleNode, TxOut, Txid, Witness,
};
use headframe_stratum::randomx::{Mode, Seeds, Verifier};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

#[path = "node/block_rules.rs"]
mod block_rules;

use block_rules::{content_in_place, in_itself};

/// Script tag of a witness commitment.
const COMMITMENT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
const FUTURE_S: u32 = 2 * 60 * 60;
const MAX_WEIGHT: u64 = 4_000_000;

/// The chain's rules.
#[derive(Clone, Copy)]
pub struct Rules {
    pub interval: u64,
    pub fork_height: u64,
    pub bits: u32,
}

/// What a test makes the node do.
#[derive(Clone, Default)]
pub struct Mood {
    /// The next answers to `submitblock` that get lost on the way.
    pub lost_answers: u32,
    pub initial_download: bool,
    pub headers_ahead: u64,
    pub chain: Option<&'static str>,
    /// Says the key in the template, as newer nodes do.
    pub names_key: bool,
    pub busy: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum ChainPosition {
    Good,
    Bad,
}

struct Known {
    height: u64,
    /// The captured node's old headers were not captured.
    header: Option<Header>,
    standing: ChainPosition,
}

pub struct Node {
    pub rules: Rules,
    pub mood: Mood,
    /// The active chain.
    pub chain: BTreeMap<u64, BlockHash>,
    index: HashMap<BlockHash, Known>,
    pub blocks: HashMap<BlockHash, Block>,
    /// With their fees.
    mempool: Vec<(Transaction, u64)>,
    made: u64,
    verifier: Verifier,
}

/// The genesis block of OpenSY's regtest (`kernel/chainparams.cpp`).
pub fn genesis() -> Header {
    Header {
        version: Version::from_consensus(1),
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root: "56f65e913353861d32d297c6bc87bbe81242b764d18b8634d75c5a0159c8859e"
            .parse()
            .unwrap(),
        time: 1_733_616_003,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 2,
    }
}

impl Node {
    pub fn new(rules: Rules) -> Self {
        let header = genesis();
        let mut node = Self {
            rules,
            mood: Mood::default(),
            chain: BTreeMap::new(),
            index: HashMap::new(),
            blocks: HashMap::new(),
            mempool: Vec::new(),
            made: 0,
            verifier: verifier(Arc::new(Seeds::new(Mode::Light))),
        };
        node.place(0, header.block_hash(), Some(header));
        node
    }

    /// A node whose chain ends in blocks of which only the ids are known.
    pub fn continuing(rules: Rules, known: &[(u64, BlockHash)]) -> Self {
        let mut node = Self::new(rules);
        for (height, hash) in known {
            node.place(*height, *hash, None);
        }
        node
    }

    fn place(&mut self, height: u64, hash: BlockHash, header: Option<Header>) {
        self.chain.insert(height, hash);
        self.index.insert(
            hash,
            Known {
                height,
                header,
                standing: ChainPosition::Good,
            },
        );
    }

    pub fn tip(&self) -> (u64, BlockHash) {
        self.chain
            .last_key_value()
            .map(|(height, hash)| (*height, *hash))
            .unwrap()
    }

    /// Makes the chain end at a height, as when another branch wins.
    pub fn rewind(&mut self, height: u64) {
        self.chain.retain(|place, _| *place <= height);
    }

    /// Puts so many transactions more into the mempool, every other one with witnesses.
    pub fn fill(&mut self, count: u64) {
        for _ in 0..count {
            self.made += 1;
            let witness = if self.made.is_multiple_of(2) {
                Witness::from_slice(&[vec![7; 71], vec![2; 33]])
            } else {
                Witness::new()
            };
            let spent = OutPoint {
                txid: Txid::from_byte_array([self.made as u8; 32]),
                vout: self.made as u32,
            };
            let input = TxIn {
                previous_output: spent,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness,
            };
            let output = TxOut {
                value: Amount::from_sat(self.made),
                script_pubkey: ScriptBuf::from_bytes(vec![0x51; self.made as usize % 40]),
            };
            let transaction = Transaction {
                version: TxVersion::TWO,
                lock_time: LockTime::ZERO,
                input: vec![input; 1 + self.made as usize % 3],
                output: vec![output],
            };
            self.mempool.push((transaction, 1_000 + self.made));
        }
    }

    pub fn subsidy(&self, height: u64) -> u64 {
        1_000_000_000_000 >> (height / 150)
    }

    /// The raw key of a height on the active chain.
    pub fn key(&self, height: u64) -> Option<[u8; 32]> {
        self.key_on(self.tip().1, height)
    }

    /// The raw key of a height on the branch that ends in `last`.
    fn key_on(&self, last: BlockHash, height: u64) -> Option<[u8; 32]> {
        let interval = self.rules.interval;
        let key_height = (height / interval * interval).saturating_sub(interval);
        self.ancestor(last, key_height)
            .map(|hash| hash.to_byte_array())
    }

    /// The block of a height on the branch that ends in `last`; where headers are not known, on the
    /// active chain.
    fn ancestor(&self, last: BlockHash, height: u64) -> Option<BlockHash> {
        let mut hash = last;
        loop {
            let known = self.index.get(&hash)?;
            match known.header {
                _ if known.height == height => return Some(hash),
                Some(header) => hash = header.prev_blockhash,
                None => return self.chain.get(&height).copied(),
            }
        }
    }

    /// The middle of the last eleven times of the branch that ends in `last`.
    fn median_time(&self, last: BlockHash) -> u32 {
        let mut times = Vec::new();
        let mut hash = last;
        while let Some(header) = self
            .index
            .get(&hash)
            .and_then(|known| known.header)
            .filter(|_| times.len() < 11)
        {
            times.push(header.time);
            hash = header.prev_blockhash;
        }
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    }

    pub fn template(&self) -> Value {
        let (tip, prev) = self.tip();
        let fees: u64 = self.mempool.iter().map(|(_, fee)| fee).sum();
        let transactions: Vec<Value> = self
            .mempool
            .iter()
            .map(|(transaction, fee)| entry(transaction, *fee))
            .collect();
        let height = tip + 1;
        let mut template = json!({
            "capabilities": ["proposal"], "version": 0x2000_0000, "rules": ["csv", "!segwit",
            "taproot"],
            "vbavailable": {}, "vbrequired": 0, "previousblockhash": prev.to_string(),
            "transactions": transactions, "coinbaseaux": {},
            "coinbasevalue": self.subsidy(height) + fees,
            "longpollid": format!("{prev}{}", self.made),
            "target": hex::encode(self.target().to_be_bytes()),
            "mintime": self.median_time(prev) + 1, "mutable": ["time", "transactions", "prevblock"],
            "noncerange": "00000000ffffffff", "sigoplimit": 80_000, "sizelimit": 4_000_000,
            "weightlimit": MAX_WEIGHT,
            "curtime": now().max(self.median_time(prev) + 1), "bits": format!("{:08x}",
            self.rules.bits), "height": height,
            "default_witness_commitment": hex::encode(self.commitment_script()),
        });
        if self.mood.names_key && height >= self.rules.fork_height {
            template["pow_algorithm"] = json!("RandomX");
            template["randomx_key_block_hash"] = json!(
                self.key(height)
                    .map(|key| BlockHash::from_byte_array(key).to_string())
            );
        }
        template
    }

    fn target(&self) -> Target {
        Target::from_compact(CompactTarget::from_consensus(self.rules.bits))
    }

    fn commitment_script(&self) -> Vec<u8> {
        let block = self.assembled(vec![]);
        let commitment =
            Block::compute_witness_commitment(&block.witness_root().unwrap(), &[0; 32]);
        [COMMITMENT.as_slice(), commitment.as_byte_array()].concat()
    }

    /// A block on the tip as the node's own miner would make it, with these outputs after the
    /// reward.
    fn assembled(&self, more: Vec<TxOut>) -> Block {
        let (tip, prev) = self.tip();
        let height = tip + 1;
        let value = self.subsidy(height) + self.mempool.iter().map(|(_, fee)| fee).sum::<u64>();
        let script = Builder::new()
            .push_int(height as i64)
            .push_int(self.made as i64 + 1_000_000)
            .into_script();
        let mut witness = Witness::new();
        witness.push([0; 32]);
        let input = TxIn {
            previous_output: OutPoint::null(),
            script_sig: script,
            sequence: Sequence::MAX,
            witness,
        };
        let reward = TxOut {
            value: Amount::from_sat(value),
            script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
        };
        let output = [vec![reward], more].concat();
        let coinbase = Transaction {
            version: TxVersion::TWO,
            lock_time: LockTime::ZERO,
            input: vec![input],
            output,
        };
        let txdata: Vec<Transaction> = std::iter::once(coinbase)
            .chain(
                self.mempool
                    .iter()
                    .map(|(transaction, _)| transaction.clone()),
            )
            .collect();
        let header = Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: prev,
            merkle_root: TxMerkleNode::all_zeros(),
            time: now().max(self.median_time(prev) + 1),
            bits: CompactTarget::from_consensus(self.rules.bits),
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        block
    }

    /// Mines blocks of its own on the tip.
    pub async fn mine(&mut self, count: u64) {
        for _ in 0..count {
            // A branch that is mined again must not give the same blocks.
            self.made += 1;
            let commitment = TxOut {
                value: Amount::ZERO,
                script_pubkey: ScriptBuf::from_bytes(self.commitment_script()),
            };
            let mut block = self.assembled(vec![commitment]);
            let height = self.tip().0 + 1;
            while !self.has_work(&block.header, height).await {
                block.header.nonce += 1;
            }
            assert_eq!(self.submit(&hex::encode(serialize(&block))).await, Ok(None));
        }
    }

    async fn has_work(&self, header: &Header, height: u64) -> bool {
        let target = Target::from_compact(header.bits);
        if height < self.rules.fork_height {
            return target.is_met_by(header.block_hash());
        }
        let Some(key) = self.key_on(header.prev_blockhash, height) else {
            return false;
        };
        let hash = self.verifier.verify(key, serialize(header)).await.unwrap();
        target.is_met_by(BlockHash::from_byte_array(hash))
    }

    /// The memories it hashes with.
    pub fn seeds(&self) -> Arc<Seeds> {
        self.verifier.seeds().clone()
    }

    /// Hashes with somebody else's memories from now on, so that each key is computed once.
    pub fn share(&mut self, seeds: Arc<Seeds>) {
        self.verifier = verifier(seeds);
    }

    /// `submitblock`: `Ok(None)` is JSON's null; `Err` is an RPC error.
    pub async fn submit(&mut self, text: &str) -> Result<Option<String>, (i64, String)> {
        let undecodable = || (-22, "Block decode failed".to_owned());
        let block: Block = deserialize(&hex::decode(text).map_err(|_| undecodable())?)
            .map_err(|_| undecodable())?;
        Ok(self.judge(block).await.err().map(str::to_owned))
    }

    /// The order is that of a real node: the block in itself, its header in place, its content in
    /// place, then the chain.
    async fn judge(&mut self, block: Block) -> Result<(), &'static str> {
        let hash = block.block_hash();
        in_itself(&block)?;
        if let Some(known) = self.index.get(&hash) {
            return Err(if known.standing == ChainPosition::Good {
                "duplicate"
            } else {
                "duplicate-invalid"
            });
        }
        let height = 1 + self
            .index
            .get(&block.header.prev_blockhash)
            .ok_or("prev-blk-not-found")?
            .height;
        self.header_in_place(&block.header, height).await?;
        let judged = content_in_place(&block, height).and_then(|()| self.connected(&block, height));
        let standing = if matches!(judged, Ok(()) | Err("inconclusive")) {
            ChainPosition::Good
        } else {
            ChainPosition::Bad
        };
        self.index.insert(
            hash,
            Known {
                height,
                header: Some(block.header),
                standing,
            },
        );
        if judged.is_ok() {
            self.chain.insert(height, hash);
            let mined: Vec<Txid> = block.txdata.iter().map(Transaction::compute_txid).collect();
            self.mempool
                .retain(|(transaction, _)| !mined.contains(&transaction.compute_txid()));
            self.blocks.insert(hash, block);
        }
        judged
    }

    async fn header_in_place(&self, header: &Header, height: u64) -> Result<(), &'static str> {
        if header.bits.to_consensus() != self.rules.bits {
            return Err("bad-diffbits");
        }
        if !self.has_work(header, height).await {
            return Err(if height >= self.rules.fork_height {
                "high-hash-randomx"
            } else {
                "high-hash"
            });
        }
        if header.time <= self.median_time(header.prev_blockhash) {
            return Err("time-too-old");
        }
        if header.time > now() + FUTURE_S {
            return Err("time-too-new");
        }
        if header.version.to_consensus() < 4 {
            Err("bad-version")
        } else {
            Ok(())
        }
    }

    /// What only the whole chain can say: the block's place, the transactions it may have, and what
    /// it may pay.
    fn connected(&self, block: &Block, height: u64) -> Result<(), &'static str> {
        if block.header.prev_blockhash != self.tip().1 {
            return Err("inconclusive");
        }
        let mut allowed = self.subsidy(height);
        for transaction in &block.txdata[1..] {
            let known = self.mempool.iter().find(|(known, _)| known == transaction);
            allowed += known.ok_or("bad-txns-inputs-missingorspent")?.1;
        }
        let paid: u64 = block.txdata[0]
            .output
            .iter()
            .map(|output| output.value.to_sat())
            .sum();
        if paid > allowed {
            Err("bad-cb-amount")
        } else {
            Ok(())
        }
    }

    /// Height, header and how many blocks are on it, of a block the node knows; negative when its
    /// chain goes elsewhere.
    pub fn header(&self, hash: BlockHash) -> Option<(u64, Option<Header>, i64)> {
        let known = self.index.get(&hash)?;
        let active = self.chain.get(&known.height) == Some(&hash);
        let confirmations = if active {
            (self.tip().0 - known.height + 1) as i64
        } else {
            -1
        };
        Some((known.height, known.header, confirmations))
    }
}

fn verifier(seeds: Arc<Seeds>) -> Verifier {
    Verifier::start(seeds, 1, 8).unwrap()
}

fn entry(transaction: &Transaction, fee: u64) -> Value {
    json!({
        "data": hex::encode(serialize(transaction)), "txid": transaction.compute_txid().to_string(),
        "hash": transaction.compute_wtxid().to_string(), "depends": [], "fee": fee, "sigops": 0,
        "weight": transaction.weight().to_wu(),
    })
}

fn now() -> u32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as u32
}

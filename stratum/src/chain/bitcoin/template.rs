//! A block template of `getblocktemplate`: the headers and blocks made of it.
//!
//! What the daemon says twice is compared: ids with bytes, target with bits, and the witness
//! commitment with our own. A daemon whose format has changed is thus found out before anybody
//! mines for nothing.

use serde::Deserialize;
use std::collections::BTreeMap;

use super::coinbase::{Coinbase, Content, WITNESS_RESERVED};
use super::encode::push_size;
use super::header::{self, Header, NONCE_OFFSET};
use super::merkle;
use super::sha256d::{from_printed, printed, reversed, sha256d};
use super::target::Target;
use super::transaction::{Ids, ids};
use crate::chain::coinbase_tag::CoinbaseTag;
use crate::chain::{ChainError, Extranonce, FoundBlock, Hash, Template};
use crate::work::difficulty::Difficulty;

/// Rules that must be understood to mine, tagged `!` by the daemon, and are.
const RULES: [&str; 3] = ["csv", "segwit", "taproot"];
/// Every nonce, which is what miners search.
const ALL_NONCES: &str = "00000000ffffffff";
/// The script of the commitment's output up to the hash (BIP 141): OP_RETURN, a push of 36 bytes,
/// the tag.
const COMMITMENT_HEAD: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
/// What header, count and coinbase weigh at most: 4 · (80 + 9) + 4 · (100 + 200) and the witness's
/// 38.
const FRAME_WEIGHT: u64 = 1600;

/// The fields of `getblocktemplate` that mining needs.
#[derive(Debug, Clone, Deserialize)]
pub struct TemplateAnswer {
    pub version: i32,
    #[serde(default)]
    pub rules: Vec<String>,
    pub previousblockhash: String,
    pub transactions: Vec<TransactionAnswer>,
    #[serde(default)]
    pub coinbaseaux: BTreeMap<String, String>,
    pub coinbasevalue: u64,
    pub target: Option<String>,
    #[serde(default)]
    pub mintime: u32,
    pub noncerange: Option<String>,
    pub weightlimit: Option<u64>,
    pub curtime: u32,
    pub bits: String,
    pub height: u32,
    pub default_witness_commitment: Option<String>,
    /// Newer daemons say what the block is worked on with, and the key.
    pub pow_algorithm: Option<String>,
    pub randomx_key_block_hash: Option<String>,
}

/// A transaction of the template.
#[derive(Debug, Clone, Deserialize)]
pub struct TransactionAnswer {
    pub data: String,
    pub txid: Option<String>,
    pub hash: Option<String>,
    /// Atomic units, where it is a whole number; nothing but a check of the reward reads it.
    #[serde(default)]
    pub fee: serde_json::Value,
}

/// The RandomX keys of a template, raw: the bytes RandomX is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// Of its own height.
    pub current: Hash,
    /// Of the next epoch, if its block exists and the key will change.
    pub next: Option<Hash>,
}

/// A parsed template.
#[derive(Debug)]
pub struct BitcoinTemplate {
    /// With an empty root.
    header: Header,
    height: u32,
    target: Target,
    network_difficulty: u128,
    coinbase: Coinbase,
    branch: Vec<Hash>,
    /// All but the coinbase, serialised one after the other.
    transactions: Vec<u8>,
    /// With the coinbase.
    tx_count: u64,
    keys: Keys,
    reward_atomic: u64,
}

impl BitcoinTemplate {
    /// Reads the daemon's answer for blocks that pay `reward_script`.
    pub fn parse(
        answer: &TemplateAnswer,
        reward_script: &[u8],
        keys: Keys,
    ) -> Result<Self, ChainError> {
        Self::parse_tagged(answer, reward_script, keys, None)
    }

    /// [`BitcoinTemplate::parse`] for blocks that carry a pool's tag.
    pub fn parse_tagged(
        answer: &TemplateAnswer,
        reward_script: &[u8],
        keys: Keys,
        tag: Option<&CoinbaseTag>,
    ) -> Result<Self, ChainError> {
        check_rules(answer)?;
        check_key(answer, &keys)?;
        let (bits, target) = target(answer)?;
        let body = Body::read(answer)?;
        let commitment = commitment(answer, &body)?;
        let auxiliary = auxiliary(answer)?;
        let prev = printed_hash(&answer.previousblockhash, "previousblockhash")?;
        let content = Content {
            height: answer.height,
            value: answer.coinbasevalue,
            reward_script,
            witness_commitment: commitment.as_deref(),
            auxiliary: &auxiliary,
            parent: prev,
            tag,
        };
        let txids: Vec<Hash> = body.ids.iter().map(|ids| ids.txid).collect();
        Ok(Self {
            header: Header {
                version: answer.version,
                prev,
                root: [0; 32],
                time: time(answer)?,
                bits,
                nonce: [0; 4],
            },
            height: answer.height,
            target,
            network_difficulty: target.difficulty(),
            coinbase: Coinbase::new(&content)?,
            branch: merkle::branch(&txids),
            transactions: body.bytes,
            tx_count: txids.len() as u64 + 1,
            keys,
            reward_atomic: answer.coinbasevalue,
        })
    }

    fn header(&self, extranonce: Extranonce, nonce: [u8; 4]) -> [u8; header::LEN] {
        let root = merkle::fold(self.coinbase.txid(extranonce), &self.branch);
        Header {
            root,
            nonce,
            ..self.header
        }
        .bytes()
    }
}

impl Template for BitcoinTemplate {
    fn height(&self) -> u64 {
        u64::from(self.height)
    }
    fn prev(&self) -> Hash {
        reversed(self.header.prev)
    }
    fn seed(&self) -> Hash {
        self.keys.current
    }
    fn next_seed(&self) -> Option<Hash> {
        self.keys.next
    }
    fn network_difficulty(&self) -> u128 {
        self.network_difficulty
    }
    fn reward_atomic(&self) -> u128 {
        u128::from(self.reward_atomic)
    }
    fn nonce_offset(&self) -> usize {
        NONCE_OFFSET
    }
    fn hashing_blob(&self, extranonce: Extranonce) -> Vec<u8> {
        self.header(extranonce, [0; 4]).to_vec()
    }
    fn block(&self, extranonce: Extranonce, nonce: [u8; 4]) -> FoundBlock {
        let header = self.header(extranonce, nonce);
        let coinbase = self.coinbase.bytes(extranonce);
        let mut bytes =
            Vec::with_capacity(header.len() + 9 + coinbase.len() + self.transactions.len());
        bytes.extend_from_slice(&header);
        push_size(&mut bytes, self.tx_count);
        bytes.extend_from_slice(&coinbase);
        bytes.extend_from_slice(&self.transactions);
        FoundBlock {
            id: header::id(&header),
            bytes,
        }
    }
    fn is_block(&self, hash: &Hash) -> bool {
        self.target.is_met_by(hash)
    }
    /// A miner compares the top 64 bits only, strictly below its target, so that target must lie
    /// above the network's.
    fn assign(&self, requested: u64) -> Difficulty {
        let highest = u64::MAX / self.target.top_limb().saturating_add(1);
        Difficulty::assign_long(requested.min(highest))
    }
}

/// The transactions, read once.
struct Body {
    bytes: Vec<u8>,
    ids: Vec<Ids>,
}

impl Body {
    fn read(answer: &TemplateAnswer) -> Result<Self, ChainError> {
        let mut body = Body {
            bytes: Vec::new(),
            ids: Vec::with_capacity(answer.transactions.len()),
        };
        for (place, transaction) in answer.transactions.iter().enumerate() {
            let bytes = hex::decode(&transaction.data)
                .map_err(|_| unusable(&format!("transaction {place} is not hex")))?;
            let ids = ids(&bytes).ok_or_else(|| {
                unusable(&format!(
                    "transaction {place} does not have the form known here"
                ))
            })?;
            let differs = |said: &Option<String>, ours: &Hash| {
                said.as_ref().is_some_and(|said| *said != printed(ours))
            };
            if differs(&transaction.txid, &ids.txid) || differs(&transaction.hash, &ids.wtxid) {
                return Err(unusable(&format!(
                    "transaction {place} has other ids than the daemon says"
                )));
            }
            body.bytes.extend_from_slice(&bytes);
            body.ids.push(ids);
        }
        let weight = FRAME_WEIGHT + body.ids.iter().map(|ids| ids.weight).sum::<u64>();
        match answer.weightlimit {
            Some(limit) if weight > limit => Err(unusable(&format!(
                "its transactions weigh {weight}, a block may weigh {limit}"
            ))),
            _ => Ok(body),
        }
    }

    /// What the coinbase must commit to: the tree of ids with witnesses, where its own counts as
    /// zeros.
    fn commitment(&self) -> Hash {
        let wtxids: Vec<Hash> = self.ids.iter().map(|ids| ids.wtxid).collect();
        sha256d(&[&merkle::root([0; 32], &wtxids), &WITNESS_RESERVED])
    }
}

/// A rule tagged `!` changes what a block must look like; mining without knowing it makes blocks
/// that nobody takes.
fn check_rules(answer: &TemplateAnswer) -> Result<(), ChainError> {
    let mut demanded = answer
        .rules
        .iter()
        .filter_map(|rule| rule.strip_prefix('!'));
    if let Some(rule) = demanded.find(|rule| !RULES.contains(rule)) {
        return Err(unusable(&format!(
            "it demands the rule {rule:?}, which is not known here"
        )));
    }
    match answer.noncerange.as_deref() {
        None | Some(ALL_NONCES) => Ok(()),
        Some(range) => Err(unusable(&format!("it allows only the nonces {range}"))),
    }
}

/// Newer daemons name the algorithm and the key, which must be ours.
fn check_key(answer: &TemplateAnswer, keys: &Keys) -> Result<(), ChainError> {
    if let Some(other) = answer
        .pow_algorithm
        .as_deref()
        .filter(|algorithm| !algorithm.eq_ignore_ascii_case("randomx"))
    {
        let height = answer.height;
        return Err(unusable(&format!(
            "block {height} is worked on with {other}, not RandomX; check \
             stratum.opensy.fork_height"
        )));
    }
    let Some(said) = answer.randomx_key_block_hash.as_deref() else {
        return Ok(());
    };
    if from_printed(said) == Some(keys.current) {
        return Ok(());
    }
    let ours = printed(&keys.current);
    let reason = format!(
        "the daemon's RandomX key is block {said}, ours is {ours}; check \
         stratum.opensy.key_interval"
    );
    Err(unusable(&reason))
}

fn target(answer: &TemplateAnswer) -> Result<(u32, Target), ChainError> {
    let mut bits = [0; 4];
    hex::decode_to_slice(&answer.bits, &mut bits)
        .map_err(|_| unusable("bits is not 8 hex digits"))?;
    let bits = u32::from_be_bytes(bits);
    let target = Target::from_compact(bits)
        .ok_or_else(|| unusable("bits is no target that a block could meet"))?;
    match answer.target.as_deref() {
        Some(said) if Target::from_printed(said) != Some(target) => {
            Err(unusable("target is not what bits says"))
        }
        _ => Ok((bits, target)),
    }
}

fn time(answer: &TemplateAnswer) -> Result<u32, ChainError> {
    if answer.curtime < answer.mintime {
        return Err(unusable(
            "curtime lies before mintime; check the daemon's clock",
        ));
    }
    Ok(answer.curtime)
}

/// The script of the commitment's output, ours and the daemon's being the same. A chain without
/// segwit has none, and no witnesses that it could commit to.
fn commitment(answer: &TemplateAnswer, body: &Body) -> Result<Option<Vec<u8>>, ChainError> {
    let Some(said) = answer.default_witness_commitment.as_deref() else {
        if body.ids.iter().any(Ids::has_witness) {
            return Err(unusable(
                "it has witnesses and no default_witness_commitment",
            ));
        }
        return Ok(None);
    };
    let script =
        hex::decode(said).map_err(|_| unusable("default_witness_commitment is not hex"))?;
    // More may follow the hash (BIP 141 leaves space); it is kept as it came.
    match script
        .strip_prefix(&COMMITMENT_HEAD)
        .and_then(|rest| rest.first_chunk())
    {
        Some(hash) if *hash == body.commitment() => Ok(Some(script)),
        _ => Err(unusable(
            "default_witness_commitment is not what its transactions make it",
        )),
    }
}

fn auxiliary(answer: &TemplateAnswer) -> Result<Vec<u8>, ChainError> {
    let mut auxiliary = Vec::new();
    for (key, value) in &answer.coinbaseaux {
        auxiliary.extend(
            hex::decode(value).map_err(|_| unusable(&format!("coinbaseaux.{key} is not hex")))?,
        );
    }
    Ok(auxiliary)
}

fn printed_hash(text: &str, field: &str) -> Result<Hash, ChainError> {
    from_printed(text).ok_or_else(|| unusable(&format!("{field} is not 64 hex digits")))
}

fn unusable(reason: &str) -> ChainError {
    ChainError::Template(reason.to_owned())
}

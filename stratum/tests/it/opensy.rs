//! OpenSY: captured facts of a real node, a stand-in that checks what a real node checks, and the
//! pool and miner against it.

mod address;
mod captured;
mod driver;
mod http;
mod mining;
mod node;
mod pure;
mod schedule;
mod template;
mod verdicts;

use headframe_stratum::chain::bitcoin::OpensySettings;
use headframe_stratum::chain::bitcoin::template::TemplateAnswer;
use serde_json::Value;

pub const HEADERS: &str = include_str!("../data/opensy-headers.json");
pub const BLOCK_100: &str = include_str!("../data/opensy-block-100.hex");
pub const TEMPLATE: &str = include_str!("../data/opensy-getblocktemplate.json");
pub const CHAIN_INFO: &str = include_str!("../data/opensy-getblockchaininfo.json");
pub const ANSWERS: &str = include_str!("../data/opensy-submitblock-answers.json");
/// A key's hash of twenty twos, on regtest.
pub const WALLET: &str = "rsyl1qyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zug64cy";

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub fn template_answer() -> TemplateAnswer {
    serde_json::from_str(TEMPLATE).unwrap()
}

pub fn bytes32(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Settings for a stand-in at `url`.
pub fn settings(url: &str, key_interval: u64, fork_height: u64) -> OpensySettings {
    OpensySettings {
        rpc_url: url.to_owned(),
        key_interval,
        fork_height: Some(fork_height),
        ..OpensySettings::default()
    }
}

/// Numbers that are the same in every run: cases by the million must cost nothing to make
/// (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

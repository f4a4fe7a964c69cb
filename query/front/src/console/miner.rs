//! The page of one miner: hashrate, workers, balance and payments, and the proof of each payout.

use crate::access::Permission;
use crate::console::Page;

pub(super) struct Miner;

impl Page for Miner {
    fn title(&self) -> &'static str {
        "Miner"
    }
    fn doc(&self) -> &'static str {
        "One miner: hashrate, workers, balance, estimate and payments, and whether each payout can \
         be proven."
    }
    fn paths(&self) -> &'static [&'static str] {
        &["/miner", "/miner/{address}"]
    }
    fn permission(&self) -> Permission {
        Permission::MinerPage
    }
    fn key(&self) -> Option<char> {
        Some('w')
    }
    fn script(&self) -> &'static str {
        "miner.js"
    }
    fn markup(&self) -> &'static str {
        include_str!("assets/miner.html")
    }
}

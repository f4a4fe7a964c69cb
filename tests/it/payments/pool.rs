//! A pool whose money is real: a chain, the pool's wallet, the miners' wallet, and invented shares.

use std::ops::{Deref, DerefMut};

use serde_json::Value;

use crate::money::Money;
use crate::wallets::{Chain, WalletRpc, until};

/// Everything a pool's money needs, all of it real but the shares.
pub struct Pool {
    pub chain: Chain,
    pub wallet: WalletRpc,
    pub miners: WalletRpc,
    money: Money,
}

impl Deref for Pool {
    type Target = Money;
    fn deref(&self) -> &Money {
        &self.money
    }
}

impl DerefMut for Pool {
    fn deref_mut(&mut self) -> &mut Money {
        &mut self.money
    }
}

impl Pool {
    pub async fn start(settings: &str) -> Self {
        let chain = Chain::start().await;
        let (wallet, miners) = (
            WalletRpc::start(&chain).await,
            WalletRpc::start(&chain).await,
        );
        let config = wallet.config();
        let address = wallet.address().await;
        // Rings need other outputs, and money must be old enough to be spent.
        chain.mine(100, &address).await;
        let more = format!(
            "[payments]\nthreshold_atomic = 1000000\nleast_threshold_atomic = 1000\nconfirmations \
             = 3\npoll_ms = 50\nsettle_s = 20\n{settings}\n\
             [payments.wallet]\nkind = \"monero\"\nurl = \"{}\"\nlogin_file = {:?}\naddress = \
             \"{address}\"\n",
            config.url,
            config.login_file.unwrap()
        );
        Self {
            chain,
            wallet,
            miners,
            money: Money::start(more).await,
        }
    }

    /// A block of the chain, found by the pool with the shares of these miners, and matured.
    pub async fn found(&mut self, work: &[(&str, i64)]) -> i128 {
        let hash = self
            .chain
            .mine(1, &self.wallet.address().await)
            .await
            .remove(0);
        let (reward, height) = self.chain.reward(&hash).await;
        self.money.publish_found(&hash, height, reward, work).await;
        reward
    }

    /// Makes blocks until the condition holds, as time passes on a real chain.
    pub async fn mine_until(&self, sql: &str, what: impl Fn(&Value) -> bool) -> Value {
        let address = self.wallet.address().await;
        let mut last = Value::Null;
        until(sql, async || {
            last = self.running().row(sql).await;
            if what(&last) {
                return true;
            }
            self.chain.mine(1, &address).await;
            false
        })
        .await;
        last
    }

    /// The wallet's own history beside the rows of `payments`: transaction by transaction,
    /// destination by destination, fee by fee.
    pub async fn history_agrees(&self) -> usize {
        let sql = "SELECT tx_id || ' ' || address || ' ' || CAST(sent_atomic AS VARCHAR) AS line \
                   FROM payments \
                   WHERE step = 'confirmed' ORDER BY line";
        let mut said = self.lines(sql).await;
        let sql = "SELECT tx_id || ' ' || CAST(sum(network_fee_atomic) AS VARCHAR) AS line FROM \
                   payments \
                   WHERE step = 'confirmed' GROUP BY tx_id ORDER BY line";
        let mut fees = self.lines(sql).await;
        let (mut happened, mut happened_fees) = (Vec::new(), Vec::new());
        for transfer in self.wallet.history().await {
            let tx_id = transfer["txid"].as_str().unwrap();
            happened_fees.push(format!("{tx_id} {}", transfer["fee"]));
            // A wallet that was killed has forgotten whom it paid, not how much; then the sums are
            // compared.
            match transfer["destinations"].as_array() {
                Some(list) => happened.extend(list.iter().map(|to| {
                    format!(
                        "{tx_id} {} {}",
                        to["address"].as_str().unwrap(),
                        to["amount"]
                    )
                })),
                None => {
                    let ours: i128 = said
                        .iter()
                        .filter(|line| line.starts_with(tx_id))
                        .map(|line| line.rsplit(' ').next().unwrap().parse::<i128>().unwrap())
                        .sum();
                    assert_eq!(
                        i128::from(transfer["amount"].as_i64().unwrap()),
                        ours,
                        "{tx_id}"
                    );
                    happened.extend(said.iter().filter(|line| line.starts_with(tx_id)).cloned());
                }
            }
        }
        for list in [&mut said, &mut fees, &mut happened, &mut happened_fees] {
            list.sort();
        }
        assert_eq!(
            happened, said,
            "the wallet's history and the confirmed payments"
        );
        assert_eq!(happened_fees, fees, "the fees");
        let sent: i128 = said
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap().parse::<i128>().unwrap())
            .sum();
        assert_eq!(
            self.miners.received().await,
            sent,
            "what the miners' own wallet has received"
        );
        fees.len()
    }
}

//! The whole payer against a wallet with `sendmany`, which cannot be asked twice: whatever gets
//! lost between the two, the node's own history and the confirmed payments are the same at the end,
//! to the atomic unit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bitcoin_node::{Age, Fault, Node};
use crate::money::Money;
use crate::wallets::until;

const MINERS: [&str; 5] = [
    "sy1qalice0",
    "sy1qbob000",
    "sy1qcarol0",
    "sy1qdave00",
    "sy1qerin00",
];

/// An address of another network.
const FOREIGN: &str = "4foreign";

/// The node, the product, and what it has found so far.
struct Pool {
    node: Node,
    money: Money,
    blocks: i64,
    rewards: i128,
    _login: tempfile::TempDir,
}

impl Pool {
    /// The wallet has `old` payments in its history from long ago.
    async fn start(age: Age, old: usize) -> Self {
        let node = Node::start(age, 1_000_000_000_000, old).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("login"), format!("{}\n", Node::login())).unwrap();
        let more = format!(
            "[payments]\nthreshold_atomic = 1000\nleast_threshold_atomic = 1000\nconfirmations = \
             3\npoll_ms = 50\nsettle_s = 15\n\
             interval_s = 1\nbatch_size = 4\n[payments.wallet]\nkind = \"bitcoin\"\nurl = \
             \"{}\"\nlogin_file = {:?}\ntimeout_s = 60\n",
            node.url,
            folder.path().join("login")
        );
        Self {
            node,
            money: Money::start(more).await,
            blocks: 0,
            rewards: 0,
            _login: folder,
        }
    }

    /// One more block, for everybody and one address that cannot be paid.
    async fn found(&mut self) {
        self.blocks += 1;
        let reward = 1_000_000_007 * i128::from(self.blocks);
        let mut work: Vec<(&str, i64)> = vec![(FOREIGN, 10)];
        work.extend(
            MINERS
                .iter()
                .zip([300, 201, 77, 19, 393])
                .map(|(miner, difficulty)| (*miner, difficulty)),
        );
        let hash = format!("{:064x}", 0xb10c_0000 + self.blocks);
        self.money
            .publish_found(&hash, self.blocks, reward, &work)
            .await;
        self.rewards += reward;
    }

    /// Until everybody who can be paid has his part of every block, confirmed.
    async fn until_paid(&self) {
        let wanted = self.blocks * MINERS.len() as i64;
        until("everybody is paid", async || {
            self.node.mine(1);
            let row = self
                .money
                .running()
                .row("SELECT count(*) AS n FROM payments WHERE step = 'confirmed'")
                .await;
            row["n"].as_i64().is_some_and(|paid| paid >= wanted)
        })
        .await;
    }

    /// Why nothing moves, as the payer says it.
    async fn waits_for(&self, what: &str) {
        until(what, async || {
            let (_, state) = self.money.get("/api/v1/payments/state").await;
            state["waiting"]
                .as_str()
                .is_some_and(|why| why.contains(what))
        })
        .await;
    }

    async fn unlock(&self) {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "walletpassphrase",
            "params": ["secret", 600]});
        let (user, password) = Node::login().split_once(':').unwrap();
        // A node that has just been started says so, and takes nothing else.
        until("the node takes the passphrase", async || {
            let call = crate::server::http()
                .post(&self.node.url)
                .basic_auth(user, Some(password))
                .json(&body)
                .send()
                .await;
            let Ok(answer) = call else { return false };
            answer
                .json::<Value>()
                .await
                .is_ok_and(|answer| answer.get("error").is_none_or(Value::is_null))
        })
        .await;
    }

    /// How often the node was told to send.
    fn sends(&self) -> u64 {
        self.node
            .inside()
            .calls
            .get("sendmany")
            .copied()
            .unwrap_or_default()
    }

    /// The node's history beside `payments`: every transaction, destination, amount and fee, and
    /// each payment once.
    async fn history_agrees(&self, old: usize) {
        let sql = "SELECT payment || ' ' || tx_id || ' ' || address || ' ' || CAST(sent_atomic AS \
                   VARCHAR) AS line \
                   FROM payments WHERE step = 'confirmed'";
        let mut said = self.money.lines(sql).await;
        let sql = "SELECT tx_id || ' ' || CAST(sum(network_fee_atomic) AS VARCHAR) AS line FROM \
                   payments \
                   WHERE step = 'confirmed' GROUP BY tx_id";
        let mut fees = self.money.lines(sql).await;
        let (mut happened, mut happened_fees, mut names) =
            (Vec::new(), Vec::new(), BTreeMap::new());
        for tx in self.node.inside().sent.iter().skip(old) {
            happened_fees.push(format!("{} {}", tx.id, tx.fee));
            happened.extend(
                tx.outputs.iter().map(|(address, amount)| {
                    format!("{} {} {address} {amount}", tx.comment, tx.id)
                }),
            );
            *names.entry(tx.comment.clone()).or_insert(0) += 1;
        }
        for list in [&mut said, &mut fees, &mut happened, &mut happened_fees] {
            list.sort();
        }
        assert!(
            names.values().all(|count| *count == 1),
            "a payment was sent twice: {names:?}"
        );
        assert_eq!(
            happened, said,
            "the node's history and the confirmed payments"
        );
        assert_eq!(happened_fees, fees, "the fees");
        self.money.view_and_books_agree().await;
        let balances = self.money.ledger_is_balanced().await;
        assert_eq!(-balances["coinbase"], self.rewards, "no credit was lost");
        let foreign = balances[&format!("miner:{FOREIGN}")];
        assert_eq!(
            balances["paid"] + balances["fee"] + foreign,
            self.rewards,
            "every unit is somewhere"
        );
        assert_eq!(
            balances["reserve"], -balances["network"],
            "the pool bears the network's fee"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_with_sendmany_is_never_asked_twice_whatever_gets_lost() {
    // Twice as many as are ever read.
    const OLD: usize = 2_000;
    let mut pool = Pool::start(Age::New, OLD).await;
    // Each block makes two payments. What was sent and not answered is found in the history; what
    // is sent late is waited for; a refusal before anything was signed gives the money back, and
    // the next interval pays it.
    for faults in [
        [Fault::AnswerLost, Fault::AnswerCut],
        [Fault::Late, Fault::Poor],
    ] {
        pool.node.inside().faults.extend(faults);
        pool.found().await;
        pool.until_paid().await;
    }
    let (_, foreign) = pool
        .money
        .get(&format!("/api/v1/miners/{FOREIGN}/payments"))
        .await;
    assert!(
        foreign["why"]
            .as_array()
            .unwrap()
            .iter()
            .any(|why| why["code"] == "refused"),
        "{foreign}"
    );
    pool.node.inside().faults.push_back(Fault::Locked);
    pool.found().await;
    pool.waits_for("the wallet is locked").await;
    pool.unlock().await;
    pool.until_paid().await;
    let released = pool
        .money
        .lines("SELECT DISTINCT payment AS line FROM payments WHERE step = 'released'")
        .await;
    assert_eq!(released.len(), 2, "{released:?}");
    the_node_dies_and_the_payer_too(&mut pool).await;
    what_was_never_heard_is_for_an_operator(&mut pool).await;
    pool.history_agrees(OLD).await;
    pool.money.headframe.take().unwrap().kill();
}

/// The node dies after it has sent, the payer while it looks; when both are back, the history
/// tells.
async fn the_node_dies_and_the_payer_too(pool: &mut Pool) {
    pool.node.inside().faults.push_back(Fault::Crash);
    pool.found().await;
    until("the node is down", async || pool.node.is_down()).await;
    pool.money.headframe.take().unwrap().kill();
    pool.node.restart();
    pool.money.start_headframe();
    // Two payers, which nobody wants, look at the same open payment.
    let second = pool.money.start_roles("payments");
    pool.unlock().await;
    pool.until_paid().await;
    second.kill();
}

/// Nothing is in the history, and nothing proves that it will not be: an operator looks, and has it
/// paid again.
async fn what_was_never_heard_is_for_an_operator(pool: &mut Pool) {
    pool.node.inside().faults.push_back(Fault::NotHeard);
    let sends = pool.sends();
    pool.found().await;
    let open = "SELECT payment AS line FROM payments GROUP BY payment HAVING last_value(step ORDER \
                BY seq) = 'review'";
    let mut review = Vec::new();
    until("an operator is asked", async || {
        review = pool.money.lines(open).await;
        !review.is_empty()
    })
    .await;
    assert_eq!(pool.sends(), sends + 1, "it was not sent again");
    let deepest = pool.node.inside().deepest;
    assert!(
        deepest <= 1_000,
        "of a history of years only the newest entries are read, not {deepest}"
    );
    let instruction = json!({"kind": "resolve", "payment": review[0], "verdict": "unpaid",
        "reason": "it is not in the wallet"});
    assert_eq!(
        pool.money
            .post("/api/v1/payments/instructions", instruction)
            .await
            .0,
        200
    );
    pool.until_paid().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_node_is_paid_from_as_well_as_a_new_one() {
    let mut pool = Pool::start(Age::Old, 0).await;
    pool.node
        .inside()
        .faults
        .extend([Fault::AnswerLost, Fault::Poor]);
    pool.found().await;
    pool.until_paid().await;
    // As much as there is, and no more: some wait until the wallet is filled.
    pool.node.inside().money = 470_000_000;
    pool.found().await;
    pool.waits_for("not enough unlocked money").await;
    pool.node.inside().money += 10_000_000_000;
    pool.until_paid().await;
    pool.history_agrees(0).await;
    pool.money.headframe.take().unwrap().kill();
}

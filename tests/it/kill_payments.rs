//! Kills of the payer, `kill -9` at random moments against a real wallet, which is killed now and
//! then itself.
//!
//! After every kill: no payment has two transactions, the ledger is balanced; an SQL worker is
//! killed under these questions. At the end the wallet's own history and the confirmed payments are
//! the same, to the atomic unit. `HEADFRAME_PAY_KILLS` sets the number of kills.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::payments::Pool;
use crate::wallets::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_of_the_payer_pays_nothing_twice_and_loses_nothing() {
    let read = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (kills, seed) = (
        read("HEADFRAME_PAY_KILLS", 2),
        read("HEADFRAME_SEED", 20_261_121),
    );
    println!("{kills} kills, seed {seed} (HEADFRAME_PAY_KILLS, HEADFRAME_SEED)");
    let mut random = StdRng::seed_from_u64(seed);
    let mut pool = Pool::start("interval_s = 1").await;
    let main = pool.miners.address().await;
    let sub = pool
        .miners
        .call("create_address", serde_json::json!({"account_index": 0}))
        .await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut credited = 0;
    let mut steps = BTreeSet::new();
    let mut workers_killed = 0;
    for kill in 0..kills {
        let first = random.random_range(1..1_000);
        credited += pool.found(&[(&main, first), (&sub, 1_000 - first)]).await;
        // Up to the very moment something is being paid, and then a little further.
        let sql = "SELECT count(*) AS n FROM payments WHERE step = 'reserved'";
        pool.running()
            .until(sql, |row| row["n"].as_i64().unwrap() > 2 * kill as i64)
            .await;
        let blow = Instant::now() + Duration::from_millis(random.random_range(0..1_200));
        until("the blow falls", async || Instant::now() >= blow).await;
        pool.headframe.take().unwrap().kill();
        if random.random_ratio(1, 3) {
            pool.wallet.restart().await;
        }
        pool.start_headframe();
        pool.running().row("SELECT 1 AS n").await;
        let open = "SELECT last_value(step ORDER BY seq) AS line FROM payments GROUP BY payment";
        steps.extend(pool.lines(open).await);
        let double = "SELECT payment AS line FROM payments WHERE tx_id IS NOT NULL GROUP BY \
                      payment HAVING count(DISTINCT tx_id) > 1";
        let checks = async {
            assert_eq!(pool.lines(double).await, Vec::<String>::new());
            pool.ledger_is_balanced().await;
        };
        let server = pool.running();
        let killed = server.kill_an_sql_worker_during(&mut random, checks).await;
        workers_killed += usize::from(killed);
    }
    assert!(workers_killed > 0, "no SQL worker was killed");
    let rest = "SELECT CAST(coalesce(sum(balance_atomic), 0) AS BIGINT) AS n FROM balances \
                WHERE account = 'in_transit' OR account LIKE 'miner:%' OR account LIKE \
                'immature:%'";
    pool.mine_until(rest, |row| row["n"] == 0).await;
    let transactions = pool.history_agrees().await;
    pool.view_and_books_agree().await;
    let balances = pool.ledger_is_balanced().await;
    assert_eq!(-balances["coinbase"], credited, "no credit was lost");
    assert_eq!(balances["paid"] + balances["fee"], credited);
    println!(
        "{transactions} transactions, each payment one; after kills payments were {steps:?}; \
         {workers_killed} SQL workers killed as well"
    );
    assert!(
        transactions >= kills as usize / 2,
        "only {transactions} transactions"
    );
    pool.headframe.take().unwrap().kill();
}

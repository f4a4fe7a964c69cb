//! The payer dies at a random await, thousands of times, against wallets and streams that fail in
//! every way.
//!
//! After each death a new payer knows only what is durable. Then, every time: the ledger is
//! balanced, nothing was paid twice, nothing is confirmed that was not sent, nothing was given back
//! that was sent. In the end everybody has their money. `HEADFRAME_PAY_CRASHES` and
//! `HEADFRAME_SEED` set other numbers; `make soak` takes 10,400.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::task::noop_waker;
use headframe_pipelines::payment::payer::PauseReason;
use headframe_pipelines::payment::signed_tx::{SignedTx, file_name};
use headframe_pipelines::payment::{
    Account, FeePolicy, Journal, Ledger, Payer, PayerStateHandle, PaymentConfig, PaymentStatus,
    PayoutFact,
};
use headframe_schemas::stream::instructions::Instruction;
use rand::Rng;

use super::invariants;
use super::simulation::{Kind, SimJournal, World};

const MINERS: [&str; 8] = ["a", "b", "c", "d", "e", "alone-f", "alone-g", "refused-h"];

/// Deaths in one world: each new payer reads everything from its beginning.
const LIVES: usize = 40;

pub fn config(policy: FeePolicy) -> PaymentConfig {
    PaymentConfig {
        threshold_atomic: 100,
        least_threshold_atomic: 50,
        interval_s: 120,
        fee_policy: policy,
        confirmations: 2,
        settle_s: 300,
        ..PaymentConfig::default()
    }
}

/// A payer that was just started.
pub fn payer(world: &World) -> Payer<SimJournal> {
    payer_telling(world, PayerStateHandle::default())
}

/// The same, heard by somebody.
pub fn payer_telling(world: &World, state: PayerStateHandle) -> Payer<SimJournal> {
    let (wallet, config) = (Arc::new(world.clone()), world.inside().config.clone());
    let name = |(payment, tx_id): &(String, String)| SignedTx {
        payment: file_name(payment),
        tx_id: tx_id.clone(),
    };
    let kept = world
        .inside()
        .vault
        .keys()
        .filter(|(_, tx_id)| !tx_id.contains('-'))
        .map(name)
        .collect();
    Payer::new(
        config,
        SimJournal::new(world),
        wallet.clone(),
        wallet,
        state,
    )
    .with_signed_txs(kept)
}

/// Polls until it ends or has given way so often; `None` when it died.
pub fn poll<T>(work: impl Future<Output = T>, steps: u32) -> Option<T> {
    let mut work = pin!(work);
    let waker = noop_waker();
    for _ in 0..=steps {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
    }
    None
}

/// Something happens on the chain or with the operator.
fn event(world: &World) {
    let mut inside = world.inside();
    inside.now += inside.random.random_range(1..20) * 1_000_000;
    let number = inside.payouts.len();
    match inside.random.random_range(0..12) {
        0 => {
            let block = format!("{number:064x}");
            let parts: Vec<i128> = MINERS
                .iter()
                .map(|_| inside.random.random_range(1..150))
                .collect();
            let row = |step: &str, account: Option<&str>, amount, was_mature| PayoutFact {
                block: block.clone(),
                step: step.to_owned(),
                account: account.map(str::to_owned),
                amount,
                was_mature,
            };
            let orphaned = inside.random.random_ratio(1, 5);
            let rows = |step: &str, mature: bool| -> Vec<PayoutFact> {
                let miners = MINERS
                    .iter()
                    .zip(&parts)
                    .map(|(miner, amount)| row(step, Some(miner), *amount, mature));
                miners.chain([row(step, Some("fee"), 3, mature)]).collect()
            };
            let reward = parts.iter().sum::<i128>() + 3;
            inside.payouts.push(row("frozen", None, reward, false));
            for step in ["credited", if orphaned { "reversed" } else { "matured" }] {
                inside.payouts.extend(rows(step, false));
            }
            // A block that was paid for already may still go.
            if !orphaned && inside.random.random_ratio(1, 20) {
                inside.payouts.extend(rows("reversed", true));
            }
        }
        1 => {
            let miner = MINERS[inside.random.random_range(0..MINERS.len())];
            let (amount, throw) = (
                inside.random.random_range(-20..20),
                inside.random.random_range(0..16),
            );
            let instruction = |kind: &str, account: Option<&str>, amount| Instruction {
                event_time: inside.now,
                kind: kind.to_owned(),
                account: account.map(str::to_owned),
                amount_atomic: Some(amount),
                reason: Some("for the test".to_owned()),
                actor: "operator".to_owned(),
                ..Instruction::default()
            };
            let next = match throw {
                0..4 => instruction("adjust", Some(miner), amount),
                4..8 => instruction("threshold", Some(miner), amount * 20),
                8..10 => instruction("hold", Some(miner), 0),
                10..12 => instruction("resume", Some(miner), 0),
                12 => instruction("hold", None, 0),
                13 => instruction("adjust", Some("fee"), amount),
                _ => instruction("resume", None, 0),
            };
            inside.instructions.push(next);
        }
        // Longer than an operator is waited for.
        2 if inside.trouble > 0 && inside.random.random_ratio(1, 12) => {
            inside.hiccup = inside.now + inside.random.random_range(300..900) * 1_000_000;
        }
        _ => {}
    }
}

/// An operator who knows the truth ends reviews that are old enough.
fn operator(world: &World, ledger: &Ledger) {
    let mut inside = world.inside();
    for batch in ledger
        .open_payments()
        .filter(|batch| batch.status == PaymentStatus::Review && ledger.resolution(batch).is_none())
    {
        let truth = inside
            .sent
            .iter()
            .find(|sent| sent.payment == batch.id)
            .map(|sent| sent.tx_id.clone());
        let row = Instruction {
            event_time: inside.now,
            kind: "resolve".to_owned(),
            payment: Some(batch.id.clone()),
            verdict: Some(if truth.is_some() { "paid" } else { "unpaid" }.to_owned()),
            tx_id: truth,
            reason: Some("looked it up".to_owned()),
            actor: "operator".to_owned(),
            ..Instruction::default()
        };
        inside.instructions.push(row);
    }
}

/// Everything durable, read anew, beside the truth.
fn audit(world: &World) -> Ledger {
    let mut ledger = Ledger::default();
    poll(SimJournal::new(world).catch_up(&mut ledger), 100)
        .expect("it only reads")
        .unwrap();
    ledger.check().unwrap_or_else(|broken| panic!("{broken}"));
    let inside = world.inside();
    let mut sent: BTreeMap<&str, &str> = BTreeMap::new();
    for tx in &inside.sent {
        let before = sent.insert(&tx.payment, &tx.tx_id);
        assert!(
            before.is_none(),
            "payment {} was sent twice: {before:?} and {}",
            tx.payment,
            tx.tx_id
        );
    }
    let (mut confirmed, mut network) = (0, 0);
    for row in inside.payments.iter().flatten() {
        let tx = inside.sent.iter().find(|tx| tx.payment == row.payment);
        let output = tx.and_then(|tx| {
            tx.outputs
                .iter()
                .find(|output| output.address == row.address)
        });
        match row.step.as_str() {
            "confirmed" => {
                assert_eq!(
                    output.map(|output| output.amount as i128),
                    Some(row.sent_atomic),
                    "confirmed and not sent so: {row:?}"
                );
                (confirmed, network) = (
                    confirmed + row.sent_atomic,
                    network + row.network_fee_atomic,
                );
            }
            "released" => assert_eq!(output, None, "given back and sent: {row:?}"),
            _ => {}
        }
    }
    assert_eq!(ledger.balance(&Account::Paid), confirmed);
    assert_eq!(ledger.balance(&Account::Network), network);
    for miner in MINERS {
        assert_eq!(
            ledger.balance(&Account::Miner(miner.to_owned())),
            invariants::owed(&inside.facts(), miner),
            "{miner}"
        );
    }
    assert_eq!(
        ledger.balance(&Account::Fee),
        invariants::owed(&inside.facts(), "fee")
    );
    for batch in ledger
        .open_payments()
        .filter(|_| inside.kind == Kind::Relay)
    {
        let kept = |id: &String| inside.vault.contains_key(&(batch.id.clone(), id.clone()));
        assert!(
            batch.tx_id.as_ref().is_none_or(kept),
            "nobody could send it again: {batch:?}"
        );
    }
    ledger
}

/// What happened in a world.
#[derive(Default)]
struct Outcome {
    /// Transactions that were sent.
    sent: usize,
    /// Rounds that began with a payment under review.
    reviews: usize,
    /// Payments of which the vault still has something, of how many that had something there.
    left: (usize, usize),
}

/// Lives of payers in one world until so many have died.
fn lives(kind: Kind, policy: FeePolicy, seed: u64, deaths: usize) -> Outcome {
    let world = World::new(kind, config(policy), seed, 12);
    world.inside().refused.insert("refused-h".to_owned());
    let (mut died, mut reviews) = (0, 0);
    while died < deaths {
        let mut payer = payer(&world);
        loop {
            event(&world);
            let steps = world.inside().random.random_range(0..60);
            let now = world.inside().now;
            let Some(ended) = poll(payer.tick(now), steps) else {
                break;
            };
            assert!(
                !matches!(ended, Err(PauseReason::BrokenRule(_))),
                "{ended:?}"
            );
            reviews += payer
                .ledger()
                .open_payments()
                .filter(|batch| batch.status == PaymentStatus::Review)
                .count();
            operator(&world, payer.ledger());
        }
        died += 1;
        audit(&world);
    }
    in_the_end_everybody_has_their_money(&world);
    let inside = world.inside();
    let left: BTreeSet<&String> = inside.vault.keys().map(|(payment, _)| payment).collect();
    let signed = if kind == Kind::Relay {
        inside.sent.len()
    } else {
        0
    };
    Outcome {
        sent: inside.sent.len(),
        reviews,
        left: (left.len(), signed),
    }
}

/// An operator lets one miner be paid again, or all.
fn resume(world: &World, miner: Option<&str>) {
    let mut inside = world.inside();
    inside.now += 1_000_000;
    let (event_time, account) = (inside.now, miner.map(str::to_owned));
    inside.instructions.push(Instruction {
        kind: "resume".to_owned(),
        account,
        event_time,
        ..Instruction::default()
    });
}

fn in_the_end_everybody_has_their_money(world: &World) {
    world.inside().trouble = 0;
    // An operator lets go what it held, and nothing else: a wallet that gave no transactions for a
    // while needs nobody's word.
    let ledger = audit(world);
    ledger
        .held_accounts()
        .for_each(|(miner, _)| resume(world, Some(miner)));
    if ledger.global_hold().is_some() {
        resume(world, None);
    }
    let ledger = at_rest(world);
    let blocked: Vec<_> = ledger
        .refused_accounts()
        .map(|(account, _)| account.to_owned())
        .collect();
    assert!(
        blocked.iter().all(|account| account == "refused-h"),
        "{blocked:?}"
    );
    for miner in MINERS
        .into_iter()
        .filter(|miner| !blocked.iter().any(|account| account == miner))
    {
        has_its_money(world, &ledger, miner);
    }
    // The one that the wallet really refuses is taken after a word for all.
    world.inside().refused.clear();
    resume(world, None);
    let ledger = at_rest(world);
    MINERS
        .into_iter()
        .for_each(|miner| has_its_money(world, &ledger, miner));
    let inside = world.inside();
    let sent: u128 = inside
        .sent
        .iter()
        .flat_map(|tx| &tx.outputs)
        .map(|output| output.amount)
        .sum();
    assert_eq!(
        ledger.balance(&Account::Paid),
        sent as i128,
        "the wallet's history and the ledger"
    );
}

fn has_its_money(world: &World, ledger: &Ledger, miner: &str) {
    let balance = ledger.balance(&Account::Miner(miner.to_owned()));
    let threshold = world.inside().config.rules().threshold(
        ledger
            .account_state(miner)
            .and_then(|owner| owner.threshold),
    );
    assert!(
        balance < threshold,
        "{miner} still has {balance} of {threshold}"
    );
}

/// The ledger when nothing moves any more.
fn at_rest(world: &World) -> Ledger {
    let mut payer = payer(world);
    // As long as something moves, and two intervals more.
    let (mut quiet, mut rounds) = (0, 0);
    while quiet < 10 {
        world.inside().now += 30_000_000;
        let now = world.inside().now;
        let wrote = poll(payer.tick(now), u32::MAX).expect("nothing dies here");
        operator(world, payer.ledger());
        quiet = if wrote == Ok(false) && payer.ledger().open_payments().count() == 0 {
            quiet + 1
        } else {
            0
        };
        rounds += 1;
        assert!(rounds < 2_000, "it never comes to rest: {wrote:?}");
    }
    let ledger = audit(world);
    assert_eq!(
        ledger.open_payments().count(),
        0,
        "{:?}",
        ledger.open_payments().collect::<Vec<_>>()
    );
    ledger
}

#[test]
fn crashes_at_every_await_pay_nothing_twice_and_lose_nothing() {
    let read = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (crashes, seed) = (
        read("HEADFRAME_PAY_CRASHES", 2_400) as usize,
        read("HEADFRAME_SEED", 20_261_121),
    );
    let (mut done, mut world, mut all) = (0, 0, Outcome::default());
    while done < crashes {
        let kind = if world % 2 == 0 {
            Kind::Relay
        } else {
            Kind::SendMany
        };
        let policy = if world % 4 < 2 {
            FeePolicy::Pool
        } else {
            FeePolicy::Miner
        };
        let one = lives(kind, policy, seed + world, LIVES);
        (done, world) = (done + LIVES, world + 1);
        all.left = (all.left.0 + one.left.0, all.left.1 + one.left.1);
        (all.sent, all.reviews) = (all.sent + one.sent, all.reviews + one.reviews);
    }
    let Outcome {
        sent,
        reviews,
        left: (left, signed),
    } = all;
    println!(
        "{done} crashes in {world} worlds, {sent} transactions, {reviews} looks at reviews, \
        {left} of {signed} left in the vault, seed {seed}"
    );
    assert!(
        sent >= done / 4,
        "only {sent} transactions: the simulation tests nothing"
    );
    assert!(
        reviews >= done / 100,
        "only {reviews} looks at reviews: hardly a payment was ever in doubt"
    );
    // Only a payer that dies, or whose files cannot be removed, right after the last step leaves
    // them behind.
    assert!(
        left * 4 <= signed,
        "{left} of {signed} payments have left signed transactions behind"
    );
}

/// Two payers at once, which nobody wants: each await of one may fall between any two of the other.
#[test]
fn two_payers_at_once_pay_nothing_twice() {
    let mut sent = 0;
    for seed in 0..40 {
        let kind = if seed % 2 == 0 {
            Kind::Relay
        } else {
            Kind::SendMany
        };
        let world = World::new(kind, config(FeePolicy::Pool), seed, 8);
        let mut payers = [payer(&world), payer(&world)];
        for _ in 0..150 {
            event(&world);
            let now = world.inside().now;
            let [first, second] = &mut payers;
            let (mut first, mut second) = (pin!(first.tick(now)), pin!(second.tick(now)));
            let (mut first_done, mut second_done) = (false, false);
            let waker = noop_waker();
            let mut context = Context::from_waker(&waker);
            while !(first_done && second_done) {
                let one = world.inside().random.random_bool(0.5);
                if one && !first_done {
                    first_done = first.as_mut().poll(&mut context).is_ready();
                } else if !one && !second_done {
                    second_done = second.as_mut().poll(&mut context).is_ready();
                }
            }
        }
        audit(&world);
        sent += world.inside().sent.len();
    }
    assert!(
        sent > 100,
        "only {sent} transactions: the simulation tests nothing"
    );
}

//! The payer dies at a random await, ten thousand times and more, against wallets and streams that fail in every way.
//!
//! After each death a new payer knows only what is durable. Then, every time: the ledger is balanced, nothing was paid twice,
//! nothing is confirmed that was not sent, nothing was given back that was sent. In the end everybody has their money.
//! `HEADFRAME_PAY_CRASHES` and `HEADFRAME_SEED` set other numbers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::task::noop_waker;
use headframe_pipelines::payment::payer::Pause;
use headframe_pipelines::payment::{Account, Books, FeePolicy, Journal, Payer, PaymentConfig, Payout, StateHandle, Status};
use headframe_schemas::stream::instructions::Instruction;
use rand::Rng;

use super::law;
use super::world::{Kind, SimJournal, World};

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
    let (wallet, config) = (Arc::new(world.clone()), world.inside().config.clone());
    Payer::new(config, SimJournal::new(world), wallet.clone(), wallet, StateHandle::default())
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
            let parts: Vec<i128> = MINERS.iter().map(|_| inside.random.random_range(1..150)).collect();
            let row = |step: &str, account: Option<&str>, amount, was_mature| Payout {
                block: block.clone(),
                step: step.to_owned(),
                account: account.map(str::to_owned),
                amount,
                was_mature,
            };
            let orphaned = inside.random.random_ratio(1, 5);
            let rows = |step: &str, mature: bool| -> Vec<Payout> {
                let miners = MINERS.iter().zip(&parts).map(|(miner, amount)| row(step, Some(miner), *amount, mature));
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
            let (amount, throw) = (inside.random.random_range(-20..20), inside.random.random_range(0..16));
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
                _ => instruction("resume", None, 0),
            };
            inside.instructions.push(next);
        }
        _ => {}
    }
}

/// An operator who knows the truth ends reviews that are old enough.
fn operator(world: &World, books: &Books) {
    let mut inside = world.inside();
    for batch in books.open().filter(|batch| batch.status == Status::Review && books.resolution(batch).is_none()) {
        let truth = inside.sent.iter().find(|sent| sent.payment == batch.id).map(|sent| sent.tx_id.clone());
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
fn audit(world: &World) -> Books {
    let mut books = Books::default();
    poll(SimJournal::new(world).catch_up(&mut books), 100).expect("it only reads").unwrap();
    books.check().unwrap_or_else(|broken| panic!("{broken}"));
    let inside = world.inside();
    let mut sent: BTreeMap<&str, &str> = BTreeMap::new();
    for tx in &inside.sent {
        let before = sent.insert(&tx.payment, &tx.tx_id);
        assert!(before.is_none(), "payment {} was sent twice: {before:?} and {}", tx.payment, tx.tx_id);
    }
    let (mut confirmed, mut network) = (0, 0);
    for row in inside.payments.iter().flatten() {
        let tx = inside.sent.iter().find(|tx| tx.payment == row.payment);
        let output = tx.and_then(|tx| tx.outputs.iter().find(|output| output.address == row.address));
        match row.step.as_str() {
            "confirmed" => {
                assert_eq!(output.map(|output| output.amount as i128), Some(row.sent_atomic), "confirmed and not sent so: {row:?}");
                (confirmed, network) = (confirmed + row.sent_atomic, network + row.network_fee_atomic);
            }
            "released" => assert_eq!(output, None, "given back and sent: {row:?}"),
            _ => {}
        }
    }
    assert_eq!(books.balance(&Account::Paid), confirmed);
    assert_eq!(books.balance(&Account::Network), network);
    for miner in MINERS {
        assert_eq!(books.balance(&Account::Miner(miner.to_owned())), law::owed(&inside.facts(), miner), "{miner}");
    }
    for batch in books.open().filter(|_| inside.kind == Kind::Relay) {
        let kept = |id: &String| inside.vault.contains_key(&(batch.id.clone(), id.clone()));
        assert!(batch.tx_id.as_ref().is_none_or(kept), "nobody could send it again: {batch:?}");
    }
    books
}

/// Lives of payers in one world until so many have died. Answers what the calls of wallet and journal were.
fn lives(kind: Kind, policy: FeePolicy, seed: u64, deaths: usize) -> (usize, usize) {
    let world = World::new(kind, config(policy), seed, 12);
    world.inside().refused.insert("refused-h".to_owned());
    let (mut died, mut reviews) = (0, 0);
    while died < deaths {
        let mut payer = payer(&world);
        loop {
            event(&world);
            let steps = world.inside().random.random_range(0..60);
            let now = world.inside().now;
            let Some(ended) = poll(payer.tick(now), steps) else { break };
            assert!(!matches!(ended, Err(Pause::Broken(_))), "{ended:?}");
            reviews += payer.books().open().filter(|batch| batch.status == Status::Review).count();
            operator(&world, payer.books());
        }
        died += 1;
        audit(&world);
    }
    in_the_end_everybody_has_their_money(&world);
    let paid = world.inside().sent.len();
    (paid, reviews)
}

fn in_the_end_everybody_has_their_money(world: &World) {
    world.inside().trouble = 0;
    for miner in MINERS.into_iter().map(Some).chain([None]) {
        let row = Instruction {
            kind: "resume".to_owned(),
            account: miner.map(str::to_owned),
            event_time: world.inside().now,
            ..Instruction::default()
        };
        world.inside().instructions.push(row);
    }
    world.inside().refused.clear();
    let mut payer = payer(world);
    // As long as something moves, and two intervals more.
    let (mut quiet, mut rounds) = (0, 0);
    while quiet < 10 {
        world.inside().now += 30_000_000;
        let now = world.inside().now;
        let wrote = poll(payer.tick(now), u32::MAX).expect("nothing dies here");
        operator(world, payer.books());
        quiet = if wrote == Ok(false) && payer.books().open().count() == 0 { quiet + 1 } else { 0 };
        rounds += 1;
        assert!(rounds < 2_000, "it never comes to rest: {wrote:?}");
    }
    let books = audit(world);
    assert_eq!(books.open().count(), 0, "{:?}", books.open().collect::<Vec<_>>());
    for miner in MINERS {
        let balance = books.balance(&Account::Miner(miner.to_owned()));
        let threshold = world.inside().config.threshold(books.owner(miner).and_then(|owner| owner.threshold));
        assert!(balance < threshold, "{miner} still has {balance} of {threshold}");
    }
    let inside = world.inside();
    let sent: u128 = inside.sent.iter().flat_map(|tx| &tx.outputs).map(|output| output.amount).sum();
    assert_eq!(books.balance(&Account::Paid), sent as i128, "the wallet's history and the ledger");
    // A wallet of the kind that signs first leaves nothing behind.
    assert!(inside.vault.len() <= 400, "{} signed transactions are kept", inside.vault.len());
}

#[test]
fn ten_thousand_crashes_pay_nothing_twice_and_lose_nothing() {
    let read = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (crashes, seed) = (read("HEADFRAME_PAY_CRASHES", 10_400) as usize, read("HEADFRAME_SEED", 20_261_121));
    let (mut done, mut world, mut sent, mut reviews) = (0, 0, 0, 0);
    while done < crashes {
        let kind = if world % 2 == 0 { Kind::Relay } else { Kind::SendMany };
        let policy = if world % 4 < 2 { FeePolicy::Pool } else { FeePolicy::Miner };
        let (paid, reviewed) = lives(kind, policy, seed + world, LIVES);
        (done, world, sent, reviews) = (done + LIVES, world + 1, sent + paid, reviews + reviewed);
    }
    println!("{done} crashes in {world} worlds, {sent} transactions, {reviews} looks at reviews, seed {seed}");
    assert!(sent > 1_000, "only {sent} transactions: the simulation tests nothing");
    assert!(reviews > 10, "no payment was ever in doubt");
}

/// Two payers at once, which nobody wants: each await of one may fall between any two of the other.
#[test]
fn two_payers_at_once_pay_nothing_twice() {
    let mut sent = 0;
    for seed in 0..40 {
        let kind = if seed % 2 == 0 { Kind::Relay } else { Kind::SendMany };
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
    assert!(sent > 100, "only {sent} transactions: the simulation tests nothing");
}

//! Whose share is hashed next: the rules one by one, and a siege in virtual time.

use headframe_stratum::randomx::fair_queue::{
    Caller, FairQueue, FairnessSettings, HashOutcome, Overload, Ticket,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};

mod siege;

use siege::{ATTACKERS, Siege, World};

fn host(number: u64) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0000 + number as u32))
}

fn proven(session: u64) -> Caller {
    Caller {
        session,
        payer: Some(host(session)),
        proven: true,
    }
}

fn stranger(session: u64) -> Caller {
    Caller {
        proven: false,
        ..proven(session)
    }
}

fn order(queue: &mut FairQueue<u64>) -> Vec<u64> {
    let mut order = Vec::new();
    while let Some((ticket, item)) = queue.pop(0) {
        queue.done(ticket, HashOutcome::Good { cost_ms: 15.0 }, 0);
        order.push(item);
    }
    order
}

#[test]
fn sessions_take_turns_and_strangers_take_the_rest() {
    let mut queue = FairQueue::new(FairnessSettings::default(), 1);
    for item in [10, 11, 12] {
        assert!(queue.push(proven(1), item, 0).unwrap().is_empty());
    }
    for item in [30, 31] {
        assert!(queue.push(stranger(3), item, 0).unwrap().is_empty());
    }
    assert!(queue.push(proven(2), 20, 0).unwrap().is_empty());
    assert_eq!(queue.len(), (4, 2));
    assert_eq!(order(&mut queue), [10, 20, 11, 12, 30, 31]);
    assert!(queue.is_empty());
    // However many proven shares wait, strangers are not left outside for ever.
    for item in 0..100 {
        assert!(queue.push(proven(1), item, 0).unwrap().is_empty());
    }
    assert!(queue.push(stranger(3), 1000, 0).unwrap().is_empty());
    assert_eq!(
        order(&mut queue).iter().position(|item| *item == 1000),
        Some(16)
    );
}

#[test]
fn many_connections_of_an_address_are_one_among_strangers() {
    let mut queue = FairQueue::new(FairnessSettings::default(), 1);
    let of = |session, address| Caller {
        session,
        payer: Some(host(address)),
        proven: false,
    };
    for session in 1..=5 {
        queue.push(of(session, 1), session, 0).unwrap();
    }
    queue.push(of(6, 2), 6, 0).unwrap();
    assert_eq!(order(&mut queue), [1, 6, 2, 3, 4, 5]);
    // Where the address says nothing, each connection is its own.
    let spared = |session| Caller {
        session,
        payer: None,
        proven: false,
    };
    for (session, item) in [(1, 10), (1, 11), (2, 20)] {
        queue.push(spared(session), item, 0).unwrap();
    }
    assert_eq!(order(&mut queue), [10, 20, 11]);
}

#[test]
fn strangers_leave_a_thread_free() {
    let mut queue = FairQueue::new(FairnessSettings::default(), 3);
    for session in 1..=5 {
        queue.push(stranger(session), session, 0).unwrap();
    }
    let running: Vec<Ticket> = (0..2).map(|_| queue.pop(0).unwrap().0).collect();
    assert!(queue.pop(0).is_none(), "two of three threads are theirs");
    queue.push(proven(9), 9, 0).unwrap();
    let (ticket, item) = queue.pop(0).unwrap();
    assert_eq!((item, ticket.is_unproven()), (9, false));
    queue.done(ticket, HashOutcome::Skipped, 0);
    for ticket in running {
        queue.done(ticket, HashOutcome::Skipped, 0);
    }
    assert!(
        queue
            .pop(0)
            .is_some_and(|(ticket, item)| ticket.is_unproven() && item == 3)
    );
}

#[test]
fn wasted_hashes_are_paid_from_the_addresss_budget() {
    let settings = FairnessSettings {
        budget_burst_ms: 150,
        budget_ms_per_s: 10,
        ..FairnessSettings::default()
    };
    let mut queue = FairQueue::new(settings, 1);
    let mut ask =
        |caller: Caller, done: HashOutcome, now_ms: u64| match queue.push(caller, 0, now_ms) {
            Err((overload, _)) => Err(overload),
            Ok(_) => {
                let (ticket, _) = queue.pop(now_ms).unwrap();
                queue.done(ticket, done, now_ms);
                Ok(())
            }
        };
    let (good, bad) = (
        HashOutcome::Good { cost_ms: 15.0 },
        HashOutcome::Bad { cost_ms: 15.0 },
    );
    assert!(
        (0..1000).all(|_| ask(stranger(1), good, 0).is_ok()),
        "good shares are free"
    );
    assert_eq!(
        (0..20).filter(|_| ask(stranger(1), bad, 0).is_ok()).count(),
        10
    );
    assert_eq!(ask(stranger(1), good, 0), Err(Overload::Budget));
    let neighbour = Caller {
        session: 2,
        payer: Some(host(1)),
        proven: true,
    };
    assert!(
        ask(neighbour, good, 0).is_ok(),
        "a proven miner is not held up by its neighbour"
    );
    assert!(ask(stranger(3), good, 0).is_ok());
    // 15 ms come back in one and a half seconds.
    assert_eq!(ask(stranger(1), bad, 1_400), Err(Overload::Budget));
    assert_eq!(
        (ask(stranger(1), bad, 1_600), ask(stranger(1), bad, 1_600)),
        (Ok(()), Err(Overload::Budget))
    );
    let spared = Caller {
        session: 4,
        payer: None,
        proven: false,
    };
    assert!((0..1000).all(|_| ask(spared, bad, 0).is_ok()));
    // Many rigs behind one address may come at once; when the budget is spent, what still waits of
    // that address goes.
    let rigs = |session: u64| Caller {
        session,
        ..stranger(5)
    };
    assert!((0..50).all(|number| {
        queue
            .push(rigs(100 + number), number, 0)
            .is_ok_and(|gone| gone.is_empty())
    }));
    queue.push(stranger(6), 60, 0).unwrap();
    let mut wasted = 0;
    let gone = loop {
        let (ticket, item) = queue.pop(0).unwrap();
        wasted += u64::from(item != 60);
        let gone = queue.done(ticket, if item == 60 { good } else { bad }, 0);
        if !gone.is_empty() {
            break gone;
        }
    };
    assert_eq!((wasted, gone.len(), queue.len()), (10, 40, (0, 0)));
}

#[test]
fn a_wrong_result_sends_what_is_still_waiting_to_the_strangers() {
    let mut queue = FairQueue::new(FairnessSettings::default(), 1);
    for item in [10, 11, 12] {
        queue.push(proven(1), item, 0).unwrap();
    }
    queue.push(proven(2), 20, 0).unwrap();
    let (ticket, item) = queue.pop(0).unwrap();
    queue.done(ticket, HashOutcome::Bad { cost_ms: 15.0 }, 0);
    assert_eq!((item, queue.len()), (10, (1, 2)));
    assert_eq!(order(&mut queue), [20, 11, 12]);
}

#[test]
fn too_many_strangers_cost_the_greediest_and_newest_their_place() {
    let mut queue = FairQueue::new(
        FairnessSettings {
            queue_unproven: 4,
            ..FairnessSettings::default()
        },
        1,
    );
    for (session, item) in [(1, 10), (2, 20), (2, 21), (3, 30)] {
        assert!(queue.push(stranger(session), item, 0).unwrap().is_empty());
    }
    assert_eq!(
        queue.push(stranger(4), 40, 0).unwrap(),
        [20, 21],
        "two shares are more than one"
    );
    assert!(queue.push(stranger(5), 50, 0).unwrap().is_empty());
    assert_eq!(
        queue.push(stranger(6), 60, 0).unwrap(),
        [60],
        "of equals the newest goes"
    );
    assert!(
        queue.push(proven(7), 70, 0).unwrap().is_empty(),
        "proven miners are not concerned"
    );
    assert_eq!(order(&mut queue), [70, 10, 30, 40, 50]);
}

#[test]
fn jobs_get_harder_when_honest_shares_wait_and_easier_again() {
    let mut queue = FairQueue::new(FairnessSettings::default(), 1);
    let mut waits = |waited_ms: u64, now_ms: u64| {
        queue.push(proven(1), 0, now_ms - waited_ms).unwrap();
        let (ticket, _) = queue.pop(now_ms).unwrap();
        assert_eq!(ticket.waited_ms, waited_ms);
        queue.done(ticket, HashOutcome::Good { cost_ms: 15.0 }, now_ms);
        queue.overload_factor(now_ms)
    };
    assert_eq!(
        [
            waits(2_000, 10_000),
            waits(2_001, 10_000),
            waits(9_000, 20_000),
            waits(9_000, 25_000)
        ],
        [1, 2, 2, 4]
    );
    let levels: Vec<u64> = (3..30).map(|step| waits(9_000, step * 15_000)).collect();
    assert_eq!((levels[0], levels[26]), (8, 64), "it ends somewhere");
    assert_eq!(
        [
            waits(0, 440_000),
            waits(0, 500_000),
            waits(0, 559_999),
            waits(0, 560_000)
        ],
        [64, 32, 32, 16]
    );
    // Strangers that wait are no reason to make honest miners work harder.
    queue.push(stranger(2), 0, 0).unwrap();
    let (ticket, _) = queue.pop(900_000).unwrap();
    queue.done(ticket, HashOutcome::Skipped, 900_000);
    assert_eq!(queue.overload_factor(900_000), 8);
}

#[test]
fn a_thousand_attackers_do_not_double_the_wait_of_fifty_honest_miners() {
    for (threads, seed) in [(1, 1), (2, 2), (4, 3)] {
        let quiet = World::new(Siege::None, threads, seed).run();
        for siege in [Siege::Addresses, Siege::Spared] {
            let attacked = World::new(siege, threads, seed).run();
            let (before, after) = (quiet.p99_wait_ms(), attacked.p99_wait_ms());
            println!(
                "{siege:?}, {threads} threads: p99 wait {before} ms quiet, {after} ms attacked; \
                 newcomers {:?}",
                attacked.first_shares
            );
            assert!(
                after < 2 * before,
                "{siege:?}, {threads} threads, seed {seed}: p99 wait {before} ms quiet, {after} ms \
                 attacked"
            );
            // The siege is one: strangers have every turn that honest miners leave, up to the last
            // thread or their budgets.
            assert!(
                attacked.wrong > 1_000,
                "{siege:?}: only {} wrong results were hashed",
                attacked.wrong
            );
            // Newcomers get in during it: each was hashed before the end, nearly all at once.
            assert_eq!(
                attacked.first_shares.len(),
                20,
                "{siege:?}, {threads} threads, seed {seed}"
            );
            assert!(
                attacked.first_shares[17] < 15_000,
                "{siege:?}, {threads} threads: {:?}",
                attacked.first_shares
            );
        }
    }
}

#[test]
fn bought_trust_is_good_for_one_wrong_result() {
    let threads = 2;
    let attacked = World::new(Siege::Traitors, threads, 7).run();
    let most = ATTACKERS + threads as u64;
    assert!(
        (ATTACKERS / 2..=most).contains(&attacked.wrong_as_proven),
        "{} of {} wrong results went first",
        attacked.wrong_as_proven,
        attacked.wrong
    );
}

//! What only delays a payment, and must not keep anybody from it: a wallet's hiccup, a balance that
//! the fee would eat.

use headframe_pipelines::payment::payer::PauseReason;
use headframe_pipelines::payment::{FeePolicy, PayerStateHandle};

use super::crashes::{config, payer, payer_telling, poll};
use super::simulation::{Kind, World};
use super::stops::{instruct, reserved, round, row, steps};

/// Rounds, ten seconds apart, for so long.
fn pass(world: &World, seconds: i64) {
    let mut payer = payer(world);
    for _ in 0..seconds / 10 {
        world.inside().now += 10_000_000;
        let now = world.inside().now;
        let ended = poll(payer.tick(now), u32::MAX).expect("nothing dies here");
        assert!(
            !matches!(ended, Err(PauseReason::BrokenRule(_))),
            "{ended:?}"
        );
    }
}

fn paid(world: &World) -> Vec<(String, u128)> {
    let outputs = world
        .inside()
        .sent
        .iter()
        .flat_map(|tx| tx.outputs.clone())
        .collect::<Vec<_>>();
    let mut paid: Vec<_> = outputs
        .into_iter()
        .map(|output| (output.address, output.amount))
        .collect();
    paid.sort();
    paid
}

#[test]
fn a_wallet_that_makes_no_transactions_for_a_while_blocks_nobody() {
    // Longer than settle_s, several times.
    for patience in [330, 1_000, 5_000] {
        let world = reserved(Kind::Relay);
        let now = world.inside().now;
        world.inside().hiccup = now + patience * 1_000_000 + 1;
        pass(&world, patience);
        assert_eq!(paid(&world), []);
        assert!(
            steps(&world).iter().any(|step| step == "released"),
            "it is tried in smaller parts"
        );
        pass(&world, 1_000);
        assert_eq!(
            paid(&world),
            [("a".to_owned(), 700), ("b".to_owned(), 300)],
            "without a word of an operator"
        );
    }
}

#[test]
fn one_destination_that_spoils_every_transaction_does_not_keep_the_others_waiting_for_ever() {
    let world = World::new(Kind::Relay, config(FeePolicy::Pool), 1, 0);
    let miners = ["a", "b", "c", "d", "e", "f"];
    world
        .inside()
        .payouts
        .push(row("block", "frozen", None, 600));
    for step in ["credited", "matured"] {
        world
            .inside()
            .payouts
            .extend(miners.map(|miner| row("block", step, Some(miner), 100)));
    }
    world.inside().spoils = Some("a".to_owned());
    pass(&world, 4_000);
    let wanted: Vec<_> = miners[1..]
        .iter()
        .map(|miner| ((*miner).to_owned(), 100))
        .collect();
    assert_eq!(paid(&world), wanted);
}

#[test]
fn a_balance_that_the_fee_would_eat_waits_and_is_not_refused() {
    let mut config = config(FeePolicy::Miner);
    (config.threshold_atomic, config.least_threshold_atomic) = (1, 1);
    let world = World::new(Kind::Relay, config, 1, 0);
    world
        .inside()
        .payouts
        .push(row("block", "frozen", None, 1_002));
    for step in ["credited", "matured"] {
        let parts = [("a", 700), ("b", 300), ("c", 2)];
        world
            .inside()
            .payouts
            .extend(parts.map(|(miner, amount)| row("block", step, Some(miner), amount)));
    }
    // Of the fee of 7, each bears 2 or 3.
    pass(&world, 60);
    let released = world
        .inside()
        .payments
        .iter()
        .flatten()
        .find(|row| row.step == "released")
        .cloned()
        .unwrap();
    assert_eq!(released.account, "c");
    let reason = released.reason.unwrap();
    assert!(
        !reason.starts_with("refused: ")
            && reason.contains("does not cover its part of the network's fee"),
        "{reason}"
    );
    assert_eq!(world.inside().sent.len(), 1, "the others are paid");
    let before = steps(&world).len();
    pass(&world, 40);
    assert!(
        steps(&world).len() <= before + 1,
        "it is not tried again and again within an interval: {:?}",
        steps(&world)
    );
    // Once there is more of it, it is paid.
    world.inside().payouts.push(row("next", "frozen", None, 50));
    for step in ["credited", "matured"] {
        world
            .inside()
            .payouts
            .push(row("next", step, Some("c"), 50));
    }
    pass(&world, 400);
    assert_eq!(paid(&world).last(), Some(&("c".to_owned(), 45)));
}

#[test]
fn a_refused_account_is_listed_and_resumed_with_all_others() {
    let world = reserved(Kind::Relay);
    world.inside().refused.insert("a".to_owned());
    instruct(&world, "hold", Some("c"));
    let state = PayerStateHandle::default();
    let mut payer = payer_telling(&world, state.clone());
    for _ in 0..3 {
        let now = world.inside().now;
        poll(payer.tick(now), u32::MAX).unwrap().unwrap();
    }
    let names = |list: &[(String, String)]| {
        list.iter()
            .map(|(account, _)| account.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&state.get().refused), names(&state.get().held)),
        (vec!["a".to_owned()], vec!["c".to_owned()])
    );
    assert!(
        state.get().refused[0].1.contains("not of this network"),
        "{:?}",
        state.get().refused
    );
    assert_eq!(paid(&world), [("b".to_owned(), 300)]);
    world.inside().refused.clear();
    world.inside().now += 200_000_000;
    instruct(&world, "resume", None);
    pass(&world, 200);
    assert_eq!(paid(&world), [("a".to_owned(), 700), ("b".to_owned(), 300)]);
    let now = world.inside().now;
    poll(payer.tick(now), u32::MAX).unwrap().unwrap();
    assert_eq!(
        (names(&state.get().refused), names(&state.get().held)),
        (vec![], vec!["c".to_owned()]),
        "a hold stays"
    );
    assert!(round(&world).is_ok());
}

#[test]
fn a_wallet_with_a_little_too_little_pays_whom_it_can() {
    let world = reserved(Kind::Relay);
    // Both fit, but not with the fee of 7.
    world.inside().total = 1_004;
    pass(&world, 320);
    assert_eq!(
        paid(&world),
        [("a".to_owned(), 700)],
        "the other half is taken out"
    );
    pass(&world, 600);
    assert_eq!(paid(&world), [("a".to_owned(), 700), ("b".to_owned(), 300)]);
}

#[test]
fn a_definite_refusal_of_all_is_not_tried_without_a_pause_and_keeps_nobody_for_ever() {
    let world = reserved(Kind::SendMany);
    world.inside().spoils = Some("a".to_owned());
    pass(&world, 100);
    let tried = steps(&world)
        .iter()
        .filter(|step| *step == "submitting")
        .count();
    assert!(tried <= 5, "{:?}", steps(&world));
    pass(&world, 1_000);
    assert_eq!(paid(&world), [("b".to_owned(), 300)]);
    // Twice an interval at most: all of them, and a half.
    let tried = steps(&world)
        .iter()
        .filter(|step| *step == "submitting")
        .count();
    assert!(tried <= 2 * (1_100 / 120 + 2), "{tried} times");
}

#[test]
fn an_address_that_the_wallet_takes_for_none_is_asked_about_again() {
    let world = reserved(Kind::Relay);
    world.inside().payments.clear();
    world.inside().unfit.insert("a".to_owned());
    let mut payer = payer(&world);
    let mut rounds = |seconds: i64| {
        for _ in 0..seconds / 10 {
            world.inside().now += 10_000_000;
            let now = world.inside().now;
            let _ = poll(payer.tick(now), u32::MAX).expect("nothing dies here");
        }
    };
    rounds(300);
    assert_eq!(paid(&world), [("b".to_owned(), 300)]);
    world.inside().unfit.clear();
    rounds(300);
    assert_eq!(paid(&world).len(), 1, "it is not asked all the time");
    instruct(&world, "resume", Some("a"));
    rounds(300);
    assert_eq!(
        paid(&world),
        [("a".to_owned(), 700), ("b".to_owned(), 300)],
        "without a restart"
    );
}

//! The wallet's money beside what the ledger owes: a shortfall is said, and keeps nobody from being
//! paid.

use headframe_pipelines::payment::payer::wallet_balance::owed;
use headframe_pipelines::payment::{Ledger, PayerStateHandle, PayoutFact, WalletBalance};

use super::crashes::{payer_telling, poll};
use super::simulation::{Kind, World};
use super::stops::{row, steps, world};

/// A round of a payer that goes on, `seconds` later.
fn later(
    world: &World,
    payer: &mut headframe_pipelines::Payer<super::simulation::SimJournal>,
    seconds: i64,
) {
    world.inside().now += seconds * 1_000_000;
    let now = world.inside().now;
    poll(payer.tick(now), u32::MAX)
        .expect("nothing dies here")
        .unwrap();
}

#[test]
fn what_is_owed_is_what_could_be_asked_for_and_has_not_left_the_wallet() {
    let world = world(Kind::Relay);
    // The fee of a block, and a balance below zero, which owes nobody anything.
    world
        .inside()
        .payouts
        .push(row("other", "frozen", None, 50));
    for step in ["credited", "matured"] {
        world.inside().payouts.extend([
            row("other", step, Some("fee"), 30),
            row("other", step, Some("late"), 20),
        ]);
    }
    let gone = PayoutFact {
        was_mature: true,
        ..row("other", "reversed", Some("late"), 20)
    };
    world.inside().payouts.push(gone);
    let state = PayerStateHandle::default();
    let mut payer = payer_telling(&world, state.clone());
    assert_eq!(owed(&Ledger::default()), 0);
    later(&world, &mut payer, 0);
    // Reserved is still owed.
    assert_eq!((steps(&world).len(), owed(payer.ledger())), (1, 1_030));
    assert_eq!(
        state.get().wallet_balance,
        Some(WalletBalance {
            unlocked: 1_000_000_000,
            total: 2_000_000_000,
            owed: 1_030
        })
    );
    later(&world, &mut payer, 61);
    assert_eq!(steps(&world).last().unwrap(), "submitted");
    assert_eq!(
        owed(payer.ledger()),
        30,
        "what was sent has left the wallet"
    );
    assert_eq!(state.get().wallet_balance.unwrap().owed, 30);
}

#[test]
fn a_shortfall_is_reported_and_stops_nothing() {
    let world = world(Kind::Relay);
    // Enough for the one, not for both.
    world.inside().total = 800;
    let state = PayerStateHandle::default();
    let mut payer = payer_telling(&world, state.clone());
    later(&world, &mut payer, 0);
    let wallet_balance = state.get().wallet_balance.unwrap();
    assert_eq!(
        (
            wallet_balance.total,
            wallet_balance.owed,
            wallet_balance.shortfall()
        ),
        (800, 1_000, 200)
    );
    let words = wallet_balance.shortage().unwrap();
    assert!(
        words.contains("holds 800")
            && words.contains("owes 1000")
            && words.contains("200 are missing"),
        "{words}"
    );
    assert_eq!((state.get().stopped, state.get().waiting), (None, None));
    for _ in 0..2 {
        later(&world, &mut payer, 1);
    }
    assert_eq!(world.inside().sent.len(), 1, "who can be paid is paid");
    world.inside().total = 1_000;
    later(&world, &mut payer, 61);
    assert_eq!(state.get().wallet_balance.unwrap().shortage(), None);
}

#[test]
fn the_balance_of_a_wallet_that_does_not_answer_is_unknown_and_asked_for_again_soon() {
    let world = world(Kind::Relay);
    world.inside().config.dry_run = true;
    let state = PayerStateHandle::default();
    let mut payer = payer_telling(&world, state.clone());
    world.inside().trouble = 100;
    later(&world, &mut payer, 0);
    assert_eq!(state.get().wallet_balance, None, "nothing is guessed");
    world.inside().trouble = 0;
    later(&world, &mut payer, 9);
    assert_eq!(state.get().wallet_balance, None);
    later(&world, &mut payer, 1);
    let calls = world.inside().calls;
    assert_eq!(state.get().wallet_balance.unwrap().owed, 1_000);
    later(&world, &mut payer, 59);
    assert_eq!(
        world.inside().calls,
        calls,
        "not more often than once a minute"
    );
    world.inside().trouble = 100;
    later(&world, &mut payer, 1);
    assert_eq!(
        state.get().wallet_balance,
        None,
        "what it had once is not what it has"
    );
}

//! What stops a payer: a hold, a dry run, a broken ledger, a wrong wallet; each also when a payment
//! was begun before.

use std::future::Future;
use std::pin::pin;
use std::task::Context;

use futures::task::noop_waker_ref;
use headframe_pipelines::payment::payer::PauseReason;
use headframe_pipelines::payment::{FeePolicy, PayoutFact};
use headframe_schemas::stream::instructions::Instruction;
use headframe_sinks::wallet::WalletKind;

use super::crashes::{config, payer, poll};
use super::simulation::{Kind, World};

pub fn row(block: &str, step: &str, account: Option<&str>, amount: i128) -> PayoutFact {
    PayoutFact {
        block: block.to_owned(),
        step: step.to_owned(),
        account: account.map(str::to_owned),
        amount,
        was_mature: false,
    }
}

/// A world without failures in which `a` is owed 700 and `b` 300.
pub fn world(kind: Kind) -> World {
    let world = World::new(kind, config(FeePolicy::Pool), 1, 0);
    let mut inside = world.inside();
    inside.payouts.push(row("block", "frozen", None, 1_000));
    for step in ["credited", "matured"] {
        inside.payouts.extend([
            row("block", step, Some("a"), 700),
            row("block", step, Some("b"), 300),
        ]);
    }
    drop(inside);
    world
}

/// The steps that were written so far.
pub fn steps(world: &World) -> Vec<String> {
    world
        .inside()
        .payments
        .iter()
        .map(|rows| rows[0].step.clone())
        .collect()
}

/// A round of a payer that was just started.
pub fn round(world: &World) -> Result<bool, PauseReason> {
    let now = world.inside().now;
    poll(payer(world).tick(now), u32::MAX).expect("nothing dies here")
}

/// The world after the reservation, as a payer leaves it that dies there.
pub fn reserved(kind: Kind) -> World {
    let world = world(kind);
    assert_eq!(round(&world), Ok(true));
    assert_eq!(steps(&world), ["reserved"]);
    world
}

pub fn instruct(world: &World, kind: &str, account: Option<&str>) {
    let event_time = world.inside().now;
    let (reason, account) = (Some("for the test".to_owned()), account.map(str::to_owned));
    let row = Instruction {
        event_time,
        kind: kind.to_owned(),
        account,
        reason,
        actor: "operator".to_owned(),
        ..Instruction::default()
    };
    world.inside().instructions.push(row);
}

#[test]
fn a_payment_that_was_begun_goes_on_after_a_restart() {
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = reserved(kind);
        assert_eq!(round(&world), Ok(true));
        assert_eq!(steps(&world), ["reserved", "submitting", "submitted"]);
        world.inside().now += 600_000_000;
        assert_eq!(round(&world), Ok(true));
        assert_eq!(steps(&world)[3..], ["confirmed"]);
        assert_eq!(round(&world), Ok(false), "everybody has their money");
        assert_eq!(world.inside().sent.len(), 1);
        assert_eq!(
            world.inside().vault.len(),
            0,
            "nothing is kept that could be sent"
        );
    }
}

#[test]
fn a_hold_outlasts_a_restart_and_ends_with_resume() {
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = reserved(kind);
        instruct(&world, "hold", None);
        assert!(
            matches!(round(&world), Err(PauseReason::Waiting(why)) if why.contains("for the test"))
        );
        assert_eq!((steps(&world).len(), world.inside().sent.len()), (1, 0));
        instruct(&world, "resume", Some("a"));
        assert!(round(&world).is_err(), "resume of one is not resume of all");
        instruct(&world, "resume", None);
        assert_eq!(round(&world), Ok(true));
        assert_eq!(world.inside().sent.len(), 1);
    }
    let world = world(Kind::Relay);
    instruct(&world, "hold", Some("a"));
    assert_eq!(round(&world), Ok(true));
    assert_eq!(
        world.inside().payments[0]
            .iter()
            .map(|row| row.account.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
}

#[test]
fn a_dry_run_reserves_nothing_and_sends_nothing() {
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = world(kind);
        world.inside().config.dry_run = true;
        assert_eq!(round(&world), Ok(false));
        assert_eq!(steps(&world), Vec::<String>::new());
        let world = reserved(kind);
        world.inside().config.dry_run = true;
        assert!(matches!(round(&world), Err(PauseReason::Waiting(why)) if why.contains("dry run")));
        assert_eq!((steps(&world).len(), world.inside().sent.len()), (1, 0));
        // Nor one that was about to be sent: of this kind the transaction is there and would be
        // sent again.
        let now = world.inside().now;
        world.inside().config.dry_run = false;
        let mut dying = payer(&world);
        let mut tick = pin!(dying.tick(now));
        while steps(&world).len() < 2 {
            let polled = tick
                .as_mut()
                .poll(&mut Context::from_waker(noop_waker_ref()));
            assert!(
                polled.is_pending(),
                "it dies right after it has written submitting: {polled:?}"
            );
        }
        world.inside().config.dry_run = true;
        assert!(matches!(round(&world), Err(PauseReason::Waiting(_))));
        assert_eq!((steps(&world).len(), world.inside().sent.len()), (2, 0));
    }
}

#[test]
fn a_broken_ledger_pays_nobody() {
    for kind in [Kind::Relay, Kind::SendMany] {
        for world in [world(kind), reserved(kind)] {
            let before = steps(&world);
            world
                .inside()
                .payouts
                .push(row("block", "credited", Some("a"), 700));
            assert!(matches!(
                round(&world),
                Err(PauseReason::BrokenRule(broken)) if broken.rule == "reward"
            ));
            assert_eq!((steps(&world), world.inside().sent.len()), (before, 0));
        }
    }
}

#[test]
fn another_wallet_than_the_configured_one_pays_nobody() {
    let world = world(Kind::Relay);
    world.inside().config.wallet.address = Some("ours".to_owned());
    world.inside().address = Some("theirs".to_owned());
    assert!(
        matches!(round(&world), Err(PauseReason::Waiting(why)) if why.contains("another wallet"))
    );
    assert_eq!(steps(&world), Vec::<String>::new());
    world.inside().address = Some("ours".to_owned());
    assert_eq!(round(&world), Ok(true));
}

#[test]
fn a_fee_that_is_known_too_late_cannot_be_the_miners() {
    let mut config = config(FeePolicy::Miner);
    for (kind, policy, well) in [
        (WalletKind::Monero, FeePolicy::Miner, true),
        (WalletKind::Bitcoin, FeePolicy::Pool, true),
        (WalletKind::Bitcoin, FeePolicy::Miner, false),
    ] {
        (config.wallet.kind, config.fee_policy) = (kind, policy);
        assert_eq!(config.validate().is_ok(), well, "{kind:?} {policy:?}");
    }
}

#[test]
fn what_is_too_large_for_one_transaction_is_halved_until_it_fits() {
    let world = reserved(Kind::Relay);
    world.inside().fitting = 1;
    assert_eq!(round(&world), Ok(true));
    assert_eq!(steps(&world), ["reserved", "released"]);
    assert_eq!(round(&world), Ok(true));
    let paid = |world: &World| -> Vec<(String, u128)> {
        world
            .inside()
            .sent
            .iter()
            .flat_map(|tx| &tx.outputs)
            .map(|output| (output.address.clone(), output.amount))
            .collect()
    };
    assert_eq!(paid(&world), [("a".to_owned(), 700)]);
    assert_eq!(
        round(&world),
        Ok(true),
        "the other one need not wait for the next interval"
    );
    assert_eq!(round(&world), Ok(true));
    assert_eq!(paid(&world), [("a".to_owned(), 700), ("b".to_owned(), 300)]);
}

#[test]
fn a_refused_address_is_taken_out_and_the_others_are_paid() {
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = reserved(kind);
        world.inside().refused.insert("a".to_owned());
        assert_eq!(round(&world), Ok(true));
        let released = world.inside().payments[1].clone();
        assert_eq!(
            released
                .iter()
                .map(|row| (row.account.as_str(), row.step.as_str()))
                .collect::<Vec<_>>(),
            [("a", "released")]
        );
        assert_eq!(round(&world), Ok(true));
        let inside = world.inside();
        let sent: Vec<_> = inside.sent[0]
            .outputs
            .iter()
            .map(|output| (output.address.as_str(), output.amount))
            .collect();
        assert_eq!(sent, [("b", 300)]);
    }
}

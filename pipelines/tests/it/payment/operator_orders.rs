//! An operator's word on one account or one payment: what it does at once, and what it cannot do
//! against the wallet's history.

use headframe_pipelines::payment::payer::PauseReason;
use headframe_schemas::stream::instructions::Instruction;
use headframe_schemas::stream::payments::Payment;

use super::simulation::{Kind, World};
use super::stops::{instruct, reserved, round, steps, world};

fn resolve(world: &World, verdict: &str) {
    let mut inside = world.inside();
    let (event_time, payment) = (inside.now, Some(inside.payments[0][0].payment.clone()));
    let (verdict, reason) = (Some(verdict.to_owned()), Some("looked it up".to_owned()));
    let actor = "operator".to_owned();
    inside.instructions.push(Instruction {
        event_time,
        kind: "resolve".to_owned(),
        payment,
        verdict,
        reason,
        actor,
        ..Instruction::default()
    });
}

/// A payment that was sent and came under review all the same, as after a wallet that was put back
/// from a copy.
fn sent_and_under_review(kind: Kind) -> World {
    let world = reserved(kind);
    assert_eq!(round(&world), Ok(true));
    let submitted = world.inside().payments.pop().unwrap();
    let review: Vec<_> = submitted
        .into_iter()
        .map(|row| Payment {
            step: "review".to_owned(),
            ..row
        })
        .collect();
    world.inside().payments.push(review);
    world.inside().now += 600_000_000;
    assert_eq!(
        (
            steps(&world).last().unwrap().as_str(),
            world.inside().sent.len()
        ),
        ("review", 1)
    );
    world
}

#[test]
fn what_the_history_has_is_not_given_back_whatever_an_operator_says() {
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = sent_and_under_review(kind);
        resolve(&world, "unpaid");
        assert_eq!(round(&world), Ok(true));
        assert_eq!(
            steps(&world).last().unwrap(),
            "submitted",
            "it is on its way, and that is what the ledger says"
        );
        let reason = world.inside().payments.last().unwrap()[0]
            .reason
            .clone()
            .unwrap();
        assert!(
            reason.contains("looked it up") && reason.contains(&world.inside().sent[0].tx_id),
            "{reason}"
        );
        assert_eq!(round(&world), Ok(true));
        assert_eq!(steps(&world).last().unwrap(), "confirmed");
        assert_eq!(
            (round(&world), world.inside().sent.len()),
            (Ok(false), 1),
            "nobody is paid twice"
        );
        // With another amount than ours it cannot go on by itself, and is not given back either.
        let world = sent_and_under_review(kind);
        world.inside().sent[0].outputs[0].amount += 1;
        resolve(&world, "unpaid");
        let refused = round(&world);
        assert!(
            matches!(&refused, Err(PauseReason::Waiting(why)) if why.contains("not given back")),
            "{refused:?}"
        );
        assert_eq!(steps(&world).last().unwrap(), "review");
        // What the history does not have is given back, as before.
        let world = sent_and_under_review(kind);
        world.inside().sent.clear();
        resolve(&world, "unpaid");
        assert_eq!(round(&world), Ok(true));
        assert_eq!(steps(&world).last().unwrap(), "released");
    }
}

#[test]
fn a_wallet_that_does_not_answer_is_waited_for_before_anything_is_given_back() {
    let world = sent_and_under_review(Kind::Relay);
    resolve(&world, "unpaid");
    world.inside().trouble = 100;
    assert!(matches!(round(&world), Err(PauseReason::Wallet(_))));
    assert_eq!(steps(&world).last().unwrap(), "review");
}

#[test]
fn what_went_to_the_wallets_own_address_is_not_missing_from_its_history() {
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = reserved(kind);
        world.inside().address = Some("a".to_owned());
        assert_eq!(round(&world), Ok(true));
        world.inside().rescanned = true;
        world.inside().now += 600_000_000;
        assert_eq!(round(&world), Ok(true));
        assert_eq!(steps(&world).last().unwrap(), "confirmed");
        // Another address than its own is missed.
        let world = reserved(kind);
        assert_eq!(round(&world), Ok(true));
        world.inside().address = Some("a".to_owned());
        world.inside().rescanned = true;
        world.inside().sent[0]
            .outputs
            .retain(|output| output.address != "b");
        world.inside().now += 600_000_000;
        assert_eq!(round(&world), Ok(true));
        assert_eq!(steps(&world).last().unwrap(), "review");
    }
}

#[test]
fn a_hold_takes_an_account_out_of_a_payment_that_is_not_sent_yet() {
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = reserved(kind);
        instruct(&world, "hold", Some("a"));
        assert_eq!(round(&world), Ok(true));
        let released = world.inside().payments[1].clone();
        assert_eq!(
            released
                .iter()
                .map(|row| (row.account.as_str(), row.step.as_str()))
                .collect::<Vec<_>>(),
            [("a", "released")]
        );
        assert!(
            released[0]
                .reason
                .as_deref()
                .unwrap()
                .contains("for the test"),
            "{released:?}"
        );
        assert_eq!(round(&world), Ok(true));
        let sent = |world: &World| -> Vec<(String, u128)> {
            world
                .inside()
                .sent
                .iter()
                .flat_map(|tx| tx.outputs.clone())
                .map(|output| (output.address, output.amount))
                .collect()
        };
        assert_eq!(sent(&world), [("b".to_owned(), 300)]);
        // It need not wait for the next interval once it is let go.
        instruct(&world, "resume", Some("a"));
        assert_eq!((round(&world), round(&world)), (Ok(true), Ok(true)));
        assert_eq!(sent(&world), [("b".to_owned(), 300), ("a".to_owned(), 700)]);
    }
    // Everybody in it may be held.
    let world = world(Kind::Relay);
    assert_eq!(round(&world), Ok(true));
    instruct(&world, "hold", Some("a"));
    instruct(&world, "hold", Some("b"));
    assert_eq!(round(&world), Ok(true));
    assert_eq!((round(&world), world.inside().sent.len()), (Ok(false), 0));
}

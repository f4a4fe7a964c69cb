//! The books by hand: what each step does to each account, and every rule that can be broken.

use headframe_pipelines::payment::select::{self, Waiting};
use headframe_pipelines::payment::{Account, Books, PaymentConfig, Payout};
use headframe_schemas::stream::instructions::Instruction;
use headframe_schemas::stream::payments::Payment;

fn payout(step: &str, account: Option<&str>, amount: i128, was_mature: bool) -> Payout {
    Payout {
        block: "block".to_owned(),
        step: step.to_owned(),
        account: account.map(str::to_owned),
        amount,
        was_mature,
    }
}

fn credited_and_matured() -> Books {
    let mut books = Books::default();
    books.payouts(&[payout("frozen", None, 1_000, false)]);
    for step in ["credited", "matured"] {
        books.payouts(&[
            payout(step, Some("a"), 700, false),
            payout(step, Some("b"), 290, false),
            payout(step, Some("fee"), 10, false),
        ]);
    }
    books
}

fn payment(step: &str, account: &str, amount: i128) -> Payment {
    Payment {
        event_time: 1_790_000_000_000_000,
        pool: "main".to_owned(),
        payment: "p".to_owned(),
        step: step.to_owned(),
        account: account.to_owned(),
        address: account.to_owned(),
        amount_atomic: amount,
        sent_atomic: amount,
        network_fee_atomic: 0,
        tx_id: None,
        reason: None,
    }
}

fn balances(books: &Books) -> Vec<(String, i128)> {
    books
        .accounts()
        .filter(|(_, balance)| *balance != 0)
        .map(|(account, balance)| (account.to_string(), balance))
        .collect()
}

fn of(pairs: &[(&str, i128)]) -> Vec<(String, i128)> {
    pairs
        .iter()
        .map(|(name, balance)| ((*name).to_owned(), *balance))
        .collect()
}

#[test]
fn a_block_becomes_balances_and_balances_become_payments() {
    let mut books = credited_and_matured();
    assert_eq!(
        balances(&books),
        of(&[
            ("coinbase", -1_000),
            ("fee", 10),
            ("miner:a", 700),
            ("miner:b", 290)
        ])
    );
    books.payment(&[payment("reserved", "a", 700), payment("reserved", "b", 290)]);
    assert_eq!(
        balances(&books),
        of(&[("coinbase", -1_000), ("fee", 10), ("in_transit", 990)])
    );
    // One address is refused; the other bears the network's fee.
    books.payment(&[Payment {
        reason: Some("refused: wrong network".to_owned()),
        ..payment("released", "b", 290)
    }]);
    let sent = |step| Payment {
        sent_atomic: 690,
        network_fee_atomic: 12,
        ..payment(step, "a", 700)
    };
    for step in ["submitting", "submitted", "confirmed"] {
        books.payment(&[sent(step)]);
        books.check().unwrap();
    }
    assert_eq!(
        balances(&books),
        of(&[
            ("coinbase", -1_000),
            ("reserve", -2),
            ("fee", 10),
            ("paid", 690),
            ("network", 12),
            ("miner:b", 290)
        ]),
        "of 12 the miner bore 10, the pool 2"
    );
    let now = 1_790_010_000_000_000;
    let config = PaymentConfig {
        threshold_atomic: 100,
        least_threshold_atomic: 1,
        ..PaymentConfig::default()
    };
    assert!(
        matches!(select::due(&books, &config, "b", now), Err(Waiting::Held(reason)) if reason.contains("wrong network"))
    );
    assert_eq!(select::due(&books, &config, "a", now), Err(Waiting::Empty));
    let resume = Instruction {
        kind: "resume".to_owned(),
        account: Some("b".to_owned()),
        event_time: now,
        ..Instruction::default()
    };
    books.instruction(&resume);
    assert_eq!(select::due(&books, &config, "b", now).unwrap().amount, 290);
}

#[test]
fn what_was_paid_and_then_orphaned_is_owed_back() {
    let mut books = credited_and_matured();
    for step in ["reserved", "submitting", "submitted", "confirmed"] {
        books.payment(&[payment(step, "a", 700)]);
    }
    let rows = [
        payout("reversed", Some("a"), 700, true),
        payout("reversed", Some("b"), 290, true),
        payout("reversed", Some("fee"), 10, true),
    ];
    books.payouts(&rows);
    books.check().unwrap();
    assert_eq!(balances(&books), of(&[("paid", 700), ("miner:a", -700)]));
}

#[test]
fn a_block_that_matured_long_ago_is_still_known() {
    // With a hash, of which less is kept than of the other names here.
    let hash = format!("{:064x}", 7);
    let row = |row: Payout| Payout {
        block: hash.clone(),
        ..row
    };
    let all = |step: &str, mature| {
        [
            payout(step, Some("a"), 990, mature),
            payout(step, Some("fee"), 10, mature),
        ]
        .map(row)
    };
    let matured = || {
        let mut books = Books::default();
        books.payouts(&[row(payout("frozen", None, 1_000, false))]);
        books.payouts(&all("credited", false));
        books.payouts(&all("matured", false));
        books.check().unwrap();
        books
    };
    let rule = |rows: &[Payout]| {
        let mut books = matured();
        books.payouts(rows);
        books.check().map_err(|broken| broken.rule)
    };
    assert_eq!(
        rule(&[row(payout("frozen", None, 1_000, false))]),
        Err("steps"),
        "frozen twice"
    );
    assert_eq!(
        rule(&all("credited", false)),
        Err("reward"),
        "credited twice"
    );
    assert_eq!(rule(&all("matured", false)), Err("reward"), "matured twice");
    let other = Payout {
        block: format!("{:064X}", 0xa),
        ..payout("credited", Some("a"), 1, false)
    };
    assert_eq!(rule(&[other]), Err("reward"), "another block");
    // Reversed, credited and matured again: as if nothing had been.
    let mut books = matured();
    books.payouts(&all("reversed", true));
    assert_eq!(balances(&books), of(&[]));
    books.payouts(&all("credited", false));
    books.payouts(&all("matured", false));
    books.check().unwrap();
    assert_eq!(balances(&books), balances(&matured()));
}

#[test]
fn the_fee_is_booked_out_by_a_word_and_the_ledger_stays_balanced() {
    let mut books = Books::default();
    books.payouts(&[payout("frozen", None, 1_000, false)]);
    for step in ["credited", "matured"] {
        books.payouts(&[
            payout(step, Some("a"), 900, false),
            payout(step, Some("fee"), 100, false),
        ]);
    }
    let word = |account: &str, amount: i128, reason: Option<&str>| Instruction {
        event_time: 5,
        kind: "adjust".to_owned(),
        account: Some(account.to_owned()),
        amount_atomic: Some(amount),
        reason: reason.map(str::to_owned),
        ..Instruction::default()
    };
    books.instruction(&word("fee", -60, None));
    assert_eq!(
        books.balance(&Account::Fee),
        100,
        "without a reason it is void"
    );
    books.instruction(&word("fee", -60, Some("withdrawn")));
    books.check().unwrap();
    assert_eq!(
        (
            books.balance(&Account::Fee),
            books.balance(&Account::Reserve)
        ),
        (40, 60)
    );
    assert_eq!(
        books.balance(&Account::Miner("fee".to_owned())),
        0,
        "the fee is nobody's address"
    );
    // By way of an account it is paid out like anybody's balance.
    books.instruction(&word("fee", -40, Some("to the operator")));
    books.instruction(&word("operators-address", 100, Some("the fee")));
    books.check().unwrap();
    assert_eq!(
        (
            books.balance(&Account::Fee),
            books.balance(&Account::Reserve)
        ),
        (0, 0)
    );
    assert_eq!(
        books.balance(&Account::Miner("operators-address".to_owned())),
        100
    );
    // A block that is orphaned afterwards takes back what was booked out already, and breaks
    // nothing.
    books.payouts(&[
        payout("reversed", Some("a"), 900, true),
        payout("reversed", Some("fee"), 100, true),
    ]);
    books.check().unwrap();
    assert_eq!(books.balance(&Account::Fee), -100);
}

#[test]
fn every_rule_can_be_broken_and_has_a_name() {
    let broken = |books: &Books| books.check().unwrap_err().rule;
    let mut books = Books::default();
    books.payouts(&[
        payout("frozen", None, 1_000, false),
        payout("credited", Some("a"), 1_001, false),
    ]);
    assert_eq!(broken(&books), "reward", "more than the block brought");
    let mut books = credited_and_matured();
    books.payouts(&[payout("credited", Some("a"), 700, false)]);
    assert_eq!(broken(&books), "reward", "credited twice");
    let mut books = Books::default();
    books.payouts(&[
        payout("frozen", None, 1_000, false),
        payout("credited", Some("a"), 999, false),
        payout("matured", Some("a"), 999, false),
    ]);
    assert_eq!(broken(&books), "reward", "somebody was left out");
    let mut books = credited_and_matured();
    books.payment(&[payment("reserved", "a", 701)]);
    assert_eq!(broken(&books), "overdrawn");
    // A reservation may come under review, since later steps of it may be lost with a stream; never
    // go on from there as if it had not.
    let stray = ["reserved", "review", "submitting"];
    for steps in [
        &["submitted"][..],
        &["reserved", "confirmed"],
        &["reserved", "submitted"],
        &["reserved", "reserved"],
        &stray,
    ] {
        let mut books = credited_and_matured();
        steps
            .iter()
            .for_each(|step| books.payment(&[payment(step, "a", 700)]));
        assert_eq!(broken(&books), "steps", "{steps:?}");
    }
    let mut books = credited_and_matured();
    books.payment(&[payment("reserved", "a", 700), payment("reserved", "b", 290)]);
    books.payment(&[payment("submitting", "a", 700)]);
    assert_eq!(broken(&books), "steps", "half of a payment");
}

#[test]
fn an_operators_word_is_about_the_review_that_it_follows() {
    let mut books = credited_and_matured();
    for step in ["reserved", "submitting", "review"] {
        books.payment(&[payment(step, "a", 700)]);
    }
    let review = payment("review", "a", 700).event_time;
    for (event_time, heard) in [(review - 1, false), (review, true), (review + 1, true)] {
        let (kind, verdict) = ("resolve".to_owned(), Some("unpaid".to_owned()));
        let (payment, reason) = (Some("p".to_owned()), Some("looked it up".to_owned()));
        books.instruction(&Instruction {
            event_time,
            kind,
            verdict,
            payment,
            reason,
            ..Instruction::default()
        });
        assert_eq!(
            books.resolution(books.batch("p").unwrap()).is_some(),
            heard,
            "{event_time}"
        );
    }
}

#[test]
fn an_adjustment_is_an_entry_with_a_reason_or_void() {
    let mut books = credited_and_matured();
    let adjust = |amount, reason: Option<&str>| Instruction {
        kind: "adjust".to_owned(),
        account: Some("a".to_owned()),
        amount_atomic: Some(amount),
        reason: reason.map(str::to_owned),
        ..Instruction::default()
    };
    books.instruction(&adjust(5_000, None));
    books.instruction(&adjust(5_000, Some(" ")));
    assert_eq!(books.balance(&Account::Miner("a".to_owned())), 700);
    books.instruction(&adjust(50, Some("a share was lost")));
    books.instruction(&adjust(-800, Some("paid by hand before")));
    assert_eq!(books.balance(&Account::Miner("a".to_owned())), -50);
    assert_eq!(books.balance(&Account::Reserve), 750);
    books.check().unwrap();
}

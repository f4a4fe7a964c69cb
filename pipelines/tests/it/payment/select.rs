//! Whom a transaction takes: not more than the wallet has, not more than it takes, and nobody who
//! must wait.

use std::collections::BTreeMap;

use headframe_pipelines::payment::PaymentConfig;
use headframe_pipelines::payment::select::{self, Candidate};
use headframe_sinks::wallet::AddressCheck;

fn candidates(amounts: &[(&str, i128)]) -> Vec<Candidate> {
    amounts
        .iter()
        .map(|(account, amount)| Candidate {
            account: (*account).to_owned(),
            amount: *amount,
        })
        .collect()
}

/// The names that are chosen; those that begin with `alone` or `refused` are so.
fn chosen(
    amounts: &[(&str, i128)],
    batch_size: usize,
    unlocked: u128,
    max_outputs: usize,
) -> Vec<String> {
    let candidates = candidates(amounts);
    let fitness = |name: &str| match name {
        _ if name.starts_with("alone") => AddressCheck::Alone,
        _ if name.starts_with("refused") => AddressCheck::Refused("no such network".to_owned()),
        _ => AddressCheck::Payable,
    };
    let fitness: BTreeMap<String, AddressCheck> = candidates
        .iter()
        .map(|one| (one.account.clone(), fitness(&one.account)))
        .collect();
    let config = PaymentConfig {
        batch_size,
        ..PaymentConfig::default()
    };
    select::choose(&candidates, &fitness, &config, unlocked, max_outputs)
        .into_iter()
        .map(|one| one.account)
        .collect()
}

#[test]
fn a_transaction_takes_as_many_as_fit_and_not_one_more() {
    let five = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)];
    for (batch_size, max_outputs, count) in
        [(3, 10, 3), (10, 3, 3), (5, 5, 5), (10, 10, 5), (1, 10, 1)]
    {
        assert_eq!(
            chosen(&five, batch_size, 1_000, max_outputs).len(),
            count,
            "batch_size {batch_size}, the wallet takes {max_outputs}"
        );
    }
}

#[test]
fn no_more_is_promised_than_the_wallet_has_and_something_is_left_for_the_fee() {
    let three = [("a", 60), ("b", 50), ("c", 30)];
    assert_eq!(chosen(&three, 10, 141, 10), ["a", "b", "c"]);
    assert_eq!(
        chosen(&three, 10, 140, 10),
        ["a", "b"],
        "nothing would be left for the fee"
    );
    assert_eq!(
        chosen(&three, 10, 100, 10),
        ["a", "c"],
        "who is behind and fits is not kept waiting"
    );
    assert_eq!(chosen(&three, 10, 30, 10), Vec::<String>::new());
}

#[test]
fn some_go_alone_and_some_do_not_go() {
    assert_eq!(
        chosen(&[("a", 5), ("alone-b", 5), ("c", 5)], 10, 100, 10),
        ["a", "c"]
    );
    assert_eq!(
        chosen(&[("alone-a", 5), ("b", 5), ("alone-c", 5)], 10, 100, 10),
        ["alone-a"]
    );
    assert_eq!(chosen(&[("refused-a", 5), ("b", 5)], 10, 100, 10), ["b"]);
    assert_eq!(
        chosen(&[("refused-a", 5)], 10, 100, 10),
        Vec::<String>::new()
    );
}

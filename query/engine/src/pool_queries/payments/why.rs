//! Why a miner has not got all it has coming: codes for programs, sentences for people.

use headframe_query_front::access::Principal;
use headframe_query_front::answers::payments::WhyUnpaid;
use headframe_query_front::reports::Row;
use headframe_schemas::payment::PayerStatus;

/// What the reasons follow from.
pub(super) struct Facts<'a> {
    pub(super) payable: i128,
    pub(super) immature: i128,
    pub(super) threshold: i128,
    pub(super) said: &'a [Row],
    pub(super) list: &'a [Row],
    pub(super) interval_s: u64,
}

/// Why this miner has not got all it has coming: a word a program can read and a sentence, the
/// nearest reason first.
pub(super) fn why(
    facts: &Facts,
    payer: Option<&PayerStatus>,
    miner: &str,
    elsewhere: Vec<String>,
    principal: &Principal,
) -> Vec<WhyUnpaid> {
    let mut reasons: Vec<(&str, String)> = elsewhere
        .into_iter()
        .map(|text| ("other_pool", text))
        .collect();
    reasons.extend(in_transit(facts));
    reasons.extend(held(facts));
    if facts.payable > 0 {
        reasons.extend(payable(facts, payer, miner));
    }
    if facts.immature > 0 {
        reasons.push((
            "immature",
            format!(
                "{} atomic units are of blocks that cannot be spent yet",
                facts.immature
            ),
        ));
    }
    if reasons.is_empty() {
        reasons.push(("nothing", "there is nothing to pay".to_owned()));
    }
    let shown = |code, text| {
        if !principal.is_reader() {
            text_for_anonymous(code).map_or(text, str::to_owned)
        } else {
            text
        }
    };
    reasons
        .into_iter()
        .map(|(code, text)| WhyUnpaid {
            code: code.to_owned(),
            text: shown(code, text),
        })
        .collect()
}

/// Payments that are under way or wait for an operator.
fn in_transit(facts: &Facts) -> Vec<(&'static str, String)> {
    let mut reasons = Vec::new();
    for row in facts.list {
        let (step, payment) = (
            row["step"].as_str().unwrap_or_default(),
            row["payment"].as_str().unwrap_or_default(),
        );
        let text = match step {
            "reserved" => "is about to be sent",
            "submitting" => {
                "is being sent; until the wallet's history shows it, nothing is sent again"
            }
            "submitted" => "is sent and waits for confirmations",
            "review" => "waits for an operator, because it is not known whether it was sent",
            _ => continue,
        };
        reasons.push((
            if step == "review" {
                "review"
            } else {
                "in_transit"
            },
            format!("payment {payment} {text}"),
        ));
    }
    reasons
}

/// The newest orders of an operator that hold payments back: all of them, and this account's.
fn held(facts: &Facts) -> Vec<(&'static str, String)> {
    let mut reasons = Vec::new();
    let last = |account: bool| {
        facts
            .said
            .iter()
            .rfind(|row| row["account"].is_string() == account && row["kind"] != "threshold")
    };
    for row in [last(false), last(true)]
        .into_iter()
        .flatten()
        .filter(|row| row["kind"] == "hold")
    {
        let whom = if row["account"].is_string() {
            "payments to this account are"
        } else {
            "all payments are"
        };
        reasons.push((
            "held",
            format!(
                "{whom} held by an operator: {}",
                row["reason"].as_str().unwrap_or_default()
            ),
        ));
    }
    reasons
}

/// What a stranger reads instead of the reason's own text; nothing where that tells only of the
/// miner itself.
fn text_for_anonymous(code: &str) -> Option<&'static str> {
    Some(match code {
        "in_transit" | "review" | "below_threshold" | "immature" | "due" | "dry_run"
        | "unknown" | "nothing" => return None,
        "held" => "payments are held by the pool's operator",
        "released" => "the last payment was taken back, and its amount is on the balance again",
        "refused" => "the pool's wallet refuses the address",
        "stopped" => "the pool's payments are stopped until its operator has decided",
        "wallet_locked" => "the pool's wallet is locked",
        "wallet_unsynced" => "the pool's wallet or its daemon is not synchronised",
        "wallet_short" => "the pool's wallet does not hold enough for everybody",
        "waiting" => "the pool's payments wait",
        "other_pool" => "another pool of the same operator owes it something",
        _ => "the pool's operator knows more",
    })
}

fn payable(facts: &Facts, payer: Option<&PayerStatus>, miner: &str) -> Vec<(&'static str, String)> {
    let mut reasons = Vec::new();
    if facts.payable < facts.threshold {
        let missing = facts.threshold - facts.payable;
        reasons.push((
            "below_threshold",
            format!(
                "the balance is {missing} atomic units below the threshold of {}",
                facts.threshold
            ),
        ));
    }
    let released = facts.list.first().filter(|row| row["step"] == "released");
    if let Some(reason) = released.and_then(|row| row["reason"].as_str()) {
        reasons.push((
            "released",
            format!("the last payment was taken back: {reason}"),
        ));
    }
    let Some(payer) = payer else {
        reasons.push((
            "unknown",
            "the payer runs in another process; its /ready and /metrics tell how it is".to_owned(),
        ));
        return reasons;
    };
    if let Some(stopped) = &payer.stopped {
        reasons.push(("stopped", stopped.to_string()));
    }
    if let Some((_, why)) = payer.refused.iter().find(|(account, _)| account == miner) {
        reasons.push(("refused", format!("the wallet refuses the address: {why}")));
    }
    if let Some(waiting) = &payer.waiting {
        reasons.push((waiting.cause.as_str(), waiting.reason.clone()));
    }
    if let Some(shortage) = payer.wallet_balance.and_then(|balance| balance.shortage()) {
        reasons.push(("wallet_short", shortage));
    }
    if payer.dry_run {
        reasons.push(("dry_run", "payments are only named, not made".to_owned()));
    }
    if reasons.is_empty() {
        let text = match payer.due.iter().any(|(account, _)| account == miner) {
            true => "it is paid with one of the next transactions".to_owned(),
            false => format!(
                "it was paid within the last {} s, or becomes due with the next look",
                facts.interval_s
            ),
        };
        reasons.push(("due", text));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use headframe_schemas::payment::{Stopped, WaitCause, Waiting, WalletBalance};

    #[test]
    fn a_wallet_that_is_short_is_a_reason() {
        let facts = Facts {
            payable: 10,
            immature: 0,
            threshold: 5,
            said: &[],
            list: &[],
            interval_s: 60,
        };
        let codes = |total: u128| -> Vec<String> {
            let wallet_balance = Some(WalletBalance {
                unlocked: 0,
                total,
                owed: 10,
            });
            let payer = PayerStatus {
                wallet_balance,
                due: vec![("a".to_owned(), 10)],
                ..PayerStatus::default()
            };
            let reasons = why(&facts, Some(&payer), "a", Vec::new(), &Principal::reader());
            reasons.into_iter().map(|reason| reason.code).collect()
        };
        assert_eq!(codes(10), ["due"]);
        assert_eq!(codes(5), ["wallet_short"]);
    }

    #[test]
    fn a_stranger_gets_codes_and_no_words_of_the_operators_or_the_wallets() {
        let row = |value: Value| value.as_object().cloned().unwrap_or_default();
        let said = [row(
            json!({"kind": "hold", "account": null, "reason": "SECRET"}),
        )];
        let list = [row(
            json!({"step": "released", "payment": "p1", "reason": "SECRET"}),
        )];
        let facts = Facts {
            payable: 3,
            immature: 2,
            threshold: 5,
            said: &said,
            list: &list,
            interval_s: 60,
        };
        let secret = || "SECRET".to_owned();
        let mut payer = PayerStatus {
            stopped: Some(Stopped {
                rule: "reward",
                reason: secret(),
            }),
            refused: vec![("a".to_owned(), secret())],
            wallet_balance: Some(WalletBalance {
                unlocked: 0,
                total: 31_337,
                owed: 98_765,
            }),
            ..PayerStatus::default()
        };
        for (cause, code) in [
            (WaitCause::Other, "waiting"),
            (WaitCause::WalletLocked, "wallet_locked"),
            (WaitCause::WalletUnsynced, "wallet_unsynced"),
        ] {
            payer.waiting = Some(Waiting {
                cause,
                reason: secret(),
            });
            let ask = |principal: Principal| {
                why(
                    &facts,
                    Some(&payer),
                    "a",
                    vec!["SECRET".to_owned()],
                    &principal,
                )
            };
            let codes = |reasons: &[WhyUnpaid]| {
                reasons
                    .iter()
                    .map(|reason| reason.code.clone())
                    .collect::<Vec<_>>()
            };
            let (stranger, reader) = (ask(Principal::anonymous()), ask(Principal::reader()));
            let all = [
                "other_pool",
                "held",
                "below_threshold",
                "released",
                "stopped",
                "refused",
                code,
                "wallet_short",
                "immature",
            ];
            assert_eq!(codes(&stranger), all);
            assert_eq!(codes(&reader), all);
            let text = json!(reader).to_string();
            assert_eq!(text.matches("SECRET").count(), 6);
            assert!(text.contains("31337") && text.contains("98765"), "{text}");
            for word in ["SECRET", "31337", "98765", "reward:"] {
                assert!(!json!(stranger).to_string().contains(word), "{stranger:?}");
            }
            assert_eq!(
                stranger[2].text, reader[2].text,
                "what tells of the miner alone"
            );
        }
    }
}

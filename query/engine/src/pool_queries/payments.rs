//! Payments: what a miner has coming, what it got, and why it has not got the rest yet; and the
//! ledger as it is.

use serde_json::{Value, json};

use crate::pool_queries::rows;
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::access::Principal;
use headframe_query_front::reports::Row;
use headframe_schemas::payment::{PayerStatus, PaymentRules};

/// Rows of payments: one a payment and destination, with its last step.
fn payments_sql(condition: &str) -> String {
    format!(
        "SELECT payment, account, address, last_value(step ORDER BY seq) AS step, min(event_time) AS reserved_at, max(event_time) AS updated_at, \
           CAST(last_value(amount_atomic ORDER BY seq) AS VARCHAR) AS amount_atomic, CAST(last_value(sent_atomic ORDER BY seq) AS VARCHAR) AS sent_atomic, \
           CAST(last_value(network_fee_atomic ORDER BY seq) AS VARCHAR) AS network_fee_atomic, last_value(tx_id ORDER BY seq) AS tx_id, \
           last_value(reason ORDER BY seq) AS reason, max(seq) AS cursor \
         FROM payments WHERE {condition} GROUP BY payment, account, address ORDER BY cursor DESC, account"
    )
}

/// The newest payments, of one step if wanted.
pub async fn list(
    service: &QueryService,
    pool: &str,
    step: Option<&str>,
    limit: usize,
) -> Result<Value, QueryError> {
    let sql = format!(
        "SELECT * FROM ({}) WHERE $2 IS NULL OR step = $2 ORDER BY cursor DESC, account LIMIT {limit}",
        payments_sql("pool = $1")
    );
    Ok(json!({"pool": pool, "payments": rows(service, sql, json!([pool, step])).await?}))
}

/// The newest entries of the ledger, of one account if wanted.
pub async fn ledger(
    service: &QueryService,
    pool: &str,
    account: Option<&str>,
    limit: usize,
) -> Result<Value, QueryError> {
    let sql = format!(
        "SELECT entry_time, debit_account, credit_account, CAST(amount_atomic AS VARCHAR) AS amount_atomic, cause_kind, cause, reason \
         FROM ledger WHERE pool = $1 AND ($2 IS NULL OR debit_account = $2 OR credit_account = $2) \
         ORDER BY entry_time DESC, debit_account, credit_account LIMIT {limit}"
    );
    let entries = rows(service, sql, json!([pool, account])).await?;
    let sql = "SELECT account, CAST(balance_atomic AS VARCHAR) AS balance_atomic FROM balances \
               WHERE pool = $1 AND ($2 IS NULL OR account = $2) AND ($2 IS NOT NULL OR account NOT LIKE '%:%' OR account = 'immature:fee') ORDER BY account";
    let balances = rows(service, sql.to_owned(), json!([pool, account])).await?;
    Ok(json!({"pool": pool, "balances": balances, "entries": entries}))
}

/// One miner: balances, payments, and the reasons why the rest is not paid. A stranger gets no
/// words of the operator's or the wallet's.
pub async fn miner(
    service: &QueryService,
    rules: &PaymentRules,
    payer: Option<&PayerStatus>,
    miner: &str,
    limit: usize,
    principal: Principal,
) -> Result<Value, QueryError> {
    let pool = &rules.pool;
    let sql = "SELECT account, CAST(balance_atomic AS VARCHAR) AS balance_atomic FROM balances WHERE pool = $1 AND account IN ($2, $3)";
    let found = rows(
        service,
        sql.to_owned(),
        json!([pool, format!("miner:{miner}"), format!("immature:{miner}")]),
    )
    .await?;
    let balance = |kind: &str| -> i128 {
        let row = found.iter().find(|row| {
            row["account"]
                .as_str()
                .is_some_and(|name| name.starts_with(kind))
        });
        row.and_then(|row| row["balance_atomic"].as_str()?.parse().ok())
            .unwrap_or_default()
    };
    let mut list = rows(
        service,
        format!(
            "{} LIMIT {limit}",
            payments_sql("pool = $1 AND account = $2")
        ),
        json!([pool, miner]),
    )
    .await?;
    let sql = "SELECT kind, account, CAST(amount_atomic AS VARCHAR) AS amount_atomic, reason, event_time FROM instructions \
               WHERE pool = $1 AND (account = $2 OR account IS NULL) AND kind IN ('threshold', 'hold', 'resume') ORDER BY seq, \"row\"";
    let said = rows(service, sql.to_owned(), json!([pool, miner])).await?;
    let own = said
        .iter()
        .rfind(|row| row["kind"] == "threshold")
        .and_then(|row| row["amount_atomic"].as_str()?.parse::<i128>().ok());
    let threshold = rules.threshold(own);
    let sql = "SELECT CAST(sum(sent_atomic) AS VARCHAR) AS paid FROM payments WHERE pool = $1 AND account = $2 AND step = 'confirmed'";
    let paid = rows(service, sql.to_owned(), json!([pool, miner]))
        .await?
        .pop();
    let facts = Facts {
        payable: balance("miner:"),
        immature: balance("immature:"),
        threshold,
        said: &said,
        list: &list,
        interval_s: rules.interval_s,
    };
    // Only who has nothing here is looked for elsewhere.
    let elsewhere = match (found.is_empty(), list.is_empty()) {
        (true, true) => elsewhere(service, pool, miner).await?,
        _ => Vec::new(),
    };
    let why = why(&facts, payer, miner, elsewhere, principal);
    let (payable, immature) = (facts.payable, facts.immature);
    if principal == Principal::Anonymous {
        for row in &mut list {
            row.insert("reason".to_owned(), Value::Null);
        }
    }
    Ok(json!({
        "pool": pool,
        "miner": miner,
        "balance_atomic": payable.to_string(),
        "immature_atomic": immature.to_string(),
        "threshold_atomic": threshold.to_string(),
        "paid_atomic": paid.and_then(|row| row["paid"].as_str().map(str::to_owned)).unwrap_or_else(|| "0".to_owned()),
        "why": why,
        "payments": list,
    }))
}

/// What an account holds now, atomic units; nothing when it was never used.
pub async fn balance(
    service: &QueryService,
    pool: &str,
    account: &str,
) -> Result<Option<i128>, QueryError> {
    let sql = "SELECT CAST(balance_atomic AS VARCHAR) AS balance FROM balances WHERE pool = $1 AND account = $2";
    let found = rows(service, sql.to_owned(), json!([pool, account])).await?;
    Ok(found
        .first()
        .and_then(|row| row["balance"].as_str()?.parse().ok()))
}

/// Whether the ledger has an account of this miner's.
pub async fn known(service: &QueryService, pool: &str, miner: &str) -> Result<bool, QueryError> {
    let sql = "SELECT 1 AS n FROM balances WHERE pool = $1 AND account IN ($2, $3) LIMIT 1";
    let names = json!([pool, format!("miner:{miner}"), format!("immature:{miner}")]);
    Ok(!rows(service, sql.to_owned(), names).await?.is_empty())
}

/// The steps that the destinations of a payment are in, each once; none when there is no such
/// payment.
pub async fn steps(
    service: &QueryService,
    pool: &str,
    payment: &str,
) -> Result<Vec<String>, QueryError> {
    let sql = format!(
        "SELECT DISTINCT step FROM ({}) ORDER BY step",
        payments_sql("pool = $1 AND payment = $2")
    );
    let found = rows(service, sql, json!([pool, payment])).await?;
    Ok(found
        .iter()
        .filter_map(|row| row["step"].as_str().map(str::to_owned))
        .collect())
}

/// The adjustments of an account since a time, microseconds since 1970: the time of each and what
/// the account gained, atomic units.
pub async fn adjusted(
    service: &QueryService,
    pool: &str,
    account: &str,
    since: i64,
) -> Result<Vec<(i64, i128)>, QueryError> {
    let sql = "SELECT CAST(event_time AS BIGINT) AS at, CAST(amount_atomic AS VARCHAR) AS amount FROM instructions \
               WHERE pool = $1 AND account = $2 AND kind = 'adjust' AND CAST(event_time AS BIGINT) >= $3";
    let found = rows(service, sql.to_owned(), json!([pool, account, since])).await?;
    Ok(found
        .iter()
        .filter_map(|row| Some((row["at"].as_i64()?, row["amount"].as_str()?.parse().ok()?)))
        .collect())
}

/// What other pools' ledgers owe this miner, in words.
async fn elsewhere(
    service: &QueryService,
    pool: &str,
    miner: &str,
) -> Result<Vec<String>, QueryError> {
    let sql = "SELECT pool, CAST(sum(balance_atomic) AS VARCHAR) AS owed FROM balances \
               WHERE pool <> $1 AND account IN ($2, $3) GROUP BY pool HAVING sum(balance_atomic) > 0 ORDER BY pool";
    let found = rows(
        service,
        sql.to_owned(),
        json!([pool, format!("miner:{miner}"), format!("immature:{miner}")]),
    )
    .await?;
    let text = |row: &Row| {
        let (other, owed) = (
            row["pool"].as_str().unwrap_or_default(),
            row["owed"].as_str().unwrap_or_default(),
        );
        format!(
            "pool {other} owes it {owed} atomic units, and here only pool {pool} is paid for; is payments.pool right?"
        )
    };
    Ok(found.iter().map(text).collect())
}

/// Whether this signature was taken before; a second time it would be somebody's repetition.
pub async fn used(service: &QueryService, proof: &str) -> Result<bool, QueryError> {
    let sql = "SELECT 1 AS n FROM instructions WHERE proof = $1 LIMIT 1";
    Ok(!rows(service, sql.to_owned(), json!([proof]))
        .await?
        .is_empty())
}

/// What the reasons follow from.
struct Facts<'a> {
    payable: i128,
    immature: i128,
    threshold: i128,
    said: &'a [Row],
    list: &'a [Row],
    interval_s: u64,
}

/// Why this miner has not got all it has coming: a word a program can read and a sentence, the
/// nearest reason first.
fn why(
    facts: &Facts,
    payer: Option<&PayerStatus>,
    miner: &str,
    elsewhere: Vec<String>,
    principal: Principal,
) -> Vec<Value> {
    let mut reasons: Vec<(&str, String)> = elsewhere
        .into_iter()
        .map(|text| ("other_pool", text))
        .collect();
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
    let told = |code, text| {
        if principal == Principal::Anonymous {
            text_for_anonymous(code).map_or(text, str::to_owned)
        } else {
            text
        }
    };
    reasons
        .into_iter()
        .map(|(code, text)| json!({"code": code, "text": told(code, text)}))
        .collect()
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
            let reasons = why(&facts, Some(&payer), "a", Vec::new(), Principal::Reader);
            reasons
                .iter()
                .filter_map(|reason| reason["code"].as_str().map(str::to_owned))
                .collect()
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
            let ask = |principal| {
                why(
                    &facts,
                    Some(&payer),
                    "a",
                    vec!["SECRET".to_owned()],
                    principal,
                )
            };
            let codes = |reasons: &[Value]| {
                reasons
                    .iter()
                    .map(|reason| reason["code"].clone())
                    .collect::<Vec<_>>()
            };
            let (stranger, reader) = (ask(Principal::Anonymous), ask(Principal::Reader));
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
            let told = json!(reader).to_string();
            assert_eq!(told.matches("SECRET").count(), 6);
            assert!(told.contains("31337") && told.contains("98765"), "{told}");
            for word in ["SECRET", "31337", "98765", "reward:"] {
                assert!(!json!(stranger).to_string().contains(word), "{stranger:?}");
            }
            assert_eq!(
                stranger[2]["text"], reader[2]["text"],
                "what tells of the miner alone"
            );
        }
    }
}

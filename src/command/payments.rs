//! `headframe payments`: what a running pool pays, why somebody is not paid, and an operator's
//! instructions.

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};

use super::Command;
use super::api_client::ApiClient;

/// See what a running pool pays and why, and instruct it.
#[derive(Debug, clap::Parser)]
#[command(name = "payments")]
pub struct Payments {
    #[command(flatten)]
    client: ApiClient,
    /// What to do.
    #[command(subcommand)]
    action: Action,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// The newest payments, each with its last step.
    List {
        /// Only those at this step: reserved, submitting, submitted, confirmed, released or review.
        #[arg(long)]
        step: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Pay nothing to an account, or to nobody when none is named, until resume.
    Hold {
        /// The miner's address.
        account: Option<String>,
        /// Why; it is published.
        #[arg(long)]
        reason: String,
    },
    /// Pay again.
    Resume {
        /// The miner's address; everybody when absent.
        account: Option<String>,
        /// Why; it is published.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Move money between the pool's reserve and an account: a miner's, or the pool's fee to book
    /// it out.
    Adjust {
        /// The miner's address, or fee.
        account: String,
        /// What the account gains, atomic units; negative when it loses.
        #[arg(allow_hyphen_values = true)]
        amount_atomic: i128,
        /// Why; it is published.
        #[arg(long)]
        reason: String,
    },
    /// Set the least amount worth a payment to an account.
    Threshold {
        /// The miner's address.
        account: String,
        /// Atomic units; 0 for the pool's own.
        amount_atomic: u64,
    },
    /// End the review of a payment, once the wallet and the chain were looked at: what is called
    /// unpaid is paid again.
    Resolve {
        /// The payment.
        payment: String,
        /// paid or unpaid.
        verdict: String,
        /// The transaction, when it is paid.
        #[arg(long)]
        tx_id: Option<String>,
        /// What was found; it is published.
        #[arg(long)]
        reason: String,
    },
    /// What would be paid now, and what stands in the way.
    DryRun,
    /// Why this miner has not got its money yet.
    Why {
        /// The miner's address.
        account: String,
    },
}

impl Command for Payments {
    async fn run(self) -> anyhow::Result<()> {
        let Payments { client, action } = self;
        let order = |kind: &str, mut rest: Value| {
            rest["kind"] = json!(kind);
            rest
        };
        match action {
            Action::List { step, limit } => list(&client, step.as_deref(), limit).await,
            Action::DryRun => dry_run(&client).await,
            Action::Why { account } => why(&client, &account).await,
            Action::Hold { account, reason } => {
                send(
                    &client,
                    order("hold", json!({"account": account, "reason": reason})),
                )
                .await
            }
            Action::Resume { account, reason } => {
                send(
                    &client,
                    order("resume", json!({"account": account, "reason": reason})),
                )
                .await
            }
            Action::Adjust {
                account,
                amount_atomic,
                reason,
            } => {
                let rest = json!({"account": account, "amount_atomic": amount_atomic.to_string(),
                    "reason": reason});
                send(&client, order("adjust", rest)).await
            }
            Action::Threshold {
                account,
                amount_atomic,
            } => {
                send(
                    &client,
                    order(
                        "threshold",
                        json!({"account": account, "amount_atomic": amount_atomic.to_string()}),
                    ),
                )
                .await
            }
            Action::Resolve {
                payment,
                verdict,
                tx_id,
                reason,
            } => {
                let rest = json!({"payment": payment, "verdict": verdict, "tx_id": tx_id,
                        "reason": reason});
                send(&client, order("resolve", rest)).await
            }
        }
    }
}

async fn send(client: &ApiClient, request: Value) -> anyhow::Result<()> {
    let answer = client
        .send_json(client.post("/api/v1/payments/instructions")?.json(&request))
        .await?;
    println!("written; it holds as soon as the payer has read it, within seconds");
    if let Some(note) = answer["note"].as_str() {
        println!("note: {note}");
    }
    Ok(())
}

async fn list(client: &ApiClient, step: Option<&str>, limit: usize) -> anyhow::Result<()> {
    let step = step.map(|step| format!("&step={step}")).unwrap_or_default();
    let answer = client
        .send_json(client.get(&format!("/api/v1/payments?limit={limit}{step}"))?)
        .await?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    for row in answer["payments"].as_array().into_iter().flatten() {
        let keys = [
            "updated_at",
            "payment",
            "step",
            "amount_atomic",
            "network_fee_atomic",
            "account",
            "tx_id",
            "reason",
        ];
        println!("{}", keys.map(|key| text(row, key)).join("  "));
    }
    Ok(())
}

async fn dry_run(client: &ApiClient) -> anyhow::Result<()> {
    let state = client
        .send_json(client.get("/api/v1/payments/state")?)
        .await?;
    for row in state["due"].as_array().into_iter().flatten() {
        println!(
            "{}  {}",
            row["amount_atomic"].as_str().unwrap_or_default(),
            row["account"].as_str().unwrap_or_default()
        );
    }
    for kind in ["refused", "held"] {
        for row in state[kind].as_array().into_iter().flatten() {
            println!(
                "{kind}  {}: {}",
                row["account"].as_str().unwrap_or_default(),
                row["reason"].as_str().unwrap_or_default()
            );
        }
    }
    if let Some(wallet) = state["wallet"].as_object() {
        let figure = |key: &str| {
            wallet
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let [total, unlocked, owed] =
            ["total_atomic", "unlocked_atomic", "owed_atomic"].map(figure);
        println!(
            "the wallet holds {total} atomic units, {unlocked} of them unlocked; the ledger owes \
             {owed}"
        );
        if let Some(shortage) = wallet.get("shortage").and_then(Value::as_str) {
            println!("short: {shortage}");
        }
    }
    if let Some(why) = state["waiting"].as_str() {
        println!("waiting: {why}");
    }
    match state["stopped"].as_str() {
        Some(why) => bail!("payments stopped: {why}"),
        None => Ok(()),
    }
}

async fn why(client: &ApiClient, account: &str) -> anyhow::Result<()> {
    let answer = client
        .send_json(client.get(&format!("/api/v1/miners/{account}/payments"))?)
        .await?;
    for key in [
        "balance_atomic",
        "immature_atomic",
        "threshold_atomic",
        "paid_atomic",
    ] {
        println!("{key:<18}{}", answer[key].as_str().unwrap_or_default());
    }
    for reason in answer["why"].as_array().into_iter().flatten() {
        println!(
            "{}: {}",
            reason["code"].as_str().unwrap_or_default(),
            reason["text"].as_str().unwrap_or_default()
        );
    }
    Ok(())
}

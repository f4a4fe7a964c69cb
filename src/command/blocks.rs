//! `headframe blocks`: blocks of a running pool that nothing proves to be its own, and what an
//! operator decides about them.

use anyhow::Context;

use super::Command;
use super::api_client::ApiClient;
use crate::service::unproven_blocks::{Order, PATH, Word};

/// List, confirm and reject blocks that nothing proves to be the pool's.
#[derive(Debug, clap::Parser)]
#[command(name = "blocks")]
pub struct Blocks {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ApiClient,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Every block that waits for a word.
    List,
    /// It is this pool's: miners are paid for it.
    Confirm {
        /// The block's hash.
        hash: String,
    },
    /// It is not: nobody is ever paid for it.
    Reject {
        /// The block's hash.
        hash: String,
    },
}

impl Command for Blocks {
    async fn run(self) -> anyhow::Result<()> {
        let Blocks { action, client } = self;
        let (hash, verdict) = match action {
            Action::List => return list(&client).await,
            Action::Confirm { hash } => (hash, Word::Confirm),
            Action::Reject { hash } => (hash, Word::Reject),
        };
        let done = match verdict {
            Word::Confirm => "confirmed",
            Word::Reject => "rejected",
        };
        let order = Order { hash, verdict };
        client.send_json(client.post(PATH)?.json(&order)).await?;
        println!("{done}: {}", order.hash);
        Ok(())
    }
}

async fn list(client: &ApiClient) -> anyhow::Result<()> {
    let answer = client.send_json(client.get(PATH)?).await?;
    let all = answer["blocks"]
        .as_array()
        .context("the answer lists no blocks; is that a pool of this version?")?;
    for block in all {
        let text = |key: &str| block[key].as_str().unwrap_or("unknown").to_owned();
        println!(
            "{}\theight {}\treward {} atomic units",
            text("hash"),
            block["height"],
            text("reward_atomic")
        );
    }
    println!("{} unproven", all.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_travels_as_one_word() {
        let order = Order {
            hash: "ab".to_owned(),
            verdict: Word::Reject,
        };
        let sent = serde_json::to_value(&order).unwrap_or_default();
        assert_eq!(sent, serde_json::json!({"hash": "ab", "verdict": "reject"}));
    }
}

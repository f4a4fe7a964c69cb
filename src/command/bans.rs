//! `headframe bans`: who is kept out of a running pool, and what an operator may do about it.

use anyhow::Context;
use serde_json::Value;

use super::Command;
use super::api_client::{ApiClient, ServerError};
use crate::service::bans::{BanRequest, BanSubject, NO_SUCH_BAN, PATH};

/// List, make and lift bans of a running pool.
#[derive(Debug, clap::Parser)]
#[command(name = "bans")]
pub struct Bans {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ApiClient,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Every ban in force, those that end first in front.
    List,
    /// Keep somebody out.
    Add(BanRequest),
    /// Let somebody in again.
    Lift(BanSubject),
}

impl Command for Bans {
    async fn run(self) -> anyhow::Result<()> {
        let Bans { action, client } = self;
        match action {
            Action::List => {
                let answer = client.send_json(client.get(PATH)?).await?;
                let all = answer["bans"]
                    .as_array()
                    .context("the answer lists no bans; is that a pool of this version?")?;
                for ban in all {
                    println!("{}", ban_line(ban));
                }
                println!("{} in force", all.len());
            }
            Action::Add(request) => println!(
                "banned: {}",
                ban_line(&client.send_json(client.post(PATH)?.json(&request)).await?)
            ),
            Action::Lift(subject) => {
                let lifted = client
                    .send_json(client.delete(PATH)?.query(&subject))
                    .await
                    .map_err(hint_with_flags)?;
                println!("lifted: {}", ban_line(&lifted));
            }
        }
        Ok(())
    }
}

/// The server hints with parameters of a path; here they are flags.
fn hint_with_flags(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<ServerError>() {
        Ok(refused) if refused.message == NO_SUCH_BAN => {
            let hint = "name the ban as `headframe bans list` shows it: its address, and --wallet \
                        and --worker for one miner";
            ServerError {
                hint: Some(hint.to_owned()),
                ..refused
            }
            .into()
        }
        Ok(refused) => refused.into(),
        Err(error) => error,
    }
}

/// One ban a line: whom, since, until, why.
fn ban_line(ban: &Value) -> String {
    let text = |key: &str| ban[key].as_str().unwrap_or_default();
    let subject = match ban["wallet"].as_str() {
        Some(wallet) => format!("{} at {} of {wallet}", text("worker"), text("address")),
        None => text("address").to_owned(),
    };
    let until = ban["until_ms"].as_u64().map_or_else(
        || "until lifted".to_owned(),
        |until| format!("for {}", time_left(until)),
    );
    let hand = if ban["manual"] == Value::Bool(true) {
        "by hand"
    } else {
        "by the pool"
    };
    format!("{subject}\t{until}\t{hand}\t{}", text("reason"))
}

/// What is left until a time, in milliseconds since 1970.
fn time_left(until_ms: u64) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = until_ms
        .saturating_sub(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
        .div_ceil(1000);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

//! `headframe bans`: who is kept out of a running pool, and a word of the operator's about it.

use anyhow::Context;
use serde_json::Value;

use crate::remote::{Refused, Remote};
use crate::system::bans::{NO_SUCH_BAN, Order, PATH, Whom};

/// What to do with the bans of a running pool.
#[derive(Debug, clap::Args)]
pub struct Bans {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Every ban in force, those that end first in front.
    List,
    /// Keep somebody out.
    Add(Order),
    /// Let somebody in again.
    Lift(Whom),
}

/// Asks the pool and prints its answer.
pub async fn run(bans: Bans) -> anyhow::Result<()> {
    let Bans { action, remote } = bans;
    match action {
        Action::List => {
            let answer = remote.send(remote.get(PATH)?).await?;
            let all = answer["bans"]
                .as_array()
                .context("the answer lists no bans; is that a pool of this version?")?;
            for ban in all {
                println!("{}", line(ban));
            }
            println!("{} in force", all.len());
        }
        Action::Add(order) => println!(
            "banned: {}",
            line(&remote.send(remote.post(PATH)?.json(&order)).await?)
        ),
        Action::Lift(whom) => {
            let lifted = remote
                .send(remote.delete(PATH)?.query(&whom))
                .await
                .map_err(by_flags)?;
            println!("lifted: {}", line(&lifted));
        }
    }
    Ok(())
}

/// The server hints with parameters of a path; here they are flags.
fn by_flags(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Refused>() {
        Ok(refused) if refused.message == NO_SUCH_BAN => {
            let hint = "name the ban as `headframe bans list` shows it: its address, and --wallet and --worker for one miner";
            Refused {
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
fn line(ban: &Value) -> String {
    let text = |key: &str| ban[key].as_str().unwrap_or_default();
    let whom = match ban["wallet"].as_str() {
        Some(wallet) => format!("{} at {} of {wallet}", text("worker"), text("address")),
        None => text("address").to_owned(),
    };
    let until = ban["until_ms"].as_u64().map_or_else(
        || "until lifted".to_owned(),
        |until| format!("for {}", left(until)),
    );
    let hand = if ban["manual"] == Value::Bool(true) {
        "by hand"
    } else {
        "by the pool"
    };
    format!("{whom}\t{until}\t{hand}\t{}", text("reason"))
}

/// What is left until a time, in milliseconds since 1970.
fn left(until_ms: u64) -> String {
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

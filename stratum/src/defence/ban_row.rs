//! The row of a ban in the stream `bans`, with addresses in the form that rows show.

use headframe_schemas::stream::bans::Ban as BanRow;

use super::bans::{Ban, BanTarget};
use super::privacy::Privacy;
use crate::best_effort::{BestEffortRow, within_row};
use crate::clock::unix_time_us;

/// The row of a ban, or of its end.
pub(super) fn row(pool: &str, privacy: &Privacy, ban: &Ban, action: &str) -> BestEffortRow {
    let (ip, worker_id) = match &ban.subject {
        BanTarget::Session(worker_id) => (privacy.origin(worker_id.origin), Some(worker_id)),
        BanTarget::Address(origin) => (privacy.origin(*origin), None),
        BanTarget::Network(network) => (privacy.network(network), None),
    };
    BestEffortRow::Ban(Box::new(BanRow {
        event_time: unix_time_us(),
        pool: pool.to_owned(),
        action: action.to_owned(),
        kind: ban.subject.as_str().to_owned(),
        ip,
        miner: worker_id.map(|worker_id| worker_id.wallet.clone()),
        worker: worker_id.map(|worker_id| worker_id.worker.clone()),
        reason: within_row(&ban.reason).to_owned(),
        score: i64::from(ban.score),
        until: ban
            .until_ms
            .and_then(|until_ms| i64::try_from(until_ms.saturating_mul(1000)).ok()),
        source: if ban.manual { "manual" } else { "automatic" }.to_owned(),
        times: i64::from(ban.times),
    }))
}

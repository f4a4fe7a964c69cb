//! A login on its way: what is known of it when it is refused, and the traces that a refusal leaves
//! in `/metrics`, the log and the stream `sessions`.

use headframe_schemas::stream::sessions::Session as SessionRow;
use std::net::IpAddr;

use super::Defence;
use super::addresses::ClientAddress;
use super::refusal::Refusal;
use crate::best_effort::{BestEffortRow, within_row};
use crate::clock::unix_time_us;
use crate::protocol::login::Login;

/// Bytes of a stranger's wallet text that a line of the log shows.
const LOGGED_WALLET_BYTES: usize = 128;

/// A connection that wants to log in.
#[derive(Debug, Clone)]
pub(crate) struct LoginAttempt {
    /// The miner's address, once a balancer before the pool has told it.
    pub(crate) address: IpAddr,
    /// Wallet, worker and program, once the login was read.
    miner: String,
    worker: String,
    agent: String,
}

impl LoginAttempt {
    /// A connection that has said nothing yet.
    pub(crate) fn new(address: IpAddr) -> Self {
        Self {
            address: address.to_canonical(),
            miner: String::new(),
            worker: String::new(),
            agent: String::new(),
        }
    }

    /// The login was read.
    pub(crate) fn note_login(&mut self, login: &Login) {
        self.miner = within_row(&login.address).to_owned();
        self.worker.clone_from(&login.worker);
        self.agent = within_row(&login.agent).to_owned();
    }
}

/// Counts a login that was answered with a job.
pub(crate) fn count_accepted() {
    count("accepted", "none");
}

fn count(result: &'static str, reason: &'static str) {
    metrics::counter!("headframe_stratum_logins_total", "result" => result, "reason" => reason)
        .increment(1);
}

impl Defence {
    /// A login was refused: counts it, and writes a row and a line within their budgets.
    pub(crate) fn login_refused(&self, attempt: &LoginAttempt, refusal: Refusal, message: &str) {
        count("refused", refusal.as_str());
        let now_ms = self.now_ms();
        let client = ClientAddress::new(attempt.address);
        let trace = self.state().refusals.refused(client, now_ms);
        let ip = self.privacy.address(attempt.address);
        if let Some(left_out) = trace.line {
            log(attempt, &ip, refusal, message, left_out);
        }
        if let Some(left_out) = trace.row {
            let reason = (refusal.as_str(), message);
            let row = self.refusal_row(attempt, ip, reason, left_out);
            self.best_effort.push(row);
        }
    }

    /// Tells of refusals that were left out a minute ago and that no later row or line told of.
    pub(super) fn tell_overdue_refusals(&self) {
        let now_ms = self.now_ms();
        let trace = self.state().refusals.overdue(now_ms);
        if let Some(left_out) = trace.line {
            tracing::info!(left_out, "more logins were refused than have lines here");
        }
        if let Some(left_out) = trace.row {
            let nobody = LoginAttempt::new(IpAddr::from([0, 0, 0, 0]));
            let message = "more logins were refused than have rows here";
            let reason = ("left_out", message);
            let row = self.refusal_row(&nobody, String::new(), reason, left_out);
            self.best_effort.push(row);
        }
    }

    fn refusal_row(
        &self,
        attempt: &LoginAttempt,
        ip: String,
        (refusal, message): (&str, &str),
        left_out: u64,
    ) -> BestEffortRow {
        BestEffortRow::Session(Box::new(SessionRow {
            event_time: unix_time_us(),
            pool: self.pool.clone(),
            event: "refused".to_owned(),
            session: format!("{:016x}", rand::random::<u64>()),
            miner: attempt.miner.clone(),
            worker: attempt.worker.clone(),
            agent: (!attempt.agent.is_empty()).then(|| attempt.agent.clone()),
            ip,
            difficulty: 0,
            reason: Some(within_row(message).to_owned()),
            refusal: Some(refusal.to_owned()),
            refusals_left_out: i64::try_from(left_out).ok(),
            duration_s: None,
            shares_accepted: None,
            shares_refused: None,
            work: None,
        }))
    }
}

/// The operator's own faults are warnings; what a miner must correct is information.
fn log(attempt: &LoginAttempt, ip: &str, refusal: Refusal, message: &str, left_out: u64) {
    let miner = attempt.miner.as_str();
    let miner = &miner[..miner.floor_char_boundary(LOGGED_WALLET_BYTES)];
    let (worker, reason) = (attempt.worker.as_str(), refusal.as_str());
    if refusal.is_for_operator() {
        tracing::warn!(
            reason,
            message,
            ip,
            ?miner,
            worker,
            left_out,
            "login refused"
        );
    } else {
        tracing::info!(
            reason,
            message,
            ip,
            ?miner,
            worker,
            left_out,
            "login refused"
        );
    }
}

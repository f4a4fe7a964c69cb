//! A session as its rows tell it: who came, with what, and what it came to.

use headframe_schemas::stream::sessions::Session as SessionRow;
use std::time::Instant;

use super::account::Account;
use crate::best_effort::{BestEffortRow, within_row};
use crate::clock::unix_time_us;

/// What the rows of one session need.
pub(crate) struct SessionStats {
    session: u64,
    agent: Box<str>,
    since: Instant,
    accepted: u64,
    refused: u64,
    work: u128,
}

impl SessionStats {
    /// A session that begins now.
    pub(crate) fn new(agent: &str) -> Self {
        Self {
            session: rand::random(),
            agent: within_row(agent).into(),
            since: Instant::now(),
            accepted: 0,
            refused: 0,
            work: 0,
        }
    }

    /// Its id: sixteen hex digits.
    pub(crate) fn session(&self) -> String {
        format!("{:016x}", self.session)
    }

    /// A share was answered; `credit` is zero when it was refused.
    pub(crate) fn answered(&mut self, credit: u64) {
        if credit > 0 {
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
        self.work += u128::from(credit);
    }

    /// The row of the login; `ip` in the form that rows show.
    pub(crate) fn login(&self, account: &Account, ip: String, difficulty: u64) -> BestEffortRow {
        BestEffortRow::Session(Box::new(self.row(account, ip, "login", difficulty)))
    }

    /// The row of the end.
    pub(crate) fn logout(
        &self,
        account: &Account,
        ip: String,
        difficulty: u64,
        reason: &str,
    ) -> BestEffortRow {
        let mut row = self.row(account, ip, "logout", difficulty);
        row.reason = Some(within_row(reason).to_owned());
        row.duration_s = Some(self.since.elapsed().as_secs_f64());
        row.shares_accepted = i64::try_from(self.accepted).ok();
        row.shares_refused = i64::try_from(self.refused).ok();
        row.work = i128::try_from(self.work).ok();
        BestEffortRow::Session(Box::new(row))
    }

    fn row(&self, account: &Account, ip: String, event: &str, difficulty: u64) -> SessionRow {
        SessionRow {
            event_time: unix_time_us(),
            pool: account.pool(),
            event: event.to_owned(),
            session: self.session(),
            miner: account.miner().to_owned(),
            worker: account.worker().to_owned(),
            agent: (!self.agent.is_empty()).then(|| self.agent.to_string()),
            ip,
            difficulty: i64::try_from(difficulty).unwrap_or(i64::MAX),
            reason: None,
            refusal: None,
            refusals_left_out: None,
            duration_s: None,
            shares_accepted: None,
            shares_refused: None,
            work: None,
        }
    }
}

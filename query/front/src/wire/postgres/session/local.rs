//! Statements that the front answers itself, from what it knows of the session.

use crate::error::{ErrorCode, QueryError};
use crate::sql::Parameter;
use crate::sqlstate::SqlState;
use crate::wire::postgres::command::Command;
use crate::wire::postgres::outcome::Failure;
use crate::wire::postgres::running::RowForm;
use crate::wire::postgres::session::portal::{Portal, no_cursor, no_statement};
use crate::wire::postgres::session::{Session, Transaction};
use crate::wire::postgres::settings::{self, SessionSettings};

/// Portals and cursors that a session may have.
pub(super) const MAX_PORTALS: usize = 64;

/// A small answer that the front makes itself.
#[derive(Default)]
pub(super) struct LocalAnswer {
    /// The word that ends it; empty for a statement that is empty.
    pub(super) tag: String,
    /// The columns, all of them text.
    pub(super) columns: Vec<String>,
    /// The rows.
    pub(super) rows: Vec<Vec<String>>,
    /// Settings that the client is told to have changed.
    pub(super) status: Vec<(&'static str, String)>,
}

impl LocalAnswer {
    fn tag(tag: &str) -> Self {
        Self {
            tag: tag.to_owned(),
            ..Self::default()
        }
    }
}

impl Session {
    /// Answers a statement that is not the engine's.
    ///
    /// The query of a cursor may have parameters.
    pub(super) async fn run_local(
        &mut self,
        command: Command,
        parameters: Vec<Parameter>,
    ) -> Result<LocalAnswer, Failure> {
        Ok(match command {
            Command::Begin(tag) => {
                self.transaction = Transaction::Open;
                self.settings.begin();
                LocalAnswer::tag(tag)
            }
            Command::Commit => {
                let failed = self.transaction == Transaction::Failed;
                LocalAnswer {
                    status: self.end_transaction(!failed),
                    ..LocalAnswer::tag(if failed { "ROLLBACK" } else { "COMMIT" })
                }
            }
            Command::Rollback => LocalAnswer {
                status: self.end_transaction(false),
                ..LocalAnswer::tag("ROLLBACK")
            },
            Command::RollbackTo => {
                if self.transaction == Transaction::Failed {
                    self.transaction = Transaction::Open;
                }
                LocalAnswer::tag("ROLLBACK")
            }
            Command::Nothing(tag) => LocalAnswer::tag(tag),
            Command::Set(name, value) => self.set(&name, value)?,
            Command::SetLocal(name, value) => {
                self.settings.set_local(&name, value)?;
                self.told_setting("SET", &name)
            }
            Command::Show(name) => self.show(&name)?,
            Command::ResetAll(tag) => {
                self.settings.reset();
                if tag == "DISCARD ALL" {
                    self.statements.clear();
                    self.portals.clear();
                }
                LocalAnswer::tag(tag)
            }
            Command::Deallocate(Some(name)) => {
                self.statements
                    .remove(&name)
                    .ok_or_else(|| no_statement(&name))?;
                LocalAnswer::tag("DEALLOCATE")
            }
            Command::Deallocate(None) => {
                self.statements.clear();
                LocalAnswer::tag("DEALLOCATE ALL")
            }
            Command::Declare { name, hold, sql } => {
                self.check_new_portal(&name)?;
                let running = self.start(&sql, parameters).await?;
                // A cursor outside a transaction would be gone at once, which nobody wants.
                let hold = hold || self.transaction == Transaction::Idle;
                self.portals.insert(name, Portal::cursor(running, hold));
                LocalAnswer::tag("DECLARE CURSOR")
            }
            Command::Close(Some(name)) => {
                self.portals.remove(&name).ok_or_else(|| no_cursor(&name))?;
                LocalAnswer::tag("CLOSE CURSOR")
            }
            Command::Close(None) => {
                self.portals.retain(|_, portal| !portal.is_cursor());
                LocalAnswer::tag("CLOSE CURSOR ALL")
            }
            Command::Empty | Command::Query | Command::Fetch { .. } | Command::Copy { .. } => {
                LocalAnswer::default()
            }
        })
    }

    /// Ends the transaction; answers the settings that are others again.
    fn end_transaction(&mut self, commits: bool) -> Vec<(&'static str, String)> {
        self.transaction = Transaction::Idle;
        self.portals.retain(|_, portal| portal.holds());
        self.settings.end(commits)
    }

    fn set(&mut self, name: &str, value: Option<String>) -> Result<LocalAnswer, QueryError> {
        let tag = if value.is_some() { "SET" } else { "RESET" };
        self.settings.set(name, value)?;
        Ok(self.told_setting(tag, name))
    }

    /// The answer to a change of a setting.
    fn told_setting(&self, tag: &str, name: &str) -> LocalAnswer {
        let mut answer = LocalAnswer::tag(tag);
        if let (Some(reported), Some(value)) = (
            SessionSettings::reported_name(name),
            self.settings.get(name),
        ) {
            answer.status.push((reported, value.to_owned()));
        }
        answer
    }

    fn show(&self, name: &str) -> Result<LocalAnswer, QueryError> {
        let mut answer = LocalAnswer::tag("SHOW");
        if name == "all" {
            answer.columns = ["name", "setting", "description"].map(str::to_owned).into();
            let row = |(name, value): (String, String)| vec![name, value, String::new()];
            answer.rows = self.settings.all().into_iter().map(row).collect();
            return Ok(answer);
        }
        let value = self
            .settings
            .get(name)
            .ok_or_else(|| settings::unknown(name))?;
        answer.columns = vec![name.to_owned()];
        answer.rows = vec![vec![value.to_owned()]];
        Ok(answer)
    }

    /// Refuses a portal whose name is taken, or one too many.
    pub(super) fn check_new_portal(&self, name: &str) -> Result<(), QueryError> {
        if !name.is_empty() && self.portals.contains_key(name) {
            let message = format!("the cursor \"{name}\" exists already");
            let error = QueryError::bad_request(message, "CLOSE it first");
            return Err(error.with_sqlstate(SqlState::DuplicateCursor));
        }
        if self.portals.len() >= MAX_PORTALS {
            let message = format!("the session has {MAX_PORTALS} portals, which is the limit");
            let error = QueryError::new(ErrorCode::ConcurrencyLimit, message, "close some");
            return Err(error.with_sqlstate(SqlState::LimitExceeded));
        }
        Ok(())
    }

    /// A cursor of this name.
    pub(super) fn cursor(&self, name: &str) -> Result<&Portal, QueryError> {
        self.portals.get(name).ok_or_else(|| no_cursor(name))
    }

    /// Sends rows of a cursor, or goes over them.
    pub(super) async fn fetch(
        &mut self,
        name: &str,
        count: Option<u64>,
        send: bool,
        formats: &[i16],
    ) -> Result<(), Failure> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
        let form = if send {
            RowForm::Data(formats)
        } else {
            RowForm::Skip
        };
        let max = count.unwrap_or(u64::MAX);
        let fetched = match portal.running_mut() {
            Ok(Some(running)) => self.send(running, max, &form).await,
            Ok(None) => Ok(0),
            Err(error) => Err(error.into()),
        };
        let rows = fetched?;
        self.portals.insert(name.to_owned(), portal);
        let tag = if send { "FETCH" } else { "MOVE" };
        self.output.command_complete(&format!("{tag} {rows}"));
        Ok(())
    }
}

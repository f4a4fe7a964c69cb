//! The simple protocol: a text with statements, each answered in turn, in text.

use tokio::io::AsyncWrite;

use crate::error::{ErrorCode, QueryError};
use crate::sql::Parameter;
use crate::sqlstate::SqlState;
use crate::wire::postgres::command::{self, Command};
use crate::wire::postgres::copy::CopyForm;
use crate::wire::postgres::lexer;
use crate::wire::postgres::outcome::Failure;
use crate::wire::postgres::reply::{ColumnHead, Replies};
use crate::wire::postgres::running::{self, RowForm, Running};
use crate::wire::postgres::session::local::LocalAnswer;
use crate::wire::postgres::session::{Session, Transaction};

impl Session {
    /// Answers every statement of a text, up to the first that fails.
    pub(super) async fn simple_query(&mut self, text: &str) -> Result<(), Failure> {
        let statements = lexer::statements(text);
        if statements.is_empty() {
            self.output.plain(b'I');
        }
        for sql in statements {
            let command = command::parse(sql);
            let begun = self.begin(command.as_ref().map_or("QUERY", Command::name));
            let answered = match command {
                Ok(command) => self.simple_statement(sql, command).await,
                Err(error) => Err(error.into()),
            };
            self.note(begun, &answered);
            answered?;
        }
        Ok(())
    }

    async fn simple_statement(&mut self, sql: &str, command: Command) -> Result<(), Failure> {
        self.check_transaction(&command)?;
        match command {
            Command::Query => {
                let mut running = self.start(sql, Vec::new()).await?;
                running::describe(running.schema(), &[], &mut self.output);
                let rows = self
                    .send(&mut running, u64::MAX, &RowForm::Data(&[]))
                    .await?;
                self.output.command_complete(&format!("SELECT {rows}"));
            }
            Command::Copy { sql, form } => self.copy(&sql, &form, Vec::new()).await?,
            Command::Fetch {
                cursor,
                count,
                send,
            } => {
                if send {
                    let running = self.cursor(&cursor)?.running();
                    if let Some(schema) = running.map(|running| running.schema().clone()) {
                        running::describe(&schema, &[], &mut self.output);
                    }
                }
                self.fetch(&cursor, count, send, &[]).await?;
            }
            command => {
                let answer = self.run_local(command, Vec::new()).await?;
                answer.describe(&mut self.output);
                answer.send(&mut self.output);
            }
        }
        Ok(())
    }

    /// In a transaction that failed only its end is taken.
    pub(super) fn check_transaction(&self, command: &Command) -> Result<(), QueryError> {
        let ends = matches!(
            command,
            Command::Commit | Command::Rollback | Command::RollbackTo | Command::Empty
        );
        if self.transaction != Transaction::Failed || ends {
            return Ok(());
        }
        let message = "current transaction is aborted, commands ignored until end of transaction \
                       block";
        let error = QueryError::new(ErrorCode::BadRequest, message, "send ROLLBACK");
        Err(error.with_sqlstate(SqlState::FailedTransaction))
    }

    /// Sends rows of a statement, which can be cancelled meanwhile.
    pub(super) async fn send(
        &mut self,
        running: &mut Running,
        max: u64,
        form: &RowForm<'_>,
    ) -> Result<u64, Failure> {
        let _mark = self.backend.query.mark(&running.id);
        let rows = running
            .send(max, form, &mut self.input, &mut self.output)
            .await?;
        self.refusals.forget();
        Ok(rows)
    }

    /// Sends all rows of a query as a COPY.
    pub(super) async fn copy(
        &mut self,
        sql: &str,
        form: &CopyForm,
        parameters: Vec<Parameter>,
    ) -> Result<(), Failure> {
        let mut running = self.start(sql, parameters).await?;
        let format = form.format() as u8;
        let columns = running.schema().fields().len();
        self.output.message(b'H', |out| {
            out.push(format);
            out.extend_from_slice(&crate::wire::postgres::reply::count_of(columns));
            for _ in 0..columns {
                out.extend_from_slice(&[0, format]);
            }
        });
        let fields = running.schema().fields().clone();
        if let Some(head) = form.head(fields.iter().map(|field| field.name().as_str())) {
            self.output
                .message(b'd', |out| out.extend_from_slice(&head));
        }
        running.set_prefix(form.prefix());
        let rows = self
            .send(&mut running, u64::MAX, &RowForm::Copy(form))
            .await?;
        if let Some(tail) = form.tail() {
            let prefix = running.take_prefix();
            self.output.message(b'd', |out| {
                out.extend_from_slice(&prefix);
                out.extend_from_slice(tail);
            });
        }
        self.output.plain(b'c');
        self.output.command_complete(&format!("COPY {rows}"));
        Ok(())
    }
}

impl LocalAnswer {
    /// Tells the columns, where there are any.
    pub(super) fn describe<W: AsyncWrite + Unpin>(&self, output: &mut Replies<W>) {
        if self.columns.is_empty() {
            return;
        }
        output.row_description(self.columns.iter().map(|name| ColumnHead {
            name,
            oid: pgwire::api::Type::TEXT.oid(),
            length: -1,
            modifier: -1,
            format: 0,
        }));
    }

    /// Sends the rows and the end.
    pub(super) fn send<W: AsyncWrite + Unpin>(&self, output: &mut Replies<W>) {
        for row in &self.rows {
            output.text_row(row);
        }
        for (name, value) in &self.status {
            output.parameter_status(name, value);
        }
        match self.tag.is_empty() {
            true => output.plain(b'I'),
            false => output.command_complete(&self.tag),
        }
    }
}

//! Before login: a short time, one short line, and it must be a login.

use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::context::PoolContext;
use crate::defence::login_attempt::LoginAttempt;
use crate::defence::refusal::Refusal;
use crate::net::disconnect::Disconnect;
use crate::net::line_writer::LineWriter;
use crate::net::stream::StreamReader;
use crate::protocol::line::{BEFORE_LOGIN, LineReader};
use crate::protocol::login::Login;
use crate::protocol::{Command, answer, parse};
use crate::template_watcher::CurrentWork;

/// A connection whose login is acceptable.
pub(crate) struct PendingLogin {
    pub(crate) lines: LineReader<StreamReader>,
    pub(crate) out: LineWriter,
    pub(crate) id: Value,
    pub(crate) login: Login,
}

/// Opens the connection, plain or TLS, and hears its login, all within the login time.
pub(crate) async fn await_pending_login(
    pool: &PoolContext,
    stream: TcpStream,
    peer: SocketAddr,
    attempt: &mut LoginAttempt,
) -> Result<PendingLogin, Disconnect> {
    let by = Instant::now() + pool.config.login_timeout();
    let opened = timeout_at(by, pool.transport.open(stream, peer))
        .await
        .map_err(|_| Disconnect::LoginTimeout)?;
    let (reading, writing) = opened?;
    let (mut lines, mut out) = (
        LineReader::new(reading),
        LineWriter::new(writing, pool.config.write_timeout()),
    );
    match await_login(pool, &mut lines, &mut out, by, attempt).await {
        Ok((id, login)) => Ok(PendingLogin {
            lines,
            out,
            id,
            login,
        }),
        Err(end) => {
            out.close().await;
            Err(end)
        }
    }
}

/// Waits for an acceptable login. Everything refusable is answered with the reason before the
/// connection ends.
async fn await_login(
    pool: &PoolContext,
    lines: &mut LineReader<StreamReader>,
    out: &mut LineWriter,
    by: Instant,
    attempt: &mut LoginAttempt,
) -> Result<(Value, Login), Disconnect> {
    let line = timeout_at(by, lines.next(BEFORE_LOGIN))
        .await
        .map_err(|_| Disconnect::LoginTimeout)??;
    let line = line.ok_or(Disconnect::Closed)?;
    let request = match parse(&line) {
        Ok(request) => request,
        Err(error) => {
            out.send(&answer::error(&Value::Null, &error.to_string()))
                .await?;
            return Err(Disconnect::Malformed);
        }
    };
    let (refusal, reason) = match request.command {
        Command::Login(login) => {
            attempt.note_login(&login);
            match refusal(pool, &login) {
                None => return Ok((request.id, login)),
                Some(refused) => refused,
            }
        }
        Command::Unusable(reason) => (Refusal::NotALogin, reason.to_owned()),
        _ => (Refusal::NotALogin, answer::UNAUTHENTICATED.to_owned()),
    };
    out.send(&answer::error(&request.id, &reason)).await?;
    Err(Disconnect::Refused(refusal, reason))
}

fn refusal(pool: &PoolContext, login: &Login) -> Option<(Refusal, String)> {
    // A pool without work says so first: before the daemon has answered nothing else is certain.
    // The reason names daemons and their addresses, which is for the operator, who finds it in the
    // log and in /ready.
    if let CurrentWork::Nothing(cause) = &*pool.work.borrow() {
        let cause = cause.as_str();
        let reason = format!("The pool has nothing to mine yet: {cause}; try again later");
        return Some((Refusal::NoWork, reason));
    }
    if let Err(error) = pool.chain.check_address(&login.address) {
        return Some((
            Refusal::BadAddress,
            format!("Invalid wallet address: {error}"),
        ));
    }
    let reason = pool.chain.algo_refusal(&login.algos)?;
    Some((Refusal::BadAlgorithm, reason))
}

//! Before login: a short time, one short line, and it must be a login.

use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::pool::Pool;
use crate::protocol::line::{BEFORE_LOGIN, LineReader};
use crate::protocol::login::Login;
use crate::protocol::{Command, answer, parse};
use crate::server::out::Out;
use crate::server::session::End;
use crate::server::wire::Reading;
use crate::template_watcher::CurrentWork;

/// A connection whose login is acceptable.
pub(super) struct Met {
    pub(super) lines: LineReader<Reading>,
    pub(super) out: Out,
    pub(super) id: Value,
    pub(super) login: Login,
}

/// Opens the connection, plain or TLS, and hears its login, all within the login time.
pub(super) async fn meet(pool: &Pool, stream: TcpStream, peer: SocketAddr) -> Result<Met, End> {
    let by = Instant::now() + pool.config.login_timeout();
    let opened = timeout_at(by, pool.entrance.open(stream, peer))
        .await
        .map_err(|_| End::LoginTimeout)?;
    let (reading, writing) = opened?;
    let (mut lines, mut out) = (
        LineReader::new(reading),
        Out::new(writing, pool.config.write_timeout()),
    );
    match greet(pool, &mut lines, &mut out, by).await {
        Ok((id, login)) => Ok(Met {
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
async fn greet(
    pool: &Pool,
    lines: &mut LineReader<Reading>,
    out: &mut Out,
    by: Instant,
) -> Result<(Value, Login), End> {
    let line = timeout_at(by, lines.next(BEFORE_LOGIN))
        .await
        .map_err(|_| End::LoginTimeout)??;
    let line = line.ok_or(End::Closed)?;
    let request = match parse(&line) {
        Ok(request) => request,
        Err(error) => {
            out.send(&answer::error(&Value::Null, &error.to_string()))
                .await?;
            return Err(End::Malformed);
        }
    };
    let refusal = match request.command {
        Command::Login(login) => match refusal(pool, &login) {
            None => return Ok((request.id, login)),
            Some(reason) => reason,
        },
        Command::Unusable(reason) => reason.to_owned(),
        _ => answer::UNAUTHENTICATED.to_owned(),
    };
    out.send(&answer::error(&request.id, &refusal)).await?;
    Err(End::Refused(refusal))
}

fn refusal(pool: &Pool, login: &Login) -> Option<String> {
    // A pool without work says so first: before the daemon has answered nothing else is certain.
    // The reason names daemons and their addresses, which is for the operator, who finds it in the
    // log and in /ready.
    if matches!(&*pool.work.borrow(), CurrentWork::Nothing(_)) {
        return Some(
            "The pool has nothing to mine yet: it waits for its daemon; try again later".to_owned(),
        );
    }
    if let Err(error) = pool.chain.check_address(&login.address) {
        return Some(format!("Invalid wallet address: {error}"));
    }
    pool.chain.algo_refusal(&login.algos)
}

//! Before login: a short time, one short line, and it must be a login.

use serde_json::Value;
use tokio::io::AsyncRead;

use crate::feed::Work;
use crate::pool::Pool;
use crate::protocol::line::{BEFORE_LOGIN, LineReader};
use crate::protocol::login::Login;
use crate::protocol::{Command, answer, parse};
use crate::server::session::{End, Out};

/// Waits for an acceptable login. Everything refusable is answered with the reason before the connection ends.
pub(crate) async fn greet<R: AsyncRead + Unpin>(pool: &Pool, lines: &mut LineReader<R>, out: &mut Out) -> Result<(Value, Login), End> {
    let line = tokio::time::timeout(pool.config.login_timeout(), lines.next(BEFORE_LOGIN)).await.map_err(|_| End::LoginTimeout)??;
    let line = line.ok_or(End::Closed)?;
    let request = match parse(&line) {
        Ok(request) => request,
        Err(error) => {
            out.send(&answer::error(&Value::Null, &error.to_string())).await?;
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
    if let Work::Nothing(reason) = &*pool.work.borrow() {
        return Some(format!("The pool has nothing to mine yet: {reason}"));
    }
    if let Err(error) = pool.chain.check_address(&login.address) {
        return Some(format!("Invalid wallet address: {error}"));
    }
    pool.chain.algo_refusal(&login.algos)
}

//! The commands: any line is refused or understood, what is kept of it is clean, and every answer
//! to it is one sound line.

use headframe_stratum::chain::monero::address;
use headframe_stratum::protocol::login::{Login, MAX_AGENT_CHARS, MAX_WORKER_CHARS};
use headframe_stratum::protocol::submit::Submit;
use headframe_stratum::protocol::{Command, answer, keepalived, lease, parse};
use serde_json::Value;

/// The bytes are one line.
pub fn run(bytes: &[u8]) {
    let request = match parse(bytes) {
        Ok(request) => request,
        Err(error) => {
            return check_answer(
                &answer::error(&Value::Null, &error.to_string()),
                &Value::Null,
            );
        }
    };
    check_answer(&answer::share_ok(&request.id), &request.id);
    match request.command {
        Command::Login(login) => check_login(&login),
        Command::Submit(submit) => check_submit(submit),
        Command::Unknown(method) => check_answer(&answer::error(&request.id, &method), &request.id),
        Command::Unusable(reason) => check_answer(&answer::error(&request.id, reason), &request.id),
        Command::Lease(count) => {
            assert!((1..=lease::MOST).contains(&count), "{count} jobs at once");
            check_answer(&keepalived::answer(&request.id), &request.id)
        }
        Command::Keepalived | Command::GetJob => {
            check_answer(&keepalived::answer(&request.id), &request.id)
        }
    }
}

/// What XMRig needs of an answer, and the id it was asked with.
fn check_answer(line: &str, id: &Value) {
    assert!(
        line.ends_with('\n') && line.matches('\n').count() == 1,
        "not one line: {line:?}"
    );
    let answer: Value = serde_json::from_str(line).expect("an answer is JSON");
    // A fraction may lose its last bit on the way; nobody numbers requests by fractions.
    assert!(
        id.is_f64() || answer["id"] == *id,
        "asked with {id}, answered with {line}"
    );
    assert!(
        answer["result"].is_object() || answer["error"]["message"].is_string(),
        "{line}"
    );
}

fn check_login(login: &Login) {
    let clean = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    assert!(
        (1..=MAX_WORKER_CHARS).contains(&login.worker.len()) && login.worker.chars().all(clean),
        "{login:?}"
    );
    assert!(
        login.agent.chars().count() <= MAX_AGENT_CHARS
            && !login.agent.chars().any(char::is_control),
        "{login:?}"
    );
    assert_ne!(login.fixed_difficulty, Some(0));
    let _ = address::parse(&login.address);
}

/// Two spellings of one nonce are one nonce, and nothing but hex is one.
fn check_submit(submit: Submit) {
    let (nonce, result) = (submit.nonce.clone(), submit.result.clone());
    if let Ok(share) = submit.bytes() {
        assert_eq!(hex::encode(share.nonce), nonce.to_ascii_lowercase());
        assert_eq!(hex::encode(share.result), result.to_ascii_lowercase());
    }
}

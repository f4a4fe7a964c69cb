//! `headframe bans` and the path behind it, over a pool of its own: bans are made, shown, kept over
//! a restart and lifted.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use serde_json::{Value, json};

use crate::roles::until_answer;
use crate::server::{Headframe, PATIENCE, free_port};

const WALLET: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

fn bans(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headframe"))
        .arg("bans")
        .args(["--url", url])
        .args(arguments)
        .output()
        .unwrap()
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

pub fn pool(folder: &Path, nats: &ManagedServer, stratum: u16) -> Headframe {
    let more = format!(
        "[stratum]\nlisten = \"127.0.0.1:{stratum}\"\nwallet = \"{WALLET}\"\ndaemon_url = \
         \"http://127.0.0.1:{}\"\nrandomx = {{ mode = \"light\" }}\n",
        free_port()
    );
    Headframe::start_with(folder, nats.url(), free_port(), "stratum", &more)
}

/// What the pool says to one line, or that it closes without a word.
fn answer(port: u16, line: &Value) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A pool that has closed already may refuse the line; then there is nothing to read either.
    let _ = writeln!(stream, "{line}");
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_bans_and_lifts_and_a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let stratum = free_port();
    let first = pool(folder.path(), &nats, stratum);
    until_answer(&first.url, "/live", |status, _| status == 200).await;
    assert!(said(&bans(&first.url, &["list"])).starts_with("0 in force"));

    let made = bans(
        &first.url,
        &["add", "198.51.100.0/24", "--reason", "a scan"],
    );
    assert!(
        made.status.success() && said(&made).contains("until lifted\tby hand\ta scan"),
        "{}",
        said(&made)
    );
    let login = json!({"id": 1, "method": "login", "params": {"login": WALLET, "pass": "x",
        "agent": "XMRig/6.26.0", "algo": ["rx/0"]}});
    // The pool has no daemon, and says so to whomever it lets in.
    let let_in = |said: &Option<Value>| {
        said.as_ref()
            .is_some_and(|said| said.to_string().contains("nothing to mine yet"))
    };
    let before = answer(stratum, &login);
    assert!(let_in(&before), "{before:?}");
    let made = bans(
        &first.url,
        &["add", "127.0.0.1", "--reason", "noise", "--for-s", "3600"],
    );
    assert!(
        made.status.success() && said(&made).contains("for 60 min"),
        "{}",
        said(&made)
    );
    let banned = answer(stratum, &login);
    assert!(!let_in(&banned), "{banned:?}");

    // What cannot be meant is refused with a hint, and changes nothing.
    let client = crate::server::http();
    for (body, word) in [
        (
            json!({"wallet": WALLET, "worker": "w", "reason": "r"}),
            "missing field `address`",
        ),
        (
            json!({"address": "10.0.0.0/8", "wallet": WALLET, "worker": "w", "reason": "r"}),
            "no single address",
        ),
        (
            json!({"address": "10.0.0.1", "wallet": WALLET, "reason": "r"}),
            "belong together",
        ),
        (
            json!({"address": "10.0.0.1", "reason": " "}),
            "1 to 200 characters",
        ),
        (
            json!({"address": "10.0.0.1", "reason": "r", "for": 5}),
            "unknown field `for`",
        ),
        (
            json!({"address": "somewhere", "reason": "r"}),
            "neither an address nor a block",
        ),
        (
            json!({"address": "0.0.0.0/0", "reason": "r"}),
            "wider than /8",
        ),
        (json!({"address": "::/0", "reason": "r"}), "wider than /16"),
        (
            json!({"address": "2000::/15", "reason": "r"}),
            "wider than /16",
        ),
    ] {
        let refused = client
            .post(format!("{}/api/v1/bans", first.url))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status(), 400);
        let text = refused.text().await.unwrap();
        assert!(text.contains(word) && text.contains("hint"), "{text}");
    }
    // Everybody is kept out only by somebody who says that it is meant.
    let wide = bans(&first.url, &["add", "128.0.0.0/7", "--reason", "r"]);
    assert!(
        !wide.status.success()
            && said(&wide).contains("wider than /8")
            && said(&wide).contains("--everybody"),
        "{}",
        said(&wide)
    );
    for (block, flags) in [
        ("10.0.0.0/8", &[][..]),
        ("2001::/16", &[]),
        ("128.0.0.0/7", &["--everybody"]),
        ("::/0", &["--everybody"]),
    ] {
        let made = bans(
            &first.url,
            &[&["add", block, "--reason", "r"], flags].concat(),
        );
        assert!(made.status.success(), "{block}: {}", said(&made));
        let lifted = bans(&first.url, &["lift", block]);
        assert!(lifted.status.success(), "{block}: {}", said(&lifted));
    }
    first.kill();

    let second = pool(folder.path(), &nats, stratum);
    until_answer(&second.url, "/live", |status, _| status == 200).await;
    let list = said(&bans(&second.url, &["list"]));
    assert!(
        list.contains("127.0.0.1\tfor")
            && list.contains("198.51.100.0/24\tuntil lifted")
            && list.contains("2 in force"),
        "{list}"
    );
    let lifted = bans(&second.url, &["lift", "127.0.0.1"]);
    assert!(lifted.status.success(), "{}", said(&lifted));
    let again = bans(&second.url, &["lift", "127.0.0.1"]);
    assert!(
        !again.status.success() && said(&again).contains("there is no such ban"),
        "{}",
        said(&again)
    );
    assert!(
        said(&again).contains("--wallet and --worker") && !said(&again).contains('&'),
        "{}",
        said(&again)
    );
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answered = answer(stratum, &login);
        if let_in(&answered) {
            break;
        }
        assert!(Instant::now() < deadline, "still kept out: {answered:?}");
    }
    second.kill();
    nats.shutdown().await;
}

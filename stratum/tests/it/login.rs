//! What people write into user, password and rig id, and what may be kept of it.

use headframe_stratum::protocol::login::{DEFAULT_WORKER, Login, MAX_WORKER_CHARS};
use headframe_stratum::protocol::{Command, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(params: Value) -> Login {
    let line = json!({"id": 1, "method": "login", "params": params});
    match parse(line.to_string().as_bytes()).unwrap().command {
        Command::Login(login) => login,
        other => panic!("{other:?}"),
    }
}

fn with_password(user: &str, pass: &str) -> Login {
    read(json!({"login": user, "pass": pass}))
}

#[test]
fn the_password_may_name_the_worker_and_the_difficulty() {
    for (pass, worker, difficulty) in [
        ("", DEFAULT_WORKER, None),
        ("x", DEFAULT_WORKER, None),
        ("X", DEFAULT_WORKER, None),
        ("rig7", "rig7", None),
        ("rig7:me@example.org", "rig7", None),
        ("x:me@example.org", DEFAULT_WORKER, None),
        ("me@example.org", DEFAULT_WORKER, None),
        ("rig7:d=5000", "rig7", Some(5000)),
        ("d=5000", DEFAULT_WORKER, Some(5000)),
        ("x,d=5000", DEFAULT_WORKER, Some(5000)),
        ("rig7;diff=5000", "rig7", Some(5000)),
        ("Difficulty=5000 rig7", "rig7", Some(5000)),
        ("w=rig7,d=5000,mc=XMR", "rig7", Some(5000)),
        ("d=0", DEFAULT_WORKER, None),
        ("d=-1", DEFAULT_WORKER, None),
        ("d=+5", DEFAULT_WORKER, None),
        ("d=NaN", DEFAULT_WORKER, None),
        ("d=1e9", DEFAULT_WORKER, None),
        ("d=٥", DEFAULT_WORKER, None),
        ("d=", DEFAULT_WORKER, None),
        ("d=99999999999999999999", DEFAULT_WORKER, None),
        ("d=5000,d=junk", DEFAULT_WORKER, Some(5000)),
        ("=", DEFAULT_WORKER, None),
    ] {
        let login = with_password("4A", pass);
        assert_eq!(
            (login.worker.as_str(), login.fixed_difficulty),
            (worker, difficulty),
            "{pass}"
        );
    }
}

#[test]
fn the_rig_id_wins_then_the_user_then_the_password() {
    let all =
        |rigid: &str, user: &str| read(json!({"login": user, "pass": "third,d=3", "rigid": rigid}));
    assert_eq!(all("first", "4A.second+2").worker, "first");
    assert_eq!(all("", "4A.second+2").worker, "second");
    assert_eq!(all("", "4A").worker, "third");
    assert_eq!(
        (
            all("", "4A+2").fixed_difficulty,
            all("", "4A").fixed_difficulty
        ),
        (Some(2), Some(3))
    );
    assert_eq!(
        read(json!({"login": "4A", "pass": null, "rigid": null, "algo": null, "agent": null}))
            .worker,
        DEFAULT_WORKER
    );
}

#[test]
fn no_e_mail_address_is_kept_wherever_it_is_written() {
    for (user, pass, rigid, worker) in [
        ("4A.rig:me@example.org", "x", "", "rig"),
        ("4A.me@example.org", "x", "", DEFAULT_WORKER),
        ("4A.me@example.org", "rig7", "", "rig7"),
        ("4A", "x", "me@example.org", DEFAULT_WORKER),
        ("4A", "x", "rack7:me@example.org", "rack7"),
        ("4A", "w=me@example.org", "", DEFAULT_WORKER),
        ("4A", "me@example.org,rig7:you@example.org", "", "rig7"),
        ("4A", "x", "rack:7", "rack_7"),
    ] {
        let login = read(json!({"login": user, "pass": pass, "rigid": rigid}));
        assert_eq!(
            (login.worker.as_str(), login.address.as_str()),
            (worker, "4A"),
            "{user} {pass} {rigid}"
        );
        assert!(!format!("{login:?}").contains("example"), "{login:?}");
    }
}

#[test]
fn nicehash_and_proxies_are_known_by_what_they_say() {
    let agent = |agent: &str| read(json!({"login": "4A", "pass": "x", "agent": agent}));
    for (name, nicehash, proxy) in [
        (
            "XMRig/6.26.0 (Linux x86_64) libuv/1.44.2 gcc/12.2.0",
            false,
            false,
        ),
        ("NiceHash/1.0.0", true, false),
        ("excavator nicehash", true, false),
        (
            "xmrig-proxy/6.26.0 (Linux x86_64) libuv/1.44.2 gcc/12.2.0",
            false,
            true,
        ),
        ("xmr-node-proxy/0.0.3", false, true),
    ] {
        let login = agent(name);
        assert_eq!(
            (login.nicehash, login.proxy, login.agent.as_str()),
            (nicehash, proxy, name)
        );
    }
    assert!(with_password("4A", "x,nicehash").nicehash && !with_password("4A", "x").nicehash);
    assert_eq!(agent(&"a\u{7}".repeat(300)).agent, "a".repeat(128));
}

proptest! {
    #[test]
    fn whatever_is_written_names_are_clean_and_wishes_sane(user in ".{0,60}", pass in ".{0,60}",
        rigid in ".{0,90}") {
        let login = read(json!({"login": user, "pass": pass, "rigid": rigid}));
        let count = login.worker.chars().count();
        prop_assert!((1..=MAX_WORKER_CHARS).contains(&count), "{login:?}");
        prop_assert!(login.worker.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c,
            '.' | '-' | '_')), "{login:?}");
        prop_assert!(login.fixed_difficulty != Some(0));
    }
}

#[test]
fn solo_before_the_address_is_no_part_of_it() {
    for (user, solo, address, worker) in [
        ("4A.rig", false, "4A", "rig"),
        ("solo:4A.rig", true, "4A", "rig"),
        ("SOLO:4A", true, "4A", DEFAULT_WORKER),
        (" Solo: 4A+50.solo:rig", true, "4A", "solo_rig"),
        ("solo:", true, "", DEFAULT_WORKER),
        ("solo", false, "solo", DEFAULT_WORKER),
        ("solo:solo:4A", true, "solo:4A", DEFAULT_WORKER),
        ("pool:4A", false, "pool:4A", DEFAULT_WORKER),
        ("söl:4A", false, "söl:4A", DEFAULT_WORKER),
        ("", false, "", DEFAULT_WORKER),
    ] {
        let login = with_password(user, "x");
        assert_eq!(
            (login.solo, login.address.as_str(), login.worker.as_str()),
            (solo, address, worker),
            "{user}"
        );
    }
}

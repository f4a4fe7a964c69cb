//! The line codec and the commands: captured lines, hostile lines, and lines cut anywhere.

use headframe_stratum::protocol::line::{LineBuffer, LineError};
use headframe_stratum::protocol::{Command, parse};
use headframe_stratum::share::Rejection;
use proptest::prelude::*;
use serde_json::json;

const CAPTURED: &str = include_str!("../data/xmrig-6.26-client-lines.ndjson");

fn login(user: &str, rigid: Option<&str>) -> headframe_stratum::protocol::login::Login {
    let mut line = json!({"id": 1, "method": "login", "params": {"login": user, "pass": "x"}});
    if let Some(rigid) = rigid {
        line["params"]["rigid"] = json!(rigid);
    }
    match parse(line.to_string().as_bytes()).unwrap().command {
        Command::Login(login) => login,
        other => panic!("{other:?}"),
    }
}

#[test]
fn captured_lines_are_understood() {
    let requests: Vec<_> = CAPTURED
        .lines()
        .map(|line| parse(line.as_bytes()).unwrap())
        .collect();
    let Command::Login(login) = &requests[0].command else {
        panic!("{:?}", requests[0])
    };
    assert_eq!(
        (login.address.as_str(), login.worker.as_str()),
        ("4AddrExample", "rack7")
    );
    assert!(login.algos.contains(&"rx/0".to_owned()) && login.agent.starts_with("XMRig/6.26.0"));
    for request in &requests[1..] {
        let Command::Submit(submit) = &request.command else {
            panic!("{request:?}")
        };
        assert_eq!(submit.clone().bytes().unwrap().job_id, "e844d7f81d2bcbfa");
    }
    assert_eq!(requests[5].id, json!(6));
}

#[test]
fn the_user_says_worker_and_difficulty_in_any_order() {
    let cases = [
        ("A", "A", "default", None),
        ("A.rig", "A", "rig", None),
        ("A+5000", "A", "default", Some(5000)),
        ("A.rig+5000", "A", "rig", Some(5000)),
        ("A+5000.rig", "A", "rig", Some(5000)),
        ("A.rack.7", "A", "rack.7", None),
        ("A.", "A", "default", None),
        ("A+0", "A", "default", None),
        ("A+NaN", "A", "default", None),
        ("A+99999999999999999999", "A", "default", None),
        ("A.<b>\"x\"\n", "A", "_b__x_", None),
    ];
    for (user, address, worker, difficulty) in cases {
        let login = login(user, None);
        assert_eq!(
            (
                login.address.as_str(),
                login.worker.as_str(),
                login.fixed_difficulty
            ),
            (address, worker, difficulty),
            "{user}"
        );
    }
    assert_eq!(login("A.rig", Some("rack7")).worker, "rack7");
    assert_eq!(login("A.rig", Some("")).worker, "rig");
    assert_eq!(
        login(&format!("A.{}", "w".repeat(500)), None).worker.len(),
        64
    );
}

#[test]
fn only_exact_hex_is_a_share() {
    let good = "07000000";
    let result = "ab".repeat(32);
    let read = |nonce: &str, result: &str| {
        let line = json!({"id": 2, "method": "submit", "params": {"job_id": "j", "nonce": nonce,
            "result": result}});
        match parse(line.to_string().as_bytes()).unwrap().command {
            Command::Submit(submit) => submit.bytes(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read("0A00000b", &result).unwrap().nonce, [10, 0, 0, 11]);
    assert_eq!(read(good, &result.to_uppercase()), read(good, &result));
    for nonce in [
        "",
        "0700000",
        "070000000",
        "0x070000",
        " 7000000",
        "07000000 ",
        "0700000g",
        "٠٧٠٠٠٠٠٠",
    ] {
        assert_eq!(
            read(nonce, &result),
            Err(Rejection::MalformedNonce),
            "{nonce}"
        );
    }
    for bad in [
        "",
        &result[1..],
        &format!("{result}00"),
        &result.replace('a', "x"),
    ] {
        assert_eq!(read(good, bad), Err(Rejection::MalformedResult), "{bad}");
    }
}

#[test]
fn hostile_lines_are_refused_or_harmless() {
    let deep = format!(
        "{{\"id\":1,\"method\":\"login\",\"params\":{}{}}}",
        "[".repeat(500),
        "]".repeat(500)
    );
    let twice = r#"{"id":1,"method":"login","method":"submit"}"#;
    let malformed = [
        "",
        "{",
        "[]",
        "null",
        "42",
        "{}",
        r#"{"id":[1],"method":"submit"}"#,
        r#"{"method":5}"#,
        twice,
        &deep,
        "\u{0}",
    ];
    for line in malformed {
        assert!(parse(line.as_bytes()).is_err(), "{line}");
    }
    assert!(parse(b"{\"id\":1,\"method\":\"\xff\"}").is_err());
    let commands = [
        (r#"{"id":1,"method":"login"}"#, "login"),
        (r#"{"id":1,"method":"login","params":{"login":7}}"#, "login"),
        (
            r#"{"id":1,"method":"submit","params":{"job_id":"a","nonce":1,"result":"b"}}"#,
            "submit",
        ),
    ];
    for (line, what) in commands {
        let command = parse(line.as_bytes()).unwrap().command;
        assert!(
            matches!(command, Command::Unusable(reason) if reason.contains(what)),
            "{command:?}"
        );
    }
    assert_eq!(
        parse(br#"{"method":"mining.subscribe"}"#).unwrap().command,
        Command::Unknown("mining.subscribe".to_owned())
    );
    assert_eq!(
        parse(br#"{"id":184467440737095516199,"method":"keepalived"}"#)
            .unwrap()
            .command,
        Command::Keepalived
    );
}

#[test]
fn a_line_without_end_is_cut_off() {
    let mut lines = LineBuffer::default();
    lines.push(&[b'a'; 100]);
    assert!(matches!(lines.take(100), Ok(None)));
    lines.push(b"a");
    assert!(matches!(lines.take(100), Err(LineError::TooLong(100))));
    let mut lines = LineBuffer::default();
    lines.push(&[b'a'; 101]);
    lines.push(b"\n");
    assert!(matches!(lines.take(100), Err(LineError::TooLong(100))));
}

proptest! {
    #[test]
    fn lines_survive_any_cut(lines in prop::collection::vec("[^\r\n\\s][^\r\n]{0,80}", 0..12),
        cuts in prop::collection::vec(1usize..40, 1..200), crlf: bool) {
        let end = if crlf { "\r\n" } else { "\n" };
        let stream: String = lines.iter().map(|line| format!("{line}{end}")).collect();
        let (mut reader, mut read, mut rest) = (LineBuffer::default(), Vec::new(),
            stream.as_bytes());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            reader.push(now);
            rest = later;
            while let Some(line) = reader.take(1000).unwrap() {
                read.push(String::from_utf8(line).unwrap());
            }
        }
        prop_assert_eq!(read, lines);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300),
        at in 0usize..700) {
        let _ = parse(&bytes);
        let good = CAPTURED.lines().next().unwrap().as_bytes();
        let mut spoiled = good.to_vec();
        let at = at % spoiled.len();
        spoiled.splice(at..at, bytes);
        let _ = parse(&spoiled);
    }
}

//! The book of bans and its file.

use headframe_stratum::defence::addresses::{Block, Origin};
use headframe_stratum::defence::bans::{Ban, Book, Settings, Subject};
use headframe_stratum::defence::conduct::Party;
use headframe_stratum::defence::ledger;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> Subject {
    Subject::Address(Origin::of(ip(text)))
}

fn session(text: &str, wallet: &str, worker: &str) -> Subject {
    Subject::Session(Party {
        origin: Origin::of(ip(text)),
        wallet: wallet.to_owned(),
        worker: worker.to_owned(),
    })
}

fn lasts_s(ban: &Ban) -> u64 {
    (ban.until_ms.unwrap() - ban.since_ms) / 1000
}

#[test]
fn bans_end_and_come_back_longer() {
    let mut book = Book::new(Settings::default());
    let who = address("203.0.113.1");
    let mut now_ms = 1_000_000;
    let mut lasted = Vec::new();
    for times in 1..=5 {
        let ban = book
            .sentence(who.clone(), "wrong_result", 100, now_ms)
            .unwrap();
        assert_eq!((ban.times, ban.manual, ban.score), (times, false, 100));
        assert_eq!(
            book.sentence(who.clone(), "wrong_result", 100, now_ms),
            None,
            "what was in flight changes nothing"
        );
        assert!(
            book.of_address(ip("203.0.113.1"), ban.until_ms.unwrap() - 1)
                .is_some()
        );
        assert!(
            book.of_address(ip("203.0.113.1"), ban.until_ms.unwrap())
                .is_none(),
            "ends without a sweep"
        );
        lasted.push(lasts_s(&ban));
        now_ms = ban.until_ms.unwrap();
        assert_eq!(book.expire(now_ms), [ban]);
    }
    assert_eq!(lasted, [600, 2400, 9600, 38_400, 86_400]);
    // A week later nobody remembers.
    now_ms += 604_800_000;
    assert_eq!(
        lasts_s(&book.sentence(who.clone(), "x", 100, now_ms).unwrap()),
        600
    );
    // The same without a sweep in between.
    let again = book.sentence(who, "x", 100, now_ms + 600_000).unwrap();
    assert_eq!((again.times, lasts_s(&again), book.len()), (2, 2400, 1));
}

#[test]
fn a_session_is_wallet_worker_and_address_together() {
    let mut book = Book::new(Settings::default());
    book.sentence(session("203.0.113.1", "4A", "bad"), "wrong_result", 100, 0)
        .unwrap();
    let party = |text: &str, wallet: &str, worker: &str| match session(text, wallet, worker) {
        Subject::Session(party) => party,
        other => panic!("{other:?}"),
    };
    assert!(
        book.of_party(&party("203.0.113.1", "4A", "bad"), 1)
            .is_some()
    );
    // A victim whose wallet somebody else mined badly for, another worker, another wallet at the
    // same place: all free.
    for (text, wallet, worker) in [
        ("198.51.100.1", "4A", "bad"),
        ("203.0.113.1", "4A", "good"),
        ("203.0.113.1", "4B", "bad"),
    ] {
        assert!(book.of_party(&party(text, wallet, worker), 1).is_none());
    }
    assert!(book.of_address(ip("203.0.113.1"), 1).is_none());
    // A wallet alone cannot even be written down.
    assert!(serde_json::from_str::<Subject>(r#"{"wallet":"4A"}"#).is_err());
    assert!(
        serde_json::from_str::<Subject>(r#"{"session":{"wallet":"4A","worker":"bad"}}"#).is_err()
    );
}

#[test]
fn an_operator_bans_networks_and_lifts_bans() {
    let mut book = Book::new(Settings::default());
    let network = Subject::Network("198.51.100.0/22".parse::<Block>().unwrap());
    assert_eq!(
        book.sentence(network.clone(), "x", 1, 0),
        None,
        "a network is never banned automatically"
    );
    let ban = book
        .ban(network.clone(), "asked by their provider", None, 5)
        .unwrap();
    assert_eq!((ban.until_ms, ban.manual), (None, true));
    assert!(book.of_address(ip("198.51.103.255"), u64::MAX).is_some());
    assert!(book.of_address(ip("198.51.104.0"), 6).is_none());
    // A word of the operator replaces the automatic ban, and lifting forgets it.
    book.sentence(address("203.0.113.1"), "x", 100, 0).unwrap();
    assert_eq!(
        lasts_s(
            &book
                .ban(address("203.0.113.1"), "longer", Some(7), 10)
                .unwrap()
        ),
        7
    );
    assert_eq!(book.len(), 2);
    assert!(
        book.unban(&address("203.0.113.1")).is_some()
            && book.unban(&address("203.0.113.1")).is_none()
    );
    assert_eq!(
        book.sentence(address("203.0.113.1"), "x", 100, 20)
            .unwrap()
            .times,
        1
    );
    assert!(book.unban(&network).is_some());
    assert!(book.of_address(ip("198.51.100.1"), 6).is_none());
    // The /64 of an IPv6 address is one.
    book.sentence(address("2001:db8:0:7::1"), "x", 100, 0)
        .unwrap();
    assert!(
        book.of_address(ip("2001:db8:0:7:9999::1"), 1).is_some()
            && book.of_address(ip("2001:db8:0:8::1"), 1).is_none()
    );
}

#[test]
fn the_book_is_bounded_and_keeps_the_operators_word() {
    let mut book = Book::new(Settings {
        most: 3,
        ..Settings::default()
    });
    book.ban(address("203.0.113.1"), "by hand", Some(1), 0)
        .unwrap();
    for host in 2..50u64 {
        book.sentence(address(&format!("203.0.113.{host}")), "x", 100, host)
            .unwrap();
        assert!(book.len() <= 3);
    }
    let kept: Vec<_> = book.all().into_iter().map(|ban| ban.subject).collect();
    assert_eq!(
        kept,
        [
            address("203.0.113.1"),
            address("203.0.113.48"),
            address("203.0.113.49")
        ]
    );
    for host in 100..102 {
        book.ban(address(&format!("203.0.113.{host}")), "by hand", None, 0)
            .unwrap();
    }
    assert!(
        book.ban(address("203.0.113.200"), "by hand", None, 0)
            .unwrap_err()
            .to_string()
            .contains("bans.most")
    );
}

#[test]
fn the_file_keeps_bans_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper/bans.ndjson");
    assert_eq!(ledger::read(&path).unwrap(), (vec![], vec![]));
    let mut book = Book::new(Settings::default());
    book.sentence(session("203.0.113.1", "4A", "bad"), "wrong_result", 100, 0)
        .unwrap();
    book.sentence(address("2001:db8::1"), "pre_login_junk", 100, 500_000)
        .unwrap();
    book.ban(
        Subject::Network("198.51.100.0/24".parse().unwrap()),
        "by \"hand\"\n",
        None,
        7,
    )
    .unwrap();
    ledger::write(&path, &book.all()).unwrap();
    let (kept, bad) = ledger::read(&path).unwrap();
    assert_eq!((&kept, bad), (&book.all(), vec![]));
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600,
        "addresses are nobody else's business"
    );
    let mut restarted = Book::new(Settings::default());
    restarted.restore(kept, 700_000);
    assert_eq!(
        restarted.len(),
        2,
        "the first ended while the pool was down"
    );
    let again = restarted
        .sentence(session("203.0.113.1", "4A", "bad"), "x", 100, 700_000)
        .unwrap();
    assert_eq!(
        (again.times, lasts_s(&again)),
        (2, 2400),
        "and still counts"
    );
    // Somebody edited the file: what can be read is used, the rest is named.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        format!("nonsense\n\n{text}{{\"subject\":{{\"wallet\":\"4A\"}}}}\n"),
    )
    .unwrap();
    let (kept, bad) = ledger::read(&path).unwrap();
    assert_eq!((kept.len(), bad), (3, vec![1, 6]));
}

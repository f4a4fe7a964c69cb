//! The list of bans and its file.

use headframe_stratum::defence::addresses::{Cidr, ClientAddress};
use headframe_stratum::defence::ban_file;
use headframe_stratum::defence::bans::{Ban, BanConfig, BanList, BanTarget};
use headframe_stratum::defence::worker_id::WorkerId;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> BanTarget {
    BanTarget::Address(ClientAddress::new(ip(text)))
}

fn session(text: &str, wallet: &str, worker: &str) -> BanTarget {
    BanTarget::Session(WorkerId {
        origin: ClientAddress::new(ip(text)),
        wallet: wallet.to_owned(),
        worker: worker.to_owned(),
    })
}

fn lasts_s(ban: &Ban) -> u64 {
    (ban.until_ms.unwrap() - ban.since_ms) / 1000
}

#[test]
fn bans_end_and_come_back_longer() {
    let mut list = BanList::new(BanConfig::default());
    let who = address("203.0.113.1");
    let mut now_ms = 1_000_000;
    let mut lasted = Vec::new();
    for times in 1..=5 {
        let ban = list
            .ban_automatically(who.clone(), "wrong_result", 100, now_ms)
            .unwrap();
        assert_eq!((ban.times, ban.manual, ban.score), (times, false, 100));
        assert_eq!(
            list.ban_automatically(who.clone(), "wrong_result", 100, now_ms),
            None,
            "what was in flight changes nothing"
        );
        assert!(
            list.covering_address(ip("203.0.113.1"), ban.until_ms.unwrap() - 1)
                .is_some()
        );
        assert!(
            list.covering_address(ip("203.0.113.1"), ban.until_ms.unwrap())
                .is_none(),
            "ends without a sweep"
        );
        lasted.push(lasts_s(&ban));
        now_ms = ban.until_ms.unwrap();
        assert_eq!(list.expire(now_ms), [ban]);
    }
    assert_eq!(lasted, [600, 2400, 9600, 38_400, 86_400]);
    // A week later nobody remembers.
    now_ms += 604_800_000;
    assert_eq!(
        lasts_s(
            &list
                .ban_automatically(who.clone(), "x", 100, now_ms)
                .unwrap()
        ),
        600
    );
    // The same without a sweep in between.
    let again = list
        .ban_automatically(who, "x", 100, now_ms + 600_000)
        .unwrap();
    assert_eq!((again.times, lasts_s(&again), list.len()), (2, 2400, 1));
}

#[test]
fn a_session_is_wallet_worker_and_address_together() {
    let mut list = BanList::new(BanConfig::default());
    list.ban_automatically(session("203.0.113.1", "4A", "bad"), "wrong_result", 100, 0)
        .unwrap();
    let worker_id = |text: &str, wallet: &str, worker: &str| match session(text, wallet, worker) {
        BanTarget::Session(worker_id) => worker_id,
        other => panic!("{other:?}"),
    };
    assert!(
        list.covering_worker(&worker_id("203.0.113.1", "4A", "bad"), 1)
            .is_some()
    );
    // A victim whose wallet somebody else mined badly for, another worker, another wallet at the
    // same place: all free.
    for (text, wallet, worker) in [
        ("198.51.100.1", "4A", "bad"),
        ("203.0.113.1", "4A", "good"),
        ("203.0.113.1", "4B", "bad"),
    ] {
        assert!(
            list.covering_worker(&worker_id(text, wallet, worker), 1)
                .is_none()
        );
    }
    assert!(list.covering_address(ip("203.0.113.1"), 1).is_none());
    // A wallet alone cannot even be written down.
    assert!(serde_json::from_str::<BanTarget>(r#"{"wallet":"4A"}"#).is_err());
    assert!(
        serde_json::from_str::<BanTarget>(r#"{"session":{"wallet":"4A","worker":"bad"}}"#).is_err()
    );
}

#[test]
fn an_operator_bans_networks_and_lifts_bans() {
    let mut list = BanList::new(BanConfig::default());
    let network = BanTarget::Network("198.51.100.0/22".parse::<Cidr>().unwrap());
    assert_eq!(
        list.ban_automatically(network.clone(), "x", 1, 0),
        None,
        "a network is never banned automatically"
    );
    let ban = list
        .ban_manually(network.clone(), "asked by their provider", None, 5)
        .unwrap();
    assert_eq!((ban.until_ms, ban.manual), (None, true));
    assert!(
        list.covering_address(ip("198.51.103.255"), u64::MAX)
            .is_some()
    );
    assert!(list.covering_address(ip("198.51.104.0"), 6).is_none());
    // A word of the operator replaces the automatic ban, and lifting forgets it.
    list.ban_automatically(address("203.0.113.1"), "x", 100, 0)
        .unwrap();
    assert_eq!(
        lasts_s(
            &list
                .ban_manually(address("203.0.113.1"), "longer", Some(7), 10)
                .unwrap()
        ),
        7
    );
    assert_eq!(list.len(), 2);
    assert!(
        list.unban(&address("203.0.113.1")).is_some()
            && list.unban(&address("203.0.113.1")).is_none()
    );
    assert_eq!(
        list.ban_automatically(address("203.0.113.1"), "x", 100, 20)
            .unwrap()
            .times,
        1
    );
    assert!(list.unban(&network).is_some());
    assert!(list.covering_address(ip("198.51.100.1"), 6).is_none());
    // The /64 of an IPv6 address is one.
    list.ban_automatically(address("2001:db8:0:7::1"), "x", 100, 0)
        .unwrap();
    assert!(
        list.covering_address(ip("2001:db8:0:7:9999::1"), 1)
            .is_some()
            && list.covering_address(ip("2001:db8:0:8::1"), 1).is_none()
    );
}

#[test]
fn the_book_is_bounded_and_keeps_the_operators_word() {
    let mut list = BanList::new(BanConfig {
        most: 3,
        ..BanConfig::default()
    });
    list.ban_manually(address("203.0.113.1"), "by hand", Some(1), 0)
        .unwrap();
    for host in 2..50u64 {
        list.ban_automatically(address(&format!("203.0.113.{host}")), "x", 100, host)
            .unwrap();
        assert!(list.len() <= 3);
    }
    let kept: Vec<_> = list.all().into_iter().map(|ban| ban.subject).collect();
    assert_eq!(
        kept,
        [
            address("203.0.113.1"),
            address("203.0.113.48"),
            address("203.0.113.49")
        ]
    );
    for host in 100..102 {
        list.ban_manually(address(&format!("203.0.113.{host}")), "by hand", None, 0)
            .unwrap();
    }
    assert!(
        list.ban_manually(address("203.0.113.200"), "by hand", None, 0)
            .unwrap_err()
            .to_string()
            .contains("bans.most")
    );
}

#[test]
fn the_file_keeps_bans_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper/bans.ndjson");
    assert_eq!(ban_file::read(&path).unwrap(), (vec![], vec![]));
    let mut list = BanList::new(BanConfig::default());
    list.ban_automatically(session("203.0.113.1", "4A", "bad"), "wrong_result", 100, 0)
        .unwrap();
    list.ban_automatically(address("2001:db8::1"), "pre_login_junk", 100, 500_000)
        .unwrap();
    list.ban_manually(
        BanTarget::Network("198.51.100.0/24".parse().unwrap()),
        "by \"hand\"\n",
        None,
        7,
    )
    .unwrap();
    ban_file::write(&path, &list.all()).unwrap();
    let (kept, bad) = ban_file::read(&path).unwrap();
    assert_eq!((&kept, bad), (&list.all(), vec![]));
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600,
        "addresses are nobody else's business"
    );
    let mut restarted = BanList::new(BanConfig::default());
    restarted.restore(kept, 700_000);
    assert_eq!(
        restarted.len(),
        2,
        "the first ended while the pool was down"
    );
    let again = restarted
        .ban_automatically(session("203.0.113.1", "4A", "bad"), "x", 100, 700_000)
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
    let (kept, bad) = ban_file::read(&path).unwrap();
    assert_eq!((kept.len(), bad), (3, vec![1, 6]));
}

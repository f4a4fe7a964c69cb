//! Addresses, buckets, bounded memory, names, descriptors, privacy and settings.

use headframe_stratum::StratumConfig;
use headframe_stratum::defence::addresses::{Cidr, ClientAddress};
use headframe_stratum::defence::config::{AddressForm, DefenceConfig};
use headframe_stratum::defence::descriptors::{self, RESERVE};
use headframe_stratum::defence::privacy::Privacy;
use headframe_stratum::defence::worker_names::{OTHERS, WorkerNames, WorkerNamesConfig};
use headframe_stratum::lru_map::LruMap;
use headframe_stratum::token_bucket::{Bucket, Rate};
use proptest::prelude::*;
use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn blocks_are_read_and_hold_what_they_say() {
    let cases = [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("203.0.113.7/24", "203.0.113.255", "203.0.112.255"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("::/0", "2001:db8::1", "10.0.0.1"),
        ("10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"),
    ];
    for (block, inside, outside) in cases {
        let block: Cidr = block.parse().unwrap();
        assert!(
            block.contains(ip(inside)) && !block.contains(ip(outside)),
            "{block}"
        );
        assert_eq!(block.to_string().parse::<Cidr>().unwrap(), block);
    }
    for bad in [
        "",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "10.0.0/8",
        "10.0.0.0/-1",
        "::ffff:10.0.0.0/104",
        "example.org",
        "10.0.0.0/8/8",
    ] {
        assert!(bad.parse::<Cidr>().is_err(), "{bad}");
    }
    assert_eq!(
        ClientAddress::new(ip("::ffff:203.0.113.7")),
        ClientAddress::new(ip("203.0.113.7"))
    );
    assert_eq!(
        ClientAddress::new(ip("2001:db8:0:7:1:2:3:4")),
        ClientAddress::new(ip("2001:db8:0:7::"))
    );
    assert_eq!(
        ClientAddress::new(ip("2001:db8:0:7::1")).to_string(),
        "2001:db8:0:7::/64"
    );
    assert_eq!(
        Cidr::neighbourhood(ip("203.0.113.7")).to_string(),
        "203.0.113.0/24"
    );
}

#[test]
fn a_bucket_holds_its_burst_and_owes_no_more() {
    let rate = Rate {
        per_s: 2.0,
        burst: 10.0,
    };
    let mut bucket = Bucket::full(rate, 0);
    assert!((0..10).all(|_| bucket.take(rate, 1.0, 0)) && !bucket.take(rate, 1.0, 0));
    assert!(!bucket.take(rate, 1.0, 499) && bucket.take(rate, 1.0, 500));
    bucket.charge(rate, 1e9, 500);
    assert_eq!(bucket.level(rate, 500), -10.0);
    assert_eq!(
        bucket.level(rate, 400),
        -10.0,
        "a clock that runs backwards changes nothing"
    );
    assert_eq!(bucket.level(rate, 1_000_000), 10.0);
    bucket.give(rate, 5.0, 1_000_000);
    assert_eq!(bucket.level(rate, 1_000_000), 10.0);
}

proptest! {
    #[test]
    fn memory_is_bounded_and_forgets_the_oldest(most in 1usize..8,
        uses in prop::collection::vec((0u8..20, 0u8..4), 0..200)) {
        let mut recent = LruMap::new(most);
        let mut model: Vec<(u8, usize)> = Vec::new();
        for (at, (key, step)) in uses.into_iter().enumerate() {
            let known = model.iter().position(|(other, _)| *other == key);
            match step {
                0 => {
                    prop_assert_eq!(recent.remove(&key).is_some(), known.is_some());
                    known.map(|known| model.remove(known));
                }
                1 => {
                    prop_assert_eq!(recent.get(&key).map(|value| *value),
                        known.map(|known| model[known].1));
                    if let Some(known) = known {
                        let entry = model.remove(known);
                        model.push(entry);
                    }
                }
                _ => {
                    let entry = known.map_or((key, at), |known| model.remove(known));
                    if known.is_none() && model.len() == most {
                        model.remove(0);
                    }
                    model.push(entry);
                    prop_assert_eq!(*recent.entry(&key, || at), entry.1);
                }
            }
            prop_assert_eq!(recent.len(), model.len());
            prop_assert!(model.iter().all(|(key, value)| recent.peek(key) == Some(value)));
        }
    }
}

#[test]
fn worker_names_are_capped_and_nobody_fills_a_strangers_list() {
    let mut names = WorkerNames::new(WorkerNamesConfig {
        workers_per_wallet: 2,
        workers: 3,
        keep_s: 60,
    });
    assert_eq!(
        [
            names.enter("4A", "a", 0),
            names.enter("4A", "b", 0),
            names.enter("4A", "c", 0)
        ],
        ["a", "b", OTHERS]
    );
    assert_eq!(names.enter("4A", "a", 0), "a", "a known name has its place");
    // Logins without a share leave nothing behind.
    names.leave("4A", "b", false, 1);
    names.leave("4A", OTHERS, true, 1);
    assert_eq!(names.enter("4A", "c", 1), "c");
    // A name with shares is kept for a while, and then makes space.
    names.leave("4A", "c", true, 1_000);
    assert_eq!(names.enter("4A", "d", 60_999), OTHERS);
    assert_eq!(names.enter("4A", "d", 61_000), "d");
    // The cap over all wallets: only unused names make space.
    assert_eq!(
        [names.enter("4B", "x", 0), names.enter("4C", "y", 0)],
        ["x", OTHERS]
    );
    assert_eq!(names.len(), 3);
    names.leave("4A", "a", true, 2_000);
    assert_eq!(
        names.enter("4C", "y", 2_000),
        OTHERS,
        "the name has another connection"
    );
    names.leave("4A", "a", true, 2_000);
    assert_eq!(names.enter("4C", "y", 2_000), "y");
    for (wallet, worker) in [("4A", "d"), ("4B", "x"), ("4C", "y"), ("4D", "never came")] {
        names.leave(wallet, worker, false, 3_000);
    }
    assert!(names.is_empty());
}

#[test]
fn too_few_descriptors_are_a_reason_not_to_start() {
    assert!(
        descriptors::fits(10_000, None).is_ok()
            && descriptors::fits(10_000, Some(10_000 + RESERVE)).is_ok()
    );
    let refused = descriptors::fits(10_000, Some(4096))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("needs 10512")
            && refused.contains("may open 4096")
            && refused.contains("max_sessions to 3584"),
        "{refused}"
    );
    let limit = descriptors::raise(1).unwrap();
    let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!((now.current, now.maximum), (limit, limit));
}

#[test]
fn addresses_can_be_hidden_from_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "sixteen bytes or more\n").unwrap();
    let plain = Privacy::new(AddressForm::Plain, None).unwrap();
    assert_eq!(plain.address(ip("::ffff:203.0.113.7")), "203.0.113.7");
    let hashed = Privacy::new(AddressForm::Hashed, Some(&file)).unwrap();
    let again = Privacy::new(AddressForm::Hashed, Some(&file)).unwrap();
    let shown = hashed.address(ip("203.0.113.7"));
    assert!(shown.len() == 32 && shown != hashed.address(ip("203.0.113.8")));
    assert_eq!(
        shown,
        again.address(ip("203.0.113.7")),
        "the same key gives the same hash after a restart"
    );
    assert_eq!(
        shown,
        hashed.origin(ClientAddress::new(ip("203.0.113.7"))),
        "a ban is found by its sessions' hash"
    );
    assert_eq!(
        hashed.address(ip("2001:db8::1")),
        hashed.origin(ClientAddress::new(ip("2001:db8::2")))
    );
    let drawn = [0, 1].map(|_| {
        Privacy::new(AddressForm::Hashed, None)
            .unwrap()
            .address(ip("203.0.113.7"))
    });
    assert!(drawn[0] != drawn[1] && drawn[0] != shown);
    std::fs::write(&file, "too short\n").unwrap();
    assert!(Privacy::new(AddressForm::Hashed, Some(&file)).is_err());
    assert!(Privacy::new(AddressForm::Hashed, Some(&folder.path().join("none"))).is_err());
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    assert_eq!(DefenceConfig::default().validate(), Ok(()));
    let refused = |change: fn(&mut DefenceConfig)| {
        let mut config = StratumConfig {
            wallet: crate::address::MAINNET.to_owned(),
            ..StratumConfig::default()
        };
        change(&mut config.defence);
        config.validate().unwrap_err().to_string()
    };
    assert!(
        refused(|settings| settings.allow = vec!["10.0.0.0/8".into(), "home".into()])
            .contains("defence.allow = home")
    );
    assert!(
        refused(|settings| settings.limits.connections_per_address = 0)
            .contains("defence.limits.connections_per_address = 0")
    );
    assert!(refused(|settings| settings.bans.longest_s = 1).contains("defence.bans.first_s"));
    assert!(
        refused(|settings| settings.verify.in_flight_unproven = 9).contains("in_flight_proven")
    );
    assert!(
        refused(|settings| settings.address_key_file = Some("key".into()))
            .contains("addresses_in_rows")
    );
    assert!(refused(|settings| settings.send_buffer_bytes = 1).contains("4096"));
}

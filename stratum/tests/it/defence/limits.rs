//! Connections by address and neighbourhood.

use headframe_stratum::defence::limits::{ConnectionLimits, Limits};
use headframe_stratum::defence::refusal::Refusal;
use proptest::prelude::*;
use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn small() -> ConnectionLimits {
    ConnectionLimits {
        connections_per_address: 3,
        connections_per_network: 5,
        pre_login_per_address: 2,
        pre_login_per_network: 4,
        logins_per_minute_address: 60,
        logins_per_minute_network: 6000,
        connections_per_site: 7,
        pre_login_per_site: 100,
        logins_per_minute_site: 6000,
        ..ConnectionLimits::default()
    }
}

#[test]
fn an_address_and_its_neighbourhood_are_bounded() {
    let mut limits = Limits::new(small());
    let (a, b, far) = (ip("203.0.113.1"), ip("203.0.113.2"), ip("198.51.100.1"));
    assert_eq!(limits.arrive(a, 0), Ok(()));
    assert_eq!(limits.arrive(a, 0), Ok(()));
    assert_eq!(limits.arrive(a, 0), Err(Refusal::PreLoginOfAddress));
    limits.logged_in(a);
    assert_eq!(limits.arrive(a, 0), Ok(()));
    limits.logged_in(a);
    // Refused for the count before anything is taken from the pace.
    assert_eq!(limits.arrive(a, 0), Err(Refusal::ConnectionsOfAddress));
    assert_eq!((limits.arrive(b, 0), limits.arrive(b, 0)), (Ok(()), Ok(())));
    assert_eq!(
        limits.arrive(ip("203.0.113.3"), 0),
        Err(Refusal::ConnectionsOfNetwork)
    );
    assert_eq!(limits.arrive(far, 0), Ok(()));
    limits.leave(b, false);
    assert_eq!(
        limits.arrive(ip("203.0.113.3"), 0),
        Err(Refusal::PaceOfNetwork)
    );
    assert_eq!(limits.arrive(ip("203.0.113.3"), 60_000), Ok(()));
    // The same address in IPv6 clothes is the same address.
    assert_eq!(
        limits.arrive(ip("::ffff:203.0.113.1"), 60_000),
        Err(Refusal::ConnectionsOfAddress)
    );
}

#[test]
fn an_ipv6_customer_is_one_neighbourhood() {
    let mut limits = Limits::new(ConnectionLimits {
        pre_login_per_network: 100,
        ..small()
    });
    for host in 1..=5 {
        assert_eq!(
            limits.arrive(ip(&format!("2001:db8:0:7::{host:x}")), 0),
            Ok(())
        );
    }
    assert_eq!(
        limits.arrive(ip("2001:db8:0:7:ffff::1"), 0),
        Err(Refusal::ConnectionsOfNetwork)
    );
    assert_eq!(limits.arrive(ip("2001:db8:0:8::1"), 0), Ok(()));
}

#[test]
fn an_ipv6_site_is_bounded_however_many_neighbourhoods_it_uses() {
    let mut limits = Limits::new(small());
    for neighbourhood in 0..7 {
        let address = ip(&format!("2001:db8:7:{neighbourhood:x}::1"));
        assert_eq!(limits.arrive(address, 0), Ok(()));
        limits.logged_in(address);
    }
    let one_more = ip("2001:db8:7:ffff::1");
    assert_eq!(limits.arrive(one_more, 0), Err(Refusal::ConnectionsOfSite));
    // Another site has its own places, and what leaves is free again.
    assert_eq!(limits.arrive(ip("2001:db8:8::1"), 0), Ok(()));
    limits.leave(ip("2001:db8:7:3::1"), true);
    assert_eq!(limits.arrive(one_more, 60_000), Ok(()));
    // IPv4 has no sites: 203.0.113.0/24 and its neighbours share nothing.
    for network in 0..20 {
        let address = ip(&format!("203.0.{network}.1"));
        assert_eq!(limits.arrive(address, 0), Ok(()));
    }
}

#[test]
fn logins_come_at_a_pace_and_a_burst_of_all_rigs_at_once_is_fine() {
    let mut limits = Limits::new(small());
    let a = ip("203.0.113.1");
    let mut come_and_go = |now_ms| {
        let arrived = limits.arrive(a, now_ms);
        if arrived.is_ok() {
            limits.leave(a, false);
        }
        arrived
    };
    for _ in 0..3 {
        assert_eq!(come_and_go(0), Ok(()));
    }
    assert_eq!(come_and_go(0), Err(Refusal::PaceOfAddress));
    assert_eq!(come_and_go(999), Err(Refusal::PaceOfAddress));
    assert_eq!(come_and_go(1000), Ok(()));
    assert_eq!(come_and_go(1001), Err(Refusal::PaceOfAddress));
    // Being thrown out costs logins, but never so many that one does not come back in time.
    let mut thrown = Limits::new(ConnectionLimits {
        connections_per_address: 20,
        pre_login_per_address: 20,
        pre_login_per_network: 20,
        ..small()
    });
    thrown.penalise(a, 16, 0);
    assert_eq!((0..20).filter(|_| thrown.arrive(a, 0).is_ok()).count(), 4);
    thrown.penalise(a, 16, 0);
    assert_eq!(
        (thrown.arrive(a, 999), thrown.arrive(a, 1000)),
        (Err(Refusal::PaceOfAddress), Ok(()))
    );
    // A farm of as many rigs as may connect comes back after a restart of the pool without a
    // refusal.
    let mut limits = Limits::new(ConnectionLimits {
        pre_login_per_address: 512,
        pre_login_per_network: 512,
        ..ConnectionLimits::default()
    });
    let rigs = (0..512).filter(|_| limits.arrive(a, 0).is_ok()).count();
    assert_eq!(rigs, 512);
}

proptest! {
    #[test]
    fn what_is_open_is_counted_right(steps in prop::collection::vec((0u8..6, 0u8..3), 1..400)) {
        let settings = ConnectionLimits { logins_per_minute_address: 1_000_000,
            logins_per_minute_network: 1_000_000, ..small() };
        let mut limits = Limits::new(settings.clone());
        let mut open: Vec<(IpAddr, bool)> = Vec::new();
        for (number, (host, step)) in steps.into_iter().enumerate() {
            // Two neighbourhoods of three addresses.
            let address = ip(&format!("203.0.{}.{}", host / 3, host % 3));
            let around = |open: &(IpAddr,
                bool)| open.0.to_string()[..8] == address.to_string()[..8];
            match step {
                0 => {
                    let count = |wanted: &dyn Fn(&(IpAddr,
                        bool)) -> bool| open.iter().filter(|open| wanted(open)).count() as u32;
                    let fits = count(&|open| open.0 == address) < settings.connections_per_address
                        && count(&around) < settings.connections_per_network
                        && count(&|open| open.0 == address && !open.1)
                            < settings.pre_login_per_address
                        && count(&|open| around(open) && !open.1) < settings.pre_login_per_network;
                    let arrived = limits.arrive(address, number as u64 * 1000);
                    prop_assert_eq!(arrived.is_ok(), fits, "{:?}", arrived);
                    if fits {
                        open.push((address, false));
                    }
                }
                1 => if let Some(open) = open.iter_mut().find(|open| open.0 == address && !open.1) {
                    open.1 = true;
                    limits.logged_in(address);
                },
                _ => if let Some(at) = open.iter().position(|open| open.0 == address) {
                    let (address, logged_in) = open.remove(at);
                    limits.leave(address, logged_in);
                },
            }
        }
        for (address, logged_in) in open {
            limits.leave(address, logged_in);
        }
        prop_assert_eq!(limits.addresses(), 0, "an end was not counted");
    }
}

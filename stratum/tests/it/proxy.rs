//! The PROXY header parser against the specification's own layout, cut anywhere, and against what
//! is no header.

use headframe_stratum::net::proxy::{
    MAX_REST, ProxyError, ProxySource, SIGNATURE, TrustedProxies, bytes_missing, parse,
};
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};

/// A header as a balancer sends it.
pub fn header(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [
        &SIGNATURE[..],
        &[version_and_command, family],
        &length,
        rest,
    ]
    .concat()
}

/// The header of a TCP connection from this address, with extensions after it.
pub fn from(source: SocketAddr, extensions: &[u8]) -> Vec<u8> {
    let ports = [source.port().to_be_bytes(), 3333u16.to_be_bytes()].concat();
    match source.ip() {
        IpAddr::V4(ip) => header(
            0x21,
            0x11,
            &[&ip.octets()[..], &[10, 0, 0, 1], &ports, extensions].concat(),
        ),
        IpAddr::V6(ip) => header(
            0x21,
            0x21,
            &[&ip.octets()[..], &[0xfd; 16], &ports, extensions].concat(),
        ),
    }
}

#[test]
fn the_miners_address_is_found_behind_both_families() {
    // Byte for byte as the specification lays it out: 203.0.113.7:51234 to 10.0.0.1:3333.
    let bytes =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\x0a\x00\x00\x01\xc8\x22\x0d\x05";
    assert_eq!(
        parse(bytes),
        Ok(ProxySource::Miner("203.0.113.7:51234".parse().unwrap()))
    );
    for address in ["203.0.113.7:51234", "[2001:db8::7]:1"] {
        let address: SocketAddr = address.parse().unwrap();
        // A TLV of type PP2_TYPE_NOOP, which means nothing and is skipped.
        for extensions in [&[][..], &[0x04, 0, 3, 1, 2, 3]] {
            assert_eq!(
                parse(&from(address, extensions)),
                Ok(ProxySource::Miner(address))
            );
        }
    }
    let mapped = from("[::ffff:203.0.113.7]:5".parse().unwrap(), &[]);
    assert_eq!(
        parse(&mapped),
        Ok(ProxySource::Miner("203.0.113.7:5".parse().unwrap())),
        "IPv4 in IPv6 is IPv4"
    );
}

#[test]
fn a_health_check_and_an_unknown_family_leave_the_sockets_own_address() {
    for bytes in [
        header(0x20, 0x00, &[]),
        header(0x20, 0x11, &[1; 12]),
        header(0x21, 0x00, &[]),
        header(0x21, 0x31, &[0; 216]),
    ] {
        assert_eq!(parse(&bytes), Ok(ProxySource::Socket), "{bytes:?}");
    }
}

#[test]
fn what_is_no_header_is_refused_with_the_reason() {
    let cases = [
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            ProxyError::Text,
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), ProxyError::Text),
        (
            b"{\"id\":1,\"method\":\"login\"}".to_vec(),
            ProxyError::Missing,
        ),
        (vec![0x16, 3, 1, 2, 0], ProxyError::Missing),
        (header(0x11, 0x11, &[0; 12]), ProxyError::Version(1)),
        (header(0x31, 0x11, &[0; 12]), ProxyError::Version(3)),
        (header(0x22, 0x11, &[0; 12]), ProxyError::Command(2)),
        (header(0x21, 0x12, &[0; 12]), ProxyError::Transport(0x12)),
        (header(0x21, 0x41, &[0; 12]), ProxyError::Transport(0x41)),
        (header(0x21, 0x11, &[0; 11]), ProxyError::Short),
        (header(0x21, 0x21, &[0; 35]), ProxyError::Short),
        (
            header(0x21, 0x11, &[0; MAX_REST + 1]),
            ProxyError::TooLong(16 + MAX_REST + 1),
        ),
        (
            from("203.0.113.7:1".parse().unwrap(), &[])[..27].to_vec(),
            ProxyError::Short,
        ),
    ];
    for (bytes, error) in cases {
        assert_eq!(parse(&bytes), Err(error.clone()), "{bytes:?}");
        assert!(error.to_string().contains("PROXY protocol"), "{error}");
    }
    assert_eq!(bytes_missing(&[]), Ok(16));
    assert_eq!(
        bytes_missing(b"PRO"),
        Err(ProxyError::Text),
        "it is refused at the first byte that tells"
    );
    assert_eq!(bytes_missing(b"{"), Err(ProxyError::Missing));
}

#[test]
fn only_listed_balancers_are_believed() {
    let list = |texts: &[&str]| {
        TrustedProxies::parse(
            &texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
    };
    let trusted = list(&["10.0.0.7", "192.168.0.0/16", "2001:db8::/32"]).unwrap();
    for (ip, expected) in [
        ("10.0.0.7", true),
        ("10.0.0.8", false),
        ("192.168.200.1", true),
        ("193.168.0.1", false),
        ("2001:db8:1::1", true),
        ("2001:db9::1", false),
        ("::ffff:10.0.0.7", true),
    ] {
        assert_eq!(trusted.contains(ip.parse().unwrap()), expected, "{ip}");
    }
    assert!(
        !TrustedProxies::default().contains("127.0.0.1".parse().unwrap()),
        "by default nobody is believed"
    );
    for bad in ["10.0.0.0/33", "balancer", "", "10.0.0.7:80"] {
        let error = list(&[bad]).unwrap_err().to_string();
        assert!(
            error.contains("stratum.trusted_proxies") && error.contains("10.0.0.0/8"),
            "{error}"
        );
    }
}

proptest! {
    #[test]
    fn a_header_is_read_from_any_cuts_and_no_byte_beyond(port: u16, octets: [u8; 16], v4: bool,
        extensions in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(1usize..50, 1..20)) {
        let ip: IpAddr = if v4 { IpAddr::from([octets[0], octets[1], octets[2],
            octets[3]]) } else { IpAddr::from(octets) };
        let source = SocketAddr::new(ip.to_canonical(), port);
        let bytes = from(SocketAddr::new(ip, port), &extensions);
        let mut read = 0;
        for cut in cuts.iter().cycle() {
            let want = bytes_missing(&bytes[..read]).unwrap();
            prop_assert!(read + want <= bytes.len(), "asked for bytes of the miner");
            if want == 0 {
                break;
            }
            prop_assert!(parse(&bytes[..read]).is_err());
            read += want.min(*cut);
        }
        prop_assert_eq!(read, bytes.len());
        prop_assert_eq!(parse(&bytes), Ok(ProxySource::Miner(source)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), at in 0usize..40,
        keep in 0usize..40) {
        let _ = (bytes_missing(&bytes), parse(&bytes));
        let mut spoiled = from("203.0.113.7:51234".parse().unwrap(), &[]);
        spoiled.truncate(keep);
        spoiled.splice(at.min(spoiled.len())..at.min(spoiled.len()), bytes);
        let _ = (bytes_missing(&spoiled), parse(&spoiled));
    }
}

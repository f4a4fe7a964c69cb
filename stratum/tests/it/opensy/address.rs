//! OpenSY addresses: equal to rust-bitcoin's encodings, exact to the last character, and on the
//! right network.

use bitcoin::bech32::{Fe32, Hrp, segwit};
use headframe_stratum::chain::bitcoin::address::{
    AddressError, Destination, Network, check_account, parse, parse_any,
};
use proptest::prelude::*;

use super::WALLET;

fn bech32(prefix: &str, version: u8, program: &[u8]) -> String {
    segwit::encode(
        Hrp::parse(prefix).unwrap(),
        Fe32::try_from(version).unwrap(),
        program,
    )
    .unwrap()
}

fn base58(version: u8, hash: &[u8]) -> String {
    bitcoin::base58::encode_check(&[&[version], hash].concat())
}

#[test]
fn each_form_pays_the_script_it_should() {
    let cases = [
        (
            base58(35, &[1; 20]),
            format!("76a914{}88ac", "01".repeat(20)),
            'F',
        ),
        (
            base58(36, &[1; 20]),
            format!("a914{}87", "01".repeat(20)),
            'F',
        ),
        (
            bech32("syl", 0, &[1; 20]),
            format!("0014{}", "01".repeat(20)),
            's',
        ),
        (
            bech32("syl", 0, &[1; 32]),
            format!("0020{}", "01".repeat(32)),
            's',
        ),
        (
            bech32("syl", 1, &[1; 32]),
            format!("5120{}", "01".repeat(32)),
            's',
        ),
    ];
    for (text, script, first) in cases {
        let destination = parse(&text, Network::Mainnet).unwrap();
        assert_eq!(
            (hex::encode(destination.script()), text.chars().next()),
            (script, Some(first))
        );
        assert_eq!(parse_any(&text).unwrap(), destination);
        let elsewhere = parse(&text, Network::Regtest).unwrap_err();
        assert_eq!(
            elsewhere,
            AddressError::OtherNetwork(Network::Mainnet, Network::Regtest)
        );
    }
    assert_eq!(
        parse(WALLET, Network::Regtest).unwrap(),
        Destination::WitnessPubkeyHash([0x22; 20])
    );
    for network in [Network::Testnet, Network::Regtest] {
        assert_eq!(
            parse(&base58(95, &[2; 20]), network).unwrap(),
            Destination::PubkeyHash([2; 20])
        );
        assert_eq!(
            parse(&base58(96, &[2; 20]), network).unwrap(),
            Destination::ScriptHash([2; 20])
        );
    }
    assert!(parse(&bech32("tsyl", 0, &[1; 20]), Network::Testnet).is_ok());
}

#[test]
fn networks_are_those_the_node_names() {
    let table = [
        ("main", Some("syl")),
        ("test", Some("tsyl")),
        ("testnet4", Some("tsyl")),
        ("signet", Some("tsyl")),
        ("regtest", Some("rsyl")),
        ("fakechain", None),
    ];
    for (chain, prefix) in table {
        assert_eq!(Network::from_chain(chain).map(Network::prefix), prefix);
    }
}

#[test]
fn what_cannot_be_paid_is_refused() {
    let cases = [
        (bech32("syl", 1, &[1; 20]), AddressError::Witness(1, 20)),
        (bech32("syl", 2, &[1; 32]), AddressError::Witness(2, 32)),
        (
            bech32("bc", 0, &[1; 20]),
            AddressError::Prefix("\"bc\"".to_owned()),
        ),
        (base58(0, &[1; 20]), AddressError::Prefix("0".to_owned())),
        (base58(35, &[1; 21]), AddressError::Encoding),
        (base58(35, &[1; 10]), AddressError::Length),
        (String::new(), AddressError::Length),
        ("syl1".to_owned(), AddressError::Length),
        ("x".repeat(1000), AddressError::Encoding),
        ("syl1qé".to_owned(), AddressError::Encoding),
        (crate::address::MAINNET.to_owned(), AddressError::Encoding),
    ];
    for (text, expected) in cases {
        assert_eq!(
            parse(&text, Network::Mainnet).unwrap_err(),
            expected,
            "{text}"
        );
    }
    // A version 0 program under the checksum of the later versions, and the other way round (BIP
    // 350).
    let (v0, v1) = (bech32("syl", 0, &[1; 32]), bech32("syl", 1, &[1; 32]));
    for text in [v0.replacen('q', "p", 1), v1.replacen('p', "q", 1)] {
        assert_eq!(
            parse(&text, Network::Mainnet).unwrap_err(),
            AddressError::Checksum,
            "{text}"
        );
    }
    // All upper case is the same address, but would be a second account.
    let upper = WALLET.to_uppercase();
    assert_eq!(
        parse(&upper, Network::Regtest),
        parse(WALLET, Network::Regtest)
    );
    assert_eq!(
        check_account(&upper, Network::Regtest),
        Err(AddressError::UpperCase)
    );
    assert_eq!(check_account(WALLET, Network::Regtest), Ok(()));
    assert_eq!(
        check_account(&base58(95, &[2; 20]), Network::Regtest),
        Ok(())
    );
    let mixed = format!("R{}", &WALLET[1..]);
    assert_eq!(parse(&mixed, Network::Regtest), Err(AddressError::Encoding));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn one_wrong_character_is_always_found(hash in any::<[u8; 20]>(),
        place in any::<prop::sample::Index>(), letter in "[0-9a-zA-Z]", legacy in any::<bool>()) {
        let text = if legacy { base58(35, &hash) } else { bech32("syl", 0, &hash) };
        let expected = if legacy {
            Destination::PubkeyHash(hash)
        } else {
            Destination::WitnessPubkeyHash(hash)
        };
        prop_assert_eq!(parse(&text, Network::Mainnet), Ok(expected));
        let at = place.index(text.len());
        let mut damaged = text.clone();
        damaged.replace_range(at..=at, &letter);
        if damaged != text {
            prop_assert!(parse(&damaged, Network::Mainnet).is_err(), "{} is {}", damaged, text);
        }
        let mut cut = text.clone();
        cut.remove(at);
        prop_assert!(parse(&cut, Network::Mainnet).is_err());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,100}", tail in "[02-9ac-hj-np-z]{0,80}") {
        let _ = parse_any(&text);
        let _ = parse_any(&format!("syl1{tail}"));
        let _ = parse_any(&tail);
    }
}

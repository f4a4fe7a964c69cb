//! Addresses: ours and an independent implementation agree on what is one.

use headframe_stratum::chain::monero::address::{AddressError, Form, Network, check, parse};
use monero::util::address::PaymentId;
use monero::{Address, Network as OracleNetwork, PrivateKey, PublicKey};
use proptest::prelude::*;

/// The Monero project's published donation address.
pub const MAINNET: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

const NETWORKS: [(OracleNetwork, Network); 3] = [
    (OracleNetwork::Mainnet, Network::Mainnet),
    (OracleNetwork::Stagenet, Network::Stagenet),
    (OracleNetwork::Testnet, Network::Testnet),
];

fn key(seed: u8) -> PublicKey {
    let mut scalar = [0; 32];
    scalar[0] = seed.max(1);
    PublicKey::from_private_key(&PrivateKey::from_slice(&scalar).unwrap())
}

#[test]
fn a_published_address_is_read() {
    assert_eq!(parse(MAINNET), Ok((Network::Mainnet, Form::Standard)));
    assert_eq!(check(MAINNET, Network::Mainnet), Ok(()));
    assert_eq!(
        check(MAINNET, Network::Testnet),
        Err(AddressError::OtherNetwork(
            Network::Mainnet,
            Network::Testnet
        ))
    );
}

#[test]
fn regtest_uses_mainnets_prefixes() {
    assert_eq!(Network::from_nettype("fakechain"), Some(Network::Mainnet));
    assert_eq!(Network::from_nettype("mainnet"), Some(Network::Mainnet));
    assert_eq!(Network::from_nettype("stagenet"), Some(Network::Stagenet));
    assert_eq!(Network::from_nettype("elsewhere"), None);
}

#[test]
fn what_is_no_address_is_refused() {
    for bad in [
        "",
        "4",
        "x",
        "4AddrExample",
        &MAINNET[1..],
        &MAINNET[..94],
        &format!("{MAINNET}1"),
        &"1".repeat(95),
        &"z".repeat(95),
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    assert_eq!(
        parse(&MAINNET.replace("44A", "4OA")),
        Err(AddressError::Encoding)
    );
    assert_eq!(parse(&"1".repeat(100_000)), Err(AddressError::Encoding));
}

proptest! {
    #[test]
    fn every_form_of_every_network_is_read(spend: u8, view: u8, id in any::<[u8; 8]>(),
        which in 0..3usize) {
        let (oracle, network) = NETWORKS[which];
        let (spend, view) = (key(spend), key(view));
        let standard = Address::standard(oracle, spend, view).to_string();
        let subaddress = Address::subaddress(oracle, spend, view).to_string();
        let integrated = Address::integrated(oracle, spend, view, PaymentId(id)).to_string();
        prop_assert_eq!(parse(&standard), Ok((network, Form::Standard)));
        prop_assert_eq!(parse(&subaddress), Ok((network, Form::Subaddress)));
        prop_assert_eq!(parse(&integrated), Ok((network, Form::Integrated)));
    }

    #[test]
    fn one_wrong_letter_is_found(at in 0..95usize, letter in "[1-9A-HJ-NP-Za-km-z]") {
        let mut text = MAINNET.to_owned();
        text.replace_range(at..=at, &letter);
        prop_assert_eq!(parse(&text).is_ok(), text == MAINNET);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,130}") {
        let _ = parse(&text);
    }
}

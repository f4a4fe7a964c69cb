//! Templates that differ from the captured one, and what is wrong with some.

use headframe_stratum::chain::bitcoin::sha256d::printed;
use headframe_stratum::chain::bitcoin::template::{BitcoinTemplate, Keys, TemplateAnswer};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

use super::node::{Node, Rules};
use super::{TEMPLATE, template_answer};

const KEYS: Keys = Keys {
    current: [3; 32],
    next: None,
};

/// The captured template at another target.
pub fn with_bits(bits: u32) -> TemplateAnswer {
    TemplateAnswer {
        bits: format!("{bits:08x}"),
        target: None,
        ..template_answer()
    }
}

fn refusal(answer: Value) -> String {
    let answer: TemplateAnswer = serde_json::from_value(answer).unwrap();
    BitcoinTemplate::parse(&answer, &[0x51], KEYS)
        .unwrap_err()
        .to_string()
}

/// A template with four transactions, two of them with witnesses.
fn full() -> Value {
    static FULL: LazyLock<Value> = LazyLock::new(made);
    FULL.clone()
}

fn made() -> Value {
    let mut node = Node::new(Rules {
        interval: 32,
        fork_height: 1,
        bits: 0x207f_ffff,
    });
    node.fill(4);
    node.template()
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut answer = full();
    change(&mut answer);
    answer
}

#[test]
fn unusable_templates_are_refused_with_the_reason() {
    let answer: TemplateAnswer = serde_json::from_value(full()).unwrap();
    BitcoinTemplate::parse(&answer, &[0x51], KEYS).unwrap();
    let ours = printed(&KEYS.current);
    let cases = [
        (
            changed(|answer| answer["rules"] = json!(["csv", "!segwit", "!signet"])),
            "the rule \"signet\"",
        ),
        (
            changed(|answer| answer["noncerange"] = json!("00000000000000ff")),
            "only the nonces",
        ),
        (
            changed(|answer| answer["bits"] = json!("1d00ffff")),
            "target is not what bits says",
        ),
        (
            changed(|answer| answer["bits"] = json!("+d00ffff")),
            "bits is not",
        ),
        (
            changed(|answer| answer["bits"] = json!("00000000")),
            "no target",
        ),
        (
            changed(|answer| answer["target"] = json!("zz")),
            "target is not what bits says",
        ),
        (
            changed(|answer| answer["mintime"] = json!(u32::MAX)),
            "curtime lies before mintime",
        ),
        (
            changed(|answer| answer["previousblockhash"] = json!("12")),
            "previousblockhash",
        ),
        (
            changed(|answer| answer["weightlimit"] = json!(2000)),
            "a block may weigh 2000",
        ),
        (
            changed(|answer| answer["coinbaseaux"] = json!({"flags": "xy"})),
            "coinbaseaux.flags is not hex",
        ),
        (
            changed(|answer| answer["coinbaseaux"] = json!({"flags": "00".repeat(90)})),
            "coinbaseaux makes",
        ),
        (
            changed(|answer| answer["transactions"][1]["data"] = json!("0102")),
            "transaction 1 does not have the form",
        ),
        (
            changed(|answer| answer["transactions"][1]["data"] = json!("q")),
            "transaction 1 is not hex",
        ),
        (
            changed(|answer| answer["transactions"][2]["txid"] = json!("00".repeat(32))),
            "transaction 2 has other ids",
        ),
        (
            changed(|answer| {
                answer["transactions"][3]["hash"] = answer["transactions"][3]["txid"].clone()
            }),
            "transaction 3 has other ids",
        ),
        (
            changed(|answer| answer["default_witness_commitment"] = json!(null)),
            "no default_witness_commitment",
        ),
        (
            changed(|answer| answer["default_witness_commitment"] = json!("6a24aa21a9ed00")),
            "default_witness_commitment is not what",
        ),
        (
            changed(|answer| {
                answer["default_witness_commitment"] =
                    super::json(TEMPLATE)["default_witness_commitment"].clone()
            }),
            "is not what",
        ),
        (
            changed(|answer| answer["pow_algorithm"] = json!("SHA256d")),
            "worked on with SHA256d, not RandomX",
        ),
        (
            changed(|answer| answer["randomx_key_block_hash"] = json!("00".repeat(32))),
            "check stratum.opensy.key_interval",
        ),
    ];
    for (answer, reason) in cases {
        let said = refusal(answer);
        assert!(
            said.contains(reason) && said.starts_with("the daemon's block template is not usable"),
            "{said}"
        );
    }
    let named = changed(|answer| {
        (answer["pow_algorithm"], answer["randomx_key_block_hash"]) =
            (json!("RandomX"), json!(ours))
    });
    BitcoinTemplate::parse(&serde_json::from_value(named).unwrap(), &[0x51], KEYS).unwrap();
    // Without witnesses there is nothing to commit to, and the coinbase has none either.
    let bare = TemplateAnswer {
        default_witness_commitment: None,
        ..template_answer()
    };
    BitcoinTemplate::parse(&bare, &[0x51], KEYS).unwrap();
}

/// Any JSON, a few levels deep, with the words and the kinds of values that a template has.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9a-fA-F]{0,80}".prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..120)
            .prop_map(|bytes| Value::from(hex::encode(bytes))),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let key = prop_oneof!["data", "txid", "hash", "flags", "[a-z]{1,5}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Whatever it says, it must say it; and what it takes must make a block that can be read.
    #[test]
    fn no_template_makes_the_parser_panic(
        fields in prop::collection::vec((0usize..20, any_json()), 1..4),
        entries in prop::collection::vec(any_json(), 0..4),
        bits in any::<u32>(),
    ) {
        let mut answer = full();
        let names: Vec<String> = answer.as_object().unwrap().keys().cloned().collect();
        for (place, value) in fields {
            let name = if place < names.len() { names[place].as_str() } else { "pow_algorithm" };
            answer[name] = value;
        }
        let mut more = full();
        more["bits"] = json!(format!("{bits:08x}"));
        if let Some(transactions) = more["transactions"].as_array_mut() {
            transactions.extend(entries);
        }
        for answer in [answer, more] {
            let Ok(answer) = serde_json::from_value::<TemplateAnswer>(answer) else { continue };
            if let Ok(template) = BitcoinTemplate::parse(&answer, &[0x51], KEYS) {
                use headframe_stratum::chain::{Extranonce, Template};
                let found = template.block(Extranonce::default(), [0; 4]);
                let oracle: bitcoin::Block = bitcoin::consensus::deserialize(&found.bytes).unwrap();
                prop_assert!(oracle.check_merkle_root());
                prop_assert!(template.assign(u64::MAX).hashes() > 0);
            }
        }
    }

    #[test]
    fn no_json_at_all_makes_the_parser_panic(value in any_json(), text in "\\PC{0,64}") {
        for answer in [serde_json::from_value::<TemplateAnswer>(value),
            serde_json::from_str(&text)].into_iter().flatten() {
            let _ = BitcoinTemplate::parse(&answer, &[0x51], KEYS);
        }
    }
}

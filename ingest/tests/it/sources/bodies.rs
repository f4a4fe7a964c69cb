//! Broken and hostile answers to every kind of source: read or refused, in bounded time, and never
//! a value that the device did not send.

use bytes::Bytes;
use headframe_ingest::simulator::{SiteState, endpoints};
use headframe_ingest::source::ALL;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::scenario;

/// A change of an answer.
#[derive(Debug, Clone)]
enum Change {
    Cut(usize),
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
    Replace(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let words = prop::sample::select(vec![
        "null",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "nan",
        "inf",
        "1e999",
        "-999",
        "\0",
        "<",
        ">",
        "\u{fffd}",
        "99999999999999999999",
        "{\"a\":",
        "[[[[[[[[",
        "]]>",
        "&lt;",
        "\"\"temp0",
        "-",
        ".",
    ]);
    prop_oneof![
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (any::<usize>(), words).prop_map(|(at, word)| Change::Insert(at, word.into())),
        (any::<usize>(), any::<usize>()).prop_map(|(at, to)| Change::Repeat(at, to)),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(Change::Replace),
    ]
}

fn changed(answer: &[u8], changes: &[Change]) -> Bytes {
    let mut bytes = answer.to_vec();
    for change in changes {
        let place = |at: usize, length: usize| if length == 0 { 0 } else { at % length };
        match change {
            Change::Cut(at) => bytes.truncate(place(*at, bytes.len())),
            Change::Flip(at, byte) => {
                let at = place(*at, bytes.len());
                if let Some(found) = bytes.get_mut(at) {
                    *found = *byte;
                }
            }
            Change::Insert(at, more) => {
                let at = place(*at, bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Repeat(from, to) => {
                let (from, to) = (place(*from, bytes.len()), place(*to, bytes.len()));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.extend(part);
            }
            Change::Replace(all) => bytes.clone_from(all),
        }
    }
    bytes.into()
}

#[test]
fn changed_answers_are_read_or_refused_and_stay_within_limits() {
    let scenario = scenario(1);
    let state = (0..60).fold(SiteState::new(&scenario), |state, _| {
        state.step(&scenario, 1.0)
    });
    for endpoint in endpoints(&scenario).unwrap() {
        let source = endpoint.reader(&scenario).unwrap();
        let snapshot = endpoint.snapshot(&scenario, &state, 1e9, 60.0).unwrap();
        let answers = endpoint.answers(&snapshot, &source);
        let config = Config {
            cases: 400,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new(config);
        let changes = prop::collection::vec(prop::collection::vec(change(), 0..6), answers.len());
        let outcome = runner.run(&changes, |changes| {
            let changed: Vec<Option<Bytes>> = answers
                .iter()
                .zip(&changes)
                .map(|(answer, changes)| Some(changed(answer.as_ref().unwrap(), changes)))
                .collect();
            if let Ok(readings) = source.read(&changed) {
                prop_assert!(readings.values.len() <= 10_000);
                for row in readings.rows(&source.config, 1_772_323_200_000_000) {
                    let checked =
                        headframe_schemas::codec::decode_ndjson(row.stream, &[row.line.as_ref()]);
                    prop_assert!(checked.rejects.is_empty(), "{:?}", row.line);
                }
            }
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{}: {error}", endpoint.name));
    }
}

#[test]
fn an_answer_that_is_not_there_at_all_is_refused_by_every_kind() {
    let scenario = scenario(1);
    let mut kinds = std::collections::BTreeSet::new();
    for endpoint in endpoints(&scenario).unwrap() {
        let source = endpoint.reader(&scenario).unwrap();
        kinds.insert(source.config.kind.clone());
        let requests = source.requests().len();
        for body in [
            "",
            "{}",
            "[]",
            "null",
            "0",
            "\"x\"",
            "<a/>",
            "{\"sensor\":{}}",
        ] {
            let answers = vec![Some(Bytes::from(body)); requests];
            if let Ok(readings) = source.read(&answers) {
                assert_eq!(readings.values, [], "{} {body:?}", endpoint.name);
            }
        }
        assert!(
            source.read(&[]).is_err() || requests == 0,
            "{}",
            endpoint.name
        );
    }
    let all: std::collections::BTreeSet<String> =
        ALL.iter().map(|source| source.kind().to_owned()).collect();
    assert_eq!(kinds, all, "a kind of source has no simulated device");
}

//! The registry of the mine: against a model, with writers at the same time, and over kills of the
//! server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use headframe_ingest::registry::WatchEvent;
use headframe_ingest::registry::resources::{ChangeError, ResourceRegistry, open_bucket};
use headframe_ingest::registry::state::{PlannedChange, RegistryState};
use headframe_ingest::{Nats, StreamSettings};
use headframe_schemas::resource::{self, Action, Change, Refusal, Resource, Values};
use headframe_schemas::stream::registry::RegistryChange;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Bed, PATIENCE};

const SITES: &str = "sites";
const OPERATORS: &str = "operators";

fn values(value: Value) -> Values {
    value.as_object().unwrap().clone()
}

fn site(operator: Option<&str>, kw: f64) -> Values {
    let mut site =
        values(json!({"name": "n", "location": "l", "time_zone": "UTC", "connection_kw": kw}));
    if let Some(operator) = operator {
        site.insert("operator".to_owned(), json!(operator));
    }
    site
}

fn operator(number: Option<&str>) -> Values {
    let mut operator = values(json!({"name": "o"}));
    if let Some(number) = number {
        operator.insert("registration_number".to_owned(), json!(number));
    }
    operator
}

fn change(kind: &str, id: &str, action: Action, actor: &str) -> Change {
    Change {
        resource: resource::find(kind).unwrap(),
        id: id.to_owned(),
        action,
        actor: actor.to_owned(),
        role: Some("operator".to_owned()),
    }
}

/// What a random change is made of.
#[derive(Debug, Clone)]
struct Draw {
    kind: &'static str,
    id: &'static str,
    /// 0 creates, 1 replaces, 2 deletes.
    action: u8,
    values: Values,
    /// How far beside the right version it is.
    beside: i64,
}

fn draw() -> impl Strategy<Value = Draw> {
    let ids = prop::sample::select(&["a", "b", "c"][..]);
    let of_site = (prop::option::of(ids.clone()), 0..3_i32)
        .prop_map(|(operator, kw)| (SITES, site(operator, f64::from(kw))));
    let numbers = prop::option::of(prop::sample::select(&["1", "2"][..]));
    let of_operator = numbers.prop_map(|number| (OPERATORS, operator(number)));
    let beside = prop_oneof![9 => Just(0_i64), 1 => -1..2_i64];
    (prop_oneof![of_site, of_operator], ids, 0..3_u8, beside).prop_map(
        |((kind, values), id, action, beside)| Draw {
            kind,
            id,
            action,
            values,
            beside,
        },
    )
}

/// The registry as a list, with everything looked for from the beginning.
#[derive(Default)]
struct Model(BTreeMap<(&'static str, &'static str), (i64, Option<Values>)>);

impl Model {
    fn there(&self, kind: &str) -> impl Iterator<Item = (&str, &Values)> {
        let of_kind = self.0.iter().filter(move |((of, _), _)| *of == kind);
        of_kind.filter_map(|((_, id), (_, values))| Some((*id, values.as_ref()?)))
    }

    /// What the draw comes to, by the name of the refusal.
    fn judge(&self, draw: &Draw) -> Result<(), &'static str> {
        let there = self.there(draw.kind).find(|(id, _)| *id == draw.id);
        match (draw.action, there) {
            (0, Some(_)) => return Err("exists"),
            (0, None) => {}
            (_, None) => return Err("missing"),
            (_, Some(_)) if draw.beside != 0 => return Err("changed"),
            (1, Some((_, values))) if *values == draw.values => return Err("unchanged"),
            _ => {}
        }
        if draw.action == 2 {
            let names = |values: &Values| values.get("operator") == Some(&json!(draw.id));
            let is_named = self.there(SITES).any(|(_, values)| names(values));
            return match draw.kind == OPERATORS && is_named {
                true => Err("referenced"),
                false => Ok(()),
            };
        }
        if let Some(named) = draw.values.get("operator")
            && !self.there(OPERATORS).any(|(id, _)| named == id)
        {
            return Err("unknown");
        }
        let number = draw.values.get("registration_number");
        let has = |(id, values): (&str, &Values)| {
            id != draw.id && values.get("registration_number") == number
        };
        match number.is_some() && self.there(OPERATORS).any(has) {
            true => Err("not unique"),
            false => Ok(()),
        }
    }

    fn version(&self, draw: &Draw) -> i64 {
        self.0
            .get(&(draw.kind, draw.id))
            .map_or(0, |(version, _)| *version)
    }

    fn apply(&mut self, draw: &Draw) {
        let version = self.version(draw) + 1;
        let values = (draw.action != 2).then(|| draw.values.clone());
        self.0.insert((draw.kind, draw.id), (version, values));
    }

    fn agrees(&self, state: &RegistryState) {
        let found: Vec<_> = state.versions().collect();
        let wanted = self.0.iter();
        let wanted: Vec<_> = wanted
            .map(|((kind, id), (version, values))| (*kind, *id, *version, values.is_some()))
            .collect();
        assert_eq!(found, wanted);
        for ((kind, id), (_, values)) in &self.0 {
            let found = state.find(kind, id).map(|found| found.values);
            assert_eq!(found.as_ref(), values.as_ref());
        }
    }
}

fn name(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Exists { .. } => "exists",
        Refusal::Missing { .. } => "missing",
        Refusal::Changed { .. } => "changed",
        Refusal::UnknownReference { .. } => "unknown",
        Refusal::NotUnique { .. } => "not unique",
        Refusal::Referenced { .. } => "referenced",
        Refusal::Full { .. } => "full",
    }
}

/// The state that the newest message of each subject gives, by sequence.
fn from_newest(messages: &[RegistryChange]) -> RegistryState {
    let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, message) in messages.iter().enumerate() {
        newest.insert(&message.resource, at);
    }
    let mut places: Vec<usize> = newest.into_values().collect();
    places.sort_unstable();
    let mut state = RegistryState::default();
    for at in places {
        state.apply(at as u64 + 1, &messages[at]).unwrap();
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn the_state_is_that_of_a_model_however_it_is_learnt(
        draws in prop::collection::vec(draw(), 1..120),
    ) {
        let (mut model, mut state) = (Model::default(), RegistryState::default());
        let mut messages: Vec<RegistryChange> = Vec::new();
        for draw in &draws {
            let seen = model.version(draw) + draw.beside;
            let action = match draw.action {
                0 => Action::Create(draw.values.clone()),
                1 => Action::Replace { values: draw.values.clone(), seen },
                _ => Action::Delete { seen },
            };
            let planned = state.plan(&change(draw.kind, draw.id, action, "x"), 1_000);
            match (planned, model.judge(draw)) {
                (Ok(PlannedChange::Message(message)), Ok(())) => {
                    let last = messages.last().map_or(0, |last| last.event_time);
                    prop_assert!(message.event_time > last);
                    prop_assert_eq!(message.version, model.version(draw) + 1);
                    messages.push(message.clone());
                    state.apply(messages.len() as u64, &message).unwrap();
                    model.apply(draw);
                }
                (Ok(PlannedChange::Unchanged(_)), Err("unchanged")) => {}
                (Err(refusal), Err(expected)) => prop_assert_eq!(name(&refusal), expected),
                (planned, expected) => prop_assert!(false, "{:?} {:?}", planned, expected),
            }
        }
        model.agrees(&state);
        prop_assert_eq!(&from_newest(&messages), &state);
        // What is told again changes nothing.
        let mut again = state.clone();
        for (at, message) in messages.iter().enumerate() {
            again.apply(at as u64 + 1, message).unwrap();
        }
        prop_assert_eq!(&again, &state);
        // What was missed for a while is learnt from the newest of each.
        let mut late = RegistryState::default();
        for (at, message) in messages[..messages.len() / 2].iter().enumerate() {
            late.apply(at as u64 + 1, message).unwrap();
        }
        let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, message) in messages.iter().enumerate() {
            newest.insert(&message.resource, at);
        }
        let mut places: Vec<usize> = newest.into_values().collect();
        places.sort_unstable();
        for at in places {
            late.apply(at as u64 + 1, &messages[at]).unwrap();
        }
        prop_assert_eq!(&late, &state);
    }
}

/// More with `HEADFRAME_CASES`, which is a factor.
fn cases() -> u32 {
    let factor = std::env::var("HEADFRAME_CASES").ok();
    128 * factor.and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

async fn open(nats: &Nats, stop: &CancellationToken) -> Arc<ResourceRegistry> {
    let opened = ResourceRegistry::open(nats.clone(), &StreamSettings::default()).await;
    let (registry, follower) = opened.unwrap();
    tokio::spawn(follower.run(stop.clone()));
    Arc::new(registry)
}

/// Every change that the stream holds, in order.
async fn stored(nats: &Nats) -> Vec<RegistryChange> {
    let stream = nats.js.get_stream("registry").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut all = Vec::new();
    for seq in 1..=last {
        let message = stream.get_raw_message(seq).await.unwrap();
        all.push(serde_json::from_slice(&message.payload).unwrap());
    }
    all
}

/// The newest change of each resource, as the bucket has it.
async fn bucket(nats: &Nats, resources: usize) -> BTreeMap<String, RegistryChange> {
    let bucket = open_bucket(nats.clone(), 1).await.unwrap();
    let watch = bucket.watch().await.unwrap();
    let mut watch = std::pin::pin!(watch);
    let mut found = BTreeMap::new();
    // nats-server fills it a moment later.
    while let Some(event) = watch.next().await {
        if let WatchEvent::Entry(entry) = event.unwrap() {
            let change = serde_json::from_slice(&entry.value.unwrap()).unwrap();
            found.insert(entry.key, change);
        }
        if found.len() == resources {
            return found;
        }
    }
    panic!("the bucket ended")
}

/// Checks that each change follows the one before of its resource, and answers the newest of each.
fn newest(messages: &[RegistryChange]) -> BTreeMap<String, RegistryChange> {
    let mut newest: BTreeMap<String, RegistryChange> = BTreeMap::new();
    let mut last_time = 0;
    for message in messages {
        assert!(message.event_time > last_time, "{message:?}");
        last_time = message.event_time;
        let key = format!("{}_{}", message.kind, message.id);
        let before = newest.get(&key);
        assert_eq!(
            message.version,
            before.map_or(0, |before| before.version) + 1
        );
        assert_eq!(
            message.before,
            before.and_then(|before| before.after.clone())
        );
        newest.insert(key, message.clone());
    }
    newest
}

/// Adds one to the power of a site until it is done so many times; answers the attempts whose
/// outcome nobody knows.
async fn add(registry: Arc<ResourceRegistry>, actor: String, times: usize) -> usize {
    let (mut done, mut unknown, mut number) = (0, 0, 0);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while done < times {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{actor} did {done} of {times}"
        );
        let there = registry.state().find(SITES, "north").unwrap();
        let kw = there.values["connection_kw"].as_f64().unwrap();
        let action = Action::Replace {
            values: site(None, kw + 1.0),
            seen: there.version,
        };
        number += 1;
        let wanted = change(SITES, "north", action, &format!("{actor}.{number}"));
        match registry.change(&wanted).await {
            Ok(made) => {
                assert_eq!(made.version, there.version + 1);
                done += 1;
            }
            Err(ChangeError::Refused(Refusal::Changed { .. })) => {}
            Err(ChangeError::Refused(refusal)) => panic!("{refusal}"),
            Err(ChangeError::Busy(_) | ChangeError::Behind(_)) => {}
            Err(ChangeError::Stream(_)) => unknown += 1,
        }
        tokio::task::yield_now().await;
    }
    unknown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_of_writers_at_the_same_time_is_lost() {
    const TIMES: usize = 40;
    let bed = Bed::start().await;
    let stop = CancellationToken::new();
    let (one, two) = (bed.nats().await, bed.nats().await);
    let registries = [open(&one, &stop).await, open(&two, &stop).await];
    let made = Action::Create(site(None, 0.0));
    registries[0]
        .change(&change(SITES, "north", made, "first"))
        .await
        .unwrap();
    // The other process is told to look again before it refuses.
    let again = Action::Create(site(None, 0.0));
    let refused = registries[1]
        .change(&change(SITES, "north", again, "second"))
        .await;
    assert!(
        matches!(refused, Err(ChangeError::Refused(Refusal::Exists { .. }))),
        "{refused:?}"
    );
    let writers = (0..4).map(|writer| {
        let registry = registries[writer % 2].clone();
        tokio::spawn(add(registry, format!("w{writer}"), TIMES))
    });
    let mut unknown = 0;
    for writer in writers.collect::<Vec<_>>() {
        unknown += writer.await.unwrap();
    }
    assert_eq!(unknown, 0);
    let messages = stored(&one).await;
    assert_eq!(messages.len(), 1 + 4 * TIMES);
    let newest = newest(&messages);
    let last: Value =
        serde_json::from_str(newest["sites_north"].after.as_deref().unwrap()).unwrap();
    assert_eq!(last["connection_kw"], json!(4.0 * TIMES as f64));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_the_bucket_and_every_process_agree_over_kills_of_the_server() {
    const TIMES: usize = 25;
    let bed = Bed::start().await;
    let stop = CancellationToken::new();
    let (one, two) = (bed.nats().await, bed.nats().await);
    open_bucket(one.clone(), 1).await.unwrap();
    let registries = [open(&one, &stop).await, open(&two, &stop).await];
    let made = Action::Create(site(None, 0.0));
    registries[0]
        .change(&change(SITES, "north", made, "first"))
        .await
        .unwrap();
    let made = Action::Create(operator(None));
    registries[1]
        .change(&change(OPERATORS, "ann", made, "first"))
        .await
        .unwrap();
    let finished = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (registry, finished) = (registries[writer % 2].clone(), finished.clone());
            tokio::spawn(async move {
                let mut unknown = 0;
                // Each hopes to see its last change even if a kill fell on it.
                for round in 0..2 {
                    let actor = format!("w{writer}.{round}");
                    unknown += add(registry.clone(), actor, TIMES).await;
                }
                finished.fetch_add(1, Ordering::SeqCst);
                unknown
            })
        })
        .collect();
    for _ in 0..2 {
        bed.kill().await;
    }
    let mut unknown = 0;
    for writer in writers {
        unknown += writer.await.unwrap();
    }
    let messages = stored(&bed.nats().await).await;
    let newest = newest(&messages);
    let updates: Vec<&RegistryChange> = messages
        .iter()
        .filter(|message| message.change == "updated")
        .collect();
    let actors: BTreeSet<&str> = updates.iter().map(|update| update.actor.as_str()).collect();
    assert_eq!(actors.len(), updates.len(), "a change was made twice");
    let acknowledged = 4 * 2 * TIMES;
    assert!((acknowledged..=acknowledged + unknown).contains(&updates.len()));
    let last: Value =
        serde_json::from_str(newest["sites_north"].after.as_deref().unwrap()).unwrap();
    assert_eq!(last["connection_kw"], json!(updates.len() as f64));
    let fresh = open(&bed.nats().await, &stop).await;
    for registry in registries.iter().chain([&fresh]) {
        // Whoever asks for a change has learnt everything before it is refused.
        let again = change(SITES, "north", Action::Create(site(None, 0.0)), "last");
        let refused = registry.change(&again).await;
        assert!(
            matches!(refused, Err(ChangeError::Refused(_))),
            "{refused:?}"
        );
        assert_eq!(*registry.state(), from_newest(&messages));
    }
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let found = bucket(&one, newest.len()).await;
            if found == newest {
                return found;
            }
        }
    });
    assert_eq!(found.await.unwrap(), newest);
    stop.cancel();
}

#[test]
fn kinds_of_the_test_are_kinds() {
    let known: Vec<&Resource> = [SITES, OPERATORS]
        .iter()
        .filter_map(|kind| resource::find(kind))
        .collect();
    assert_eq!(known.len(), 2);
    assert!(known[0].check(&site(Some("a"), 1.0)).is_ok());
    assert!(known[1].check(&operator(Some("1"))).is_ok());
}

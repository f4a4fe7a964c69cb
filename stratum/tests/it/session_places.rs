//! The pool's places: a session without a good share gives way when they run out, one with a good
//! share never.

use headframe_stratum::defence::session_places::{MOST_LEAVING, PlaceRules, SessionPlaces};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

use crate::scripted::{Scene, Stage, config};
use crate::server::{NONCE, RESULT, is_ok};

#[test]
fn the_oldest_unproven_session_gives_way_when_the_pool_is_full() {
    let mut places = SessionPlaces::new(PlaceRules::new(3, 50, 10));
    let sessions: Vec<u64> = (0..3).filter_map(|now_ms| places.enter(now_ms)).collect();
    assert_eq!(sessions.len(), 3);
    places.prove(sessions[0]);
    assert_eq!(
        places.enter(10_000),
        None,
        "each has had less than its time"
    );
    let newcomer = places.enter(10_001).unwrap();
    let leaving: Vec<bool> = sessions.iter().map(|n| places.must_leave(*n)).collect();
    assert_eq!(leaving, [false, true, false]);
    assert!(!places.must_leave(newcomer));
    // Its end frees nothing, because its place is taken.
    places.leave(sessions[1]);
    assert_eq!((places.held(), places.enter(10_001)), (3, None));
    // All are proven: nobody gives way.
    places.prove(sessions[2]);
    places.prove(newcomer);
    assert_eq!(places.enter(1_000_000), None);
}

#[test]
fn unproven_sessions_may_hold_all_but_the_last_eighth() {
    let mut places = SessionPlaces::new(PlaceRules::new(80, 50, 10));
    let entered = (0..80).filter_map(|_| places.enter(0)).count();
    assert_eq!(
        entered, 70,
        "the last eighth is for those who prove themselves"
    );
    for number in 0..31 {
        places.prove(number);
    }
    let entered = (0..80).filter_map(|_| places.enter(0)).count();
    assert_eq!((entered, places.unproven()), (1, 40));
}

#[derive(Debug, Clone)]
enum Event {
    Enter,
    Prove(prop::sample::Index),
    Leave(prop::sample::Index),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => Just(Event::Enter),
        2 => any::<prop::sample::Index>().prop_map(Event::Prove),
        2 => any::<prop::sample::Index>().prop_map(Event::Leave),
    ]
}

proptest! {
    #[test]
    fn places_are_never_oversold_and_nobody_with_a_good_share_gives_way(
        capacity in 1..40_usize, percent in 1..101_u32, grace_s in 0..20_u64,
        events in prop::collection::vec((event(), 0..3_000_u64), 1..400),
    ) {
        let rules = PlaceRules::new(capacity, percent, grace_s);
        let (mut places, mut now_ms) = (SessionPlaces::new(rules), 0);
        // When each open session came, and whether it is proven.
        let mut open: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        for (event, pause_ms) in events {
            now_ms += pause_ms;
            let at = |index: &prop::sample::Index| {
                (!open.is_empty()).then(|| *open.keys().nth(index.index(open.len())).unwrap())
            };
            match event {
                Event::Enter => {
                    let before: Vec<u64> =
                        open.keys().copied().filter(|n| places.must_leave(*n)).collect();
                    let oldest = open.iter().find(|(n, (_, proven))| {
                        !proven && !places.must_leave(**n)
                    });
                    let oldest = oldest.map(|(number, (since_ms, _))| (*number, *since_ms));
                    let entered = places.enter(now_ms);
                    let gave_way: Vec<u64> = open
                        .keys()
                        .copied()
                        .filter(|n| places.must_leave(*n) && !before.contains(n))
                        .collect();
                    prop_assert!(gave_way.len() <= 1);
                    if let [number] = gave_way[..] {
                        let (wanted, since_ms) = oldest.unwrap();
                        prop_assert_eq!(number, wanted);
                        prop_assert!(now_ms - since_ms >= grace_s * 1000);
                        prop_assert!(entered.is_some());
                    }
                    if let Some(number) = entered {
                        open.insert(number, (now_ms, false));
                    }
                }
                Event::Prove(index) => if let Some(number) = at(&index) {
                    let was_leaving = places.must_leave(number);
                    places.prove(number);
                    prop_assert_eq!(places.must_leave(number), was_leaving);
                    open.get_mut(&number).unwrap().1 |= !was_leaving;
                },
                Event::Leave(index) => if let Some(number) = at(&index) {
                    places.leave(number);
                    open.remove(&number);
                },
            }
            let leaving = open.keys().filter(|n| places.must_leave(**n)).count();
            prop_assert!(places.held() <= capacity && leaving <= MOST_LEAVING);
            prop_assert_eq!(places.held() + leaving, open.len());
            let proven = open.iter().filter(|(_, (_, proven))| *proven);
            prop_assert!(proven.clone().all(|(n, _)| !places.must_leave(*n)));
            prop_assert_eq!(places.held(), places.unproven() + proven.count());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_gives_its_place_to_a_newcomer_and_a_miner_keeps_it() {
    let mut config = config();
    config.max_sessions = 2;
    config.template_refresh_s = 3600;
    config.defence.limits.unproven_grace_s = 0;
    let stage = Stage::open(Scene::default(), config).await;
    let mut miner = stage.miner().await;
    assert!(is_ok(&miner.submit(NONCE, RESULT).await));
    let mut idle = stage.miner().await;
    let mut newcomer = stage.miner().await;
    assert_eq!(idle.hear().await, Value::Null, "the idle one is closed");
    let keepalive = r#"{"id":7,"method":"keepalived","params":{}}"#;
    assert_eq!(miner.ask(keepalive).await["result"]["status"], "KEEPALIVED");
    assert_eq!(
        newcomer.ask(keepalive).await["result"]["status"],
        "KEEPALIVED"
    );
    let gave_way = |row: &headframe_schemas::stream::sessions::Session| {
        row.event == "logout"
            && row
                .reason
                .as_deref()
                .unwrap_or_default()
                .contains("gave way")
    };
    stage
        .facts
        .until("the row", |facts| {
            facts
                .sessions
                .lock()
                .unwrap()
                .iter()
                .filter(|row| gave_way(row))
                .count()
                == 1
        })
        .await;
    stage.close().await;
}

//! A miner's subscription: its own rows, each once, and nothing that tells of the rows of others.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use headframe_query_front::access::Role;
use headframe_query_front::access::accounts::{Accounts, NewAccount};
use headframe_query_front::{PlaceKey, QueryConfig, Services};
use headframe_schemas::Stream;
use headframe_schemas::stream::shares::Shares;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::account_store::{MemoryStore, accounts, actor};
use crate::live::{Client, SseEvent, World, bind_over};
use crate::server::{Answer, config, send};

mod answers;
mod conditions;

const OWN: &str = "4Own";
const OTHER: &str = "4Bob";
const PATH: &str = "/api/v1/streams/shares/rows";

async fn token(accounts: &Accounts, address: &str) -> String {
    let account = NewAccount {
        name: format!("rig-of-{}", address.to_lowercase()),
        role: Role::parse("miner", Some(address)).unwrap(),
        streams: Vec::new(),
    };
    accounts.add_token(actor(), account, None).await.unwrap()
}

/// A server about this world with the key in a file.
async fn server(
    config: QueryConfig,
    world: &Arc<World>,
    accounts: &Accounts,
    key: &Path,
) -> Router {
    let others = Services {
        accounts: Some(accounts.clone()),
        place_key: Some(PlaceKey::open(key).unwrap()),
        ..Services::default()
    };
    bind_over(world, config, others).await.router()
}

struct Scene {
    world: Arc<World>,
    accounts: Accounts,
    folder: tempfile::TempDir,
    router: Router,
    own: String,
}

impl Scene {
    async fn new() -> Self {
        let config = QueryConfig {
            live_buffer_kib: 8,
            ..config()
        };
        Self::with(config).await
    }

    async fn with(config: QueryConfig) -> Self {
        let (world, folder) = (World::empty(), tempfile::tempdir().unwrap());
        let accounts = accounts(&MemoryStore::new()).await;
        let key = folder.path().join("live.key");
        let router = server(config, &world, &accounts, &key).await;
        let own = token(&accounts, OWN).await;
        Self {
            world,
            accounts,
            folder,
            router,
            own,
        }
    }

    async fn open(&self, query: &str, last_id: Option<&str>) -> Client {
        let path = format!("{PATH}{query}");
        Client::open_as(&self.router, Some(&self.own), &path, last_id).await
    }

    async fn ask(&self, query: &str, last_id: Option<&str>) -> Answer {
        let mut request = Request::get(format!("{PATH}{query}"))
            .header("host", "127.0.0.1")
            .header("authorization", format!("Bearer {}", self.own));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        send(&self.router, request.body(Body::empty()).unwrap()).await
    }
}

/// The next row; nothing else than rows and progress comes before it.
async fn row(client: &mut Client) -> SseEvent {
    loop {
        let event = client.event().await.expect("the connection goes on");
        match event.name.as_str() {
            "row" => return event,
            "progress" | "ready" => assert_eq!(event.data, json!({})),
            _ => panic!("{event:?}"),
        }
    }
}

async fn ready(client: &mut Client) -> SseEvent {
    let event = client.event().await.unwrap();
    assert_eq!(event.name, "ready", "{event:?}");
    event
}

/// The worker of a row, which is its place; panics when the row shows more than it may.
fn worker(event: &SseEvent) -> String {
    for column in event.data.as_object().unwrap().keys() {
        let is_of_stream = Shares.columns().iter().any(|known| known.name == column);
        assert!(is_of_stream || column == "ingest_time", "{column}");
    }
    assert_eq!(event.data["miner"], OWN);
    event.data["worker"].as_str().unwrap().to_owned()
}

/// A miner goes at any moment and comes back with the last id that it was known, over servers that
/// are started anew, while rows of it and of others come and commits move them.
#[tokio::test]
async fn a_miner_that_goes_and_comes_back_has_each_of_its_rows_once() {
    for seed in 0..3 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut scene = Scene::new().await;
        let (mut all, mut had) = (Vec::new(), Vec::new());
        let (mut at, mut ids): (Option<String>, HashSet<String>) = (None, HashSet::new());
        for round in 0..12 {
            if round % 4 == 3 {
                let key = scene.folder.path().join("live.key");
                let small = QueryConfig {
                    live_buffer_kib: 8,
                    ..config()
                };
                scene.router = server(small, &scene.world, &scene.accounts, &key).await;
            }
            let mut client = scene.open("?from=oldest", at.as_deref()).await;
            for _ in 0..random.random_range(0..4) {
                let messages: Vec<Vec<&str>> = (0..random.random_range(1..20))
                    .map(|_| {
                        let rows = random.random_range(0..12);
                        let mut miner = || match random.random_bool(0.3) {
                            true => OWN,
                            false => OTHER,
                        };
                        (0..rows).map(|_| miner()).collect()
                    })
                    .collect();
                let first = *scene.world.last.lock().unwrap() + 1;
                scene.world.push_of(&messages);
                for (seq, miners) in (first..).zip(&messages) {
                    let rows = miners.iter().enumerate();
                    let own = rows.filter(|(_, miner)| **miner == OWN);
                    all.extend(own.map(|(row, _)| format!("{seq}.{row}")));
                }
                let last = *scene.world.last.lock().unwrap();
                if random.random_bool(0.5) {
                    scene.world.commit(last - random.random_range(0..5));
                }
                let due = all.len() - had.len();
                for _ in 0..random.random_range(0..=due.min(30)) {
                    let event = row(&mut client).await;
                    had.push(worker(&event));
                    at.clone_from(&event.id);
                    let id = event.id.unwrap();
                    assert_eq!(id.len(), 59, "every id looks the same: {id}");
                    assert!(ids.insert(id.clone()), "{id} was known twice");
                }
            }
        }
        let mut client = scene.open("?from=oldest", at.as_deref()).await;
        while had.len() < all.len() {
            had.push(worker(&row(&mut client).await));
        }
        assert_eq!(had, all, "seed {seed}");
    }
}

#[tokio::test]
async fn nothing_that_a_miner_is_told_shows_the_rows_of_others() {
    let scene = Scene::new().await;
    scene.world.push_of(&[vec![OTHER, OWN], vec![OTHER; 3]]);
    scene.world.commit(1);
    let mut client = scene.open("?from=oldest&columns=worker", None).await;
    let event = client.event().await.unwrap();
    assert_eq!(event.data, json!({"worker": "1.1"}));
    let first = ready(&mut client).await;
    assert_eq!(first.data, json!({}));
    // Rows of others bring no event; what comes next is the miner's own.
    scene.world.push_of(&[vec![OTHER; 2], vec![OTHER]]);
    scene.world.commit(3);
    scene.world.push_of(&[vec![OTHER, OTHER, OWN]]);
    assert_eq!(row(&mut client).await.data, json!({"worker": "5.2"}));
    // An id is another one each time, so that it does not tell whether others' rows came.
    let mut places = HashSet::new();
    for _ in 0..3 {
        let mut client = scene.open("", None).await;
        places.insert(ready(&mut client).await.id.unwrap());
    }
    assert_eq!(places.len(), 3);
    // Where retention has cut off rows of others is not known either.
    *scene.world.dropped.lock().unwrap() = 2;
    scene.world.commit(5);
    let early = "?from=2026-01-05T00:00:00Z&columns=worker";
    let mut client = scene.open(early, None).await;
    assert_eq!(row(&mut client).await.data["worker"], "1.1");
}

#[tokio::test]
async fn a_place_that_a_miner_was_not_told_is_refused() {
    let scene = Scene::new().await;
    scene.world.push_of(&[vec![OTHER, OWN], vec![OWN]]);
    let mut client = scene.open("?from=oldest", None).await;
    let known = row(&mut client).await.id.unwrap();
    let bob = token(&scene.accounts, OTHER).await;
    let path = format!("{PATH}?from=oldest");
    let mut of_bob = Client::open_as(&scene.router, Some(&bob), &path, None).await;
    let of_bob = of_bob.event().await.unwrap().id.unwrap();
    let changed = known.replace(
        &known[20..21],
        if &known[20..21] == "A" { "B" } else { "A" },
    );
    for wrong in ["0", "1", "1.0", "x", &of_bob, &changed, &known[1..]] {
        let answer = scene.ask(&format!("?after={wrong}"), None).await;
        assert_eq!(answer.status.as_u16(), 400, "{wrong}: {}", answer.text());
        let answer = scene.ask("", Some(wrong)).await;
        assert_eq!(answer.code(), "bad_request", "{wrong}");
    }
    let mut client = scene.open(&format!("?after={known}"), None).await;
    assert_eq!(row(&mut client).await.data["worker"], "2.0");
    for refused in ["?columns=seq", "?columns=worker,row"] {
        let answer = scene.ask(refused, None).await;
        assert_eq!(answer.code(), "bad_request", "{refused}");
    }
    // What is gone is known without a number.
    scene.world.push_of(&[vec![OWN], vec![OTHER]]);
    scene.world.commit(4);
    *scene.world.dropped.lock().unwrap() = 3;
    let answer = scene.ask("", Some(&known)).await;
    assert_eq!(answer.status.as_u16(), 410);
    let text = answer.text();
    assert!(
        !text.contains(|letter: char| letter.is_ascii_digit()),
        "{text}"
    );
    // Another server's secret is another one.
    let elsewhere = scene.folder.path().join("other.key");
    let other = server(config(), &scene.world, &scene.accounts, &elsewhere).await;
    let scene = Scene {
        router: other,
        ..scene
    };
    assert_eq!(scene.ask("", Some(&known)).await.code(), "bad_request");
}

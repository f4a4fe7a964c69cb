//! A miner's live statement: its answer is over its own rows, and nothing shows when others send
//! theirs.

use serde_json::{Value, json};

use super::conditions::{TwoWorlds, any, encoded};
use super::{OTHER, OWN, Scene};
use crate::cases::cases;
use crate::live::Client;
use crate::own_rows::statements::Dice;
use crate::server::send;

const LIVE: &str = "/api/v1/sql/live?q=";

async fn open(scene: &Scene, sql: &str) -> Client {
    let path = format!("{LIVE}{}", encoded(sql));
    Client::open_as(&scene.router, Some(&scene.own), &path, None).await
}

/// The next answer; nothing else than progress without a number comes before it.
async fn snapshot(client: &mut Client) -> Value {
    loop {
        let event = client.event().await.expect("the connection goes on");
        match event.name.as_str() {
            "snapshot" => return event.data,
            "progress" => assert_eq!(event.data, json!({})),
            _ => panic!("{event:?}"),
        }
    }
}

/// `now()` makes every answer another one, so that each time it is asked shows.
#[tokio::test]
async fn an_answer_comes_again_for_the_miners_own_rows_and_not_for_others() {
    let scene = Scene::new().await;
    scene.world.push_of(&[vec![OTHER, OWN]]);
    let sql = "SELECT count(*) AS n, now() AS at FROM shares";
    let mut client = open(&scene, sql).await;
    let first = snapshot(&mut client).await;
    assert_eq!(first["rows"][0]["n"], 1);
    assert!(first.get("complete_through").is_none(), "{first}");
    let mut own = 1;
    for round in 0..3 {
        // Rows of others: held, stored before anybody looked, and stored in part.
        scene.world.push_of(&[vec![OTHER; 3], vec![OTHER]]);
        if round > 0 {
            let last = *scene.world.last.lock().unwrap();
            scene.world.commit(last - round + 1);
        }
        let event = client.event().await.unwrap();
        assert_eq!((event.name.as_str(), &event.data), ("progress", &json!({})));
        // Its own rows, of which the second is stored before anybody looked.
        scene.world.push_of(&[vec![OTHER, OWN], vec![OTHER]]);
        if round == 1 {
            let last = *scene.world.last.lock().unwrap();
            scene.world.commit(last);
        }
        own += 1;
        assert_eq!(snapshot(&mut client).await["rows"][0]["n"], own);
    }
}

#[tokio::test]
async fn changed_rows_come_by_key_without_a_number() {
    let scene = Scene::new().await;
    scene.world.push_of(&[vec![OWN, OTHER]]);
    let sql = "SELECT outcome, count(*) AS n FROM shares GROUP BY outcome&key=outcome";
    let (sql, key) = sql.split_once('&').unwrap();
    let path = format!("{LIVE}{}&{key}", encoded(sql));
    let mut client = Client::open_as(&scene.router, Some(&scene.own), &path, None).await;
    assert_eq!(
        snapshot(&mut client).await["rows"],
        json!([{"outcome": "accepted", "n": 1}])
    );
    scene.world.push_of(&[vec![OTHER, OWN]]);
    let event = loop {
        let event = client.event().await.unwrap();
        if event.name != "progress" {
            break event;
        }
    };
    assert_eq!(event.name, "upsert");
    assert_eq!(event.data, json!({"outcome": "stale", "n": 1}));
    let event = client.event().await.unwrap();
    assert_eq!((event.name.as_str(), event.data), ("progress", json!({})));
}

/// The witness asks as somebody who reads everything, over a world without anybody else's rows.
#[tokio::test]
async fn an_answer_is_what_it_would_be_if_there_were_no_other_rows() {
    let (worlds, mut dice) = (TwoWorlds::new().await, Dice::new(0x00d1_ce07));
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..cases(60) {
        worlds.push(&mut dice);
        let condition = any(&mut dice, worlds.last());
        let sql = match dice.roll(6) {
            0 => format!("SELECT worker, outcome FROM shares WHERE {condition} ORDER BY worker"),
            1 => {
                format!("SELECT count(*) AS n, sum(difficulty) AS s FROM shares WHERE {condition}")
            }
            2 => "SELECT miner, count(*) AS n FROM shares GROUP BY miner ORDER BY miner".to_owned(),
            3 => "SELECT count(*) AS n FROM shares a JOIN shares b ON a.outcome = b.outcome \
                  WHERE a.difficulty < b.difficulty"
                .to_owned(),
            4 => format!(
                "SELECT count(*) AS n FROM shares WHERE difficulty IN (SELECT difficulty FROM \
                 shares WHERE {condition})"
            ),
            _ => format!(
                "SELECT worker, rank() OVER (ORDER BY worker) AS place FROM shares WHERE \
                 {condition} ORDER BY place, worker LIMIT 5"
            ),
        };
        let path = format!("{LIVE}{}", encoded(&sql));
        let request = |token: Option<&str>| {
            let mut request = axum::http::Request::get(&path).header("host", "127.0.0.1");
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            request.body(axum::body::Body::empty()).unwrap()
        };
        use tower::ServiceExt;
        let status = async |router: &axum::Router, token: Option<&str>| {
            router
                .clone()
                .oneshot(request(token))
                .await
                .unwrap()
                .status()
        };
        let own = status(&worlds.scene.router, Some(&worlds.scene.own)).await;
        assert_eq!(own, status(&worlds.witness, None).await, "{sql}");
        if own != 200 {
            refused += 1;
            let answer = send(&worlds.scene.router, request(Some(&worlds.scene.own))).await;
            assert!(!answer.text().contains("Bob"), "{}", answer.text());
            continue;
        }
        let mut found = open(&worlds.scene, &sql).await;
        let mut expected = Client::open_path(&worlds.witness, &path, None).await;
        let expected = expected.event().await.unwrap().data;
        assert_eq!(
            snapshot(&mut found).await["rows"],
            expected["rows"],
            "{sql}"
        );
        answered += 1;
    }
    assert!(answered > 20 && refused > 0, "{answered} {refused}");
}

#[tokio::test]
async fn what_a_miner_may_not_read_cannot_be_watched() {
    let scene = Scene::new().await;
    for sql in [
        "SELECT max(seq) FROM shares",
        "SELECT * FROM energy",
        "SELECT * FROM access",
        "EXPLAIN SELECT * FROM shares",
    ] {
        let request = axum::http::Request::get(format!("{LIVE}{}", encoded(sql)))
            .header("host", "127.0.0.1")
            .header("authorization", format!("Bearer {}", scene.own))
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = send(&scene.router, request).await;
        assert!(answer.status.is_client_error(), "{sql}: {}", answer.text());
    }
}

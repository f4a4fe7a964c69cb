//! A miner's condition on its live rows: it chooses among them, and sees of them what the miner
//! does.

use serde_json::Value;

use super::{OTHER, OWN, PATH, Scene, ready, row};
use crate::cases::cases;
use crate::live::{Client, World, bind_over};
use crate::own_rows::statements::Dice;
use crate::server::{config, send};

/// A condition by chance on the shares of a world; some fail on a row of some difficulty, which is
/// the number of its message.
pub fn any(dice: &mut Dice, last: i64) -> String {
    let number = 1 + dice.roll(last.max(1) as usize);
    let one = |dice: &mut Dice| match dice.roll(12) {
        0 => format!("difficulty > {number}"),
        1 => format!("difficulty BETWEEN 2 AND {number}"),
        2 => format!("miner = '{OWN}'"),
        3 => format!("miner <> '{OWN}'"),
        4 => format!("miner IN ('{OTHER}', 'nobody')"),
        5 => "outcome = 'stale'".to_owned(),
        6 => format!("worker LIKE '{number}.%'"),
        7 => format!("100 / (difficulty - {number}) >= 0"),
        8 => "CAST(worker AS DOUBLE) > 3.5".to_owned(),
        9 => "CASE WHEN outcome = 'stale' THEN difficulty % 2 = 0 ELSE worker > '2' END".to_owned(),
        10 => "coalesce(block_hash, 'none') = 'none'".to_owned(),
        _ => format!("CAST(replace(miner, '{OWN}', '1') AS BIGINT) = 1"),
    };
    let (first, second) = (one(dice), one(dice));
    match dice.roll(4) {
        0 => format!("{first} AND {second}"),
        1 => format!("({first}) OR ({second})"),
        2 => format!("NOT ({first})"),
        _ => first,
    }
}

pub fn encoded(text: &str) -> String {
    let bytes = text.bytes();
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}

/// Two worlds with the same messages; the second holds only the miner's own rows of them.
pub struct TwoWorlds {
    pub scene: Scene,
    pub alone: std::sync::Arc<World>,
    pub witness: axum::Router,
}

impl TwoWorlds {
    pub async fn new() -> Self {
        let (scene, alone) = (Scene::new().await, World::empty());
        let witness = bind_over(&alone, config(), Default::default()).await;
        Self {
            scene,
            alone,
            witness: witness.router(),
        }
    }

    /// Messages by chance, whose last row is the miner's own.
    pub fn push(&self, dice: &mut Dice) {
        let mut messages: Vec<Vec<&str>> = (0..=dice.roll(4))
            .map(|_| {
                let rows = dice.roll(5);
                let mut miner = || if dice.roll(3) == 0 { OWN } else { OTHER };
                (0..rows).map(|_| miner()).collect()
            })
            .collect();
        messages.push(vec![OWN]);
        self.scene.world.push_of(&messages);
        for miner in messages.iter_mut().flatten() {
            if *miner != OWN {
                *miner = "";
            }
        }
        self.alone.push_of(&messages);
        if dice.roll(2) == 0 {
            let last = self.last();
            self.scene.world.commit(last - 1);
            self.alone.commit(last - 1);
        }
    }

    pub fn last(&self) -> i64 {
        *self.scene.world.last.lock().unwrap()
    }
}

/// The data of the rows up to one of this worker, or up to `ready`; and the code of a failure.
async fn rows_until(client: &mut Client, worker: Option<&str>) -> (Vec<Value>, Option<Value>) {
    let mut rows = Vec::new();
    loop {
        let event = client.event().await.expect("the connection goes on");
        match event.name.as_str() {
            "row" => {
                let is_last = event.data["worker"].as_str() == worker;
                rows.push(event.data);
                if is_last {
                    return (rows, None);
                }
            }
            "failed" => return (rows, Some(event.data["code"].clone())),
            "ready" if worker.is_none() => return (rows, None),
            _ => {}
        }
    }
}

/// The witness subscribes as somebody who reads everything, to a world without anybody else's rows:
/// his condition stands in the text of the statement, where a miner's does not.
#[tokio::test]
async fn a_condition_chooses_what_it_would_choose_if_there_were_no_other_rows() {
    let (worlds, mut dice) = (TwoWorlds::new().await, Dice::new(0x5eed_0f42));
    let (mut chosen, mut failed, mut live) = (0, 0, 0);
    worlds.push(&mut dice);
    for number in 0..cases(60) {
        let condition = any(&mut dice, worlds.last());
        let next = format!("{}.0", worlds.last() + 6);
        let query = format!(
            "?from=oldest&columns=worker,miner,outcome,difficulty&where={}",
            encoded(&format!("({condition}) OR worker = '{next}'"))
        );
        let mut own = worlds.scene.open(&query, None).await;
        let path = format!("{PATH}{query}");
        let mut witness = Client::open_path(&worlds.witness, &path, None).await;
        let found = rows_until(&mut own, None).await;
        let expected = rows_until(&mut witness, None).await;
        assert_eq!(found, expected, "{condition}");
        chosen += found.0.len();
        failed += usize::from(found.1.is_some());
        let is_over = found.1.is_some();
        // What comes is chosen as what was there; the last row comes whatever the condition says.
        while worlds.last() < next.split('.').next().unwrap().parse::<i64>().unwrap() - 1 {
            worlds.scene.world.push_of(&[vec![OTHER, OWN]]);
            worlds.alone.push_of(&[vec!["", OWN]]);
        }
        worlds.scene.world.push_of(&[vec![OWN, OTHER]]);
        worlds.alone.push_of(&[vec![OWN, ""]]);
        if number % 3 == 0 && !is_over {
            let found = rows_until(&mut own, Some(&next)).await;
            let expected = rows_until(&mut witness, Some(&next)).await;
            if found.1.is_none() || expected.1.is_none() {
                assert_eq!(found, expected, "{condition}");
            }
            live += found.0.len();
        }
        if number % 10 == 0 {
            worlds.push(&mut dice);
        }
    }
    assert!(chosen > 100 && live > 20, "{chosen} {live}");
    assert!(failed > 0 && failed < 30, "{failed}");
}

#[tokio::test]
async fn a_condition_names_columns_that_the_miner_sees_and_nothing_else() {
    let scene = Scene::new().await;
    scene.world.push_of(&[vec![OTHER, OWN], vec![OWN]]);
    for refused in [
        "seq > 0",
        "row = 1",
        "\"@seq\" > 0",
        "shares.seq = 1",
        "producer = 'x'",
        "producer_seq > 1",
        "reject_reason IS NULL",
        "payload IS NULL",
        "EXISTS (SELECT 1 FROM shares)",
        "difficulty IN (SELECT seq FROM shares)",
        "(SELECT 1) = 1",
        "count(*) > 0",
        "row_number() OVER () > 0",
        "difficulty > $1",
        "difficulty",
        "true) UNION ALL SELECT * FROM shares WHERE (true",
        "true) ORDER BY (1",
        "true) GROUP BY (1",
        "true; DROP TABLE shares",
        "nothing = 1",
        "",
    ] {
        let answer = scene
            .ask(&format!("?where={}", encoded(refused)), None)
            .await;
        assert_eq!(answer.status.as_u16(), 400, "{refused}: {}", answer.text());
        assert!(
            !answer.text().contains("@seq") || refused.contains("@seq"),
            "{refused}"
        );
        assert!(
            !answer.text().contains("producer_seq,"),
            "{}",
            answer.text()
        );
    }
    let fine = encoded("shares.worker = '1.1' -- one of two");
    let mut client = scene
        .open(&format!("?from=oldest&where={fine}"), None)
        .await;
    assert_eq!(row(&mut client).await.data["worker"], "1.1");
    ready(&mut client).await;
}

/// An address to mine to is free, so that miners' conditions are counted together.
#[tokio::test]
async fn miners_leave_some_conditions_to_others() {
    let scene = Scene::with(headframe_query_front::QueryConfig {
        live_conditions: 4,
        ..config()
    })
    .await;
    let bob = super::token(&scene.accounts, OTHER).await;
    let open = async |token: &str, number: i64| {
        let path = format!(
            "{PATH}?where={}",
            encoded(&format!("difficulty > {number}"))
        );
        Client::open_as(&scene.router, Some(token), &path, None).await
    };
    let refused = async |token: &str, number: i64| {
        let path = format!(
            "{PATH}?where={}",
            encoded(&format!("difficulty > {number}"))
        );
        let request = axum::http::Request::get(path)
            .header("host", "127.0.0.1")
            .header("authorization", format!("Bearer {token}"))
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = send(&scene.router, request).await;
        assert_eq!(answer.code(), "concurrency_limit", "{}", answer.text());
    };
    let _own = open(&scene.own, 1).await;
    refused(&scene.own, 2).await;
    let _of_bob = open(&bob, 1).await;
    let zoe = super::token(&scene.accounts, "4Zoe").await;
    refused(&zoe, 1).await;
    let path = format!("{PATH}?where=seq%3E0");
    let _everybodys = Client::open_path(&scene.router, &path, None).await;
}

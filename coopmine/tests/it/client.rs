//! The upstream's client against pools that close, stall, send garbage, send it elsewhere, or are
//! away.

use std::time::Duration;

use headframe_stratum::miner::ALGOS;
use headframe_stratum::miner::broken::Broken;
use headframe_stratum::miner::client::{
    ClientConfig, ClientEvent, ClientTiming, PoolClient, ShareToSend,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::stand_in::{Peer, PoolTls, StandIn, job, long_drain, quick, soon};

struct Client {
    shares: mpsc::Sender<ShareToSend>,
    events: mpsc::Receiver<ClientEvent>,
    stop: CancellationToken,
}

impl Client {
    fn start(pools: &[String], timing: ClientTiming) -> Self {
        let (shares, submissions) = mpsc::channel(16);
        let (sender, events) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let client = PoolClient::new(ClientConfig {
            pools: pools.iter().map(|pool| pool.parse().unwrap()).collect(),
            login: "4wallet".to_owned(),
            pass: "x".to_owned(),
            rigid: Some("coop".to_owned()),
            algos: ALGOS.map(str::to_owned).to_vec(),
            leases: false,
            timing,
        });
        tokio::spawn(client.run(submissions, sender, stop.clone()));
        Self {
            shares,
            events,
            stop,
        }
    }

    async fn event(&mut self) -> ClientEvent {
        soon("an event", self.events.recv()).await.unwrap()
    }

    async fn logged_in(&mut self) -> (u64, String) {
        loop {
            match self.event().await {
                ClientEvent::LoggedIn { session, job, .. } => return (session, job.job_id),
                ClientEvent::Lost { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn lost(&mut self) -> (Broken, Vec<u64>) {
        match self.event().await {
            ClientEvent::Lost {
                broken, unanswered, ..
            } => (broken, unanswered),
            other => panic!("{other:?}"),
        }
    }

    /// The next event, which is an answer: the share's ticket, and the words of a refusal.
    async fn answer(&mut self) -> (u64, Option<String>) {
        match self.event().await {
            ClientEvent::Answer { ticket, refusal } => (ticket, refusal),
            other => panic!("{other:?}"),
        }
    }

    async fn send(&self, session: u64, ticket: u64) {
        let share = ShareToSend {
            session,
            ticket,
            job_id: "a".to_owned(),
            algo: "rx/0".to_owned(),
            nonce: [1, 2, 3, 4],
            hash: [9; 32],
        };
        self.shares.send(share).await.unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_login_and_a_share_are_those_of_xmrig() {
    let pool = StandIn::open().await;
    let mut client = Client::start(&[pool.address()], quick());
    let mut peer = pool.peer(&job("a", 1, 1, 100)).await;
    let params = &peer.login["params"];
    assert_eq!(peer.login["id"], 1);
    assert_eq!(
        (
            &params["login"],
            &params["pass"],
            &params["rigid"],
            &params["algo"][0]
        ),
        (
            &json!("4wallet"),
            &json!("x"),
            &json!("coop"),
            &json!("rx/0")
        )
    );
    let (session, _) = client.logged_in().await;
    // Answers come in another order than the shares, late, and beside other lines.
    client.send(session, 11).await;
    client.send(session, 12).await;
    let (first, share) = peer.share().await;
    let expected = json!({"id": "session", "job_id": "a", "nonce": "01020304",
        "result": "09".repeat(32), "algo": "rx/0"});
    assert_eq!(share, expected);
    let (second, _) = peer.share().await;
    peer.push(&job("b", 2, 1, 50)).await;
    peer.say(&json!({"jsonrpc": "2.0", "method": "mining.unknown", "params": []}))
        .await;
    peer.refuse(second, "Block expired").await;
    peer.accept(first).await;
    peer.accept(first).await;
    let ClientEvent::Job { job, .. } = client.event().await else {
        panic!("no job")
    };
    assert_eq!((&*job.job_id, u64::MAX / job.target), ("b", 50));
    let expired = Some("Block expired".to_owned());
    assert_eq!(client.answer().await, (12, expired));
    assert_eq!(client.answer().await, (11, None));
}

#[tokio::test]
async fn a_pool_that_closes_stalls_or_raves_costs_a_session_and_no_more() {
    let pool = StandIn::open().await;
    let timing = ClientTiming {
        silence: Duration::from_secs(5),
        ..quick()
    };
    let mut client = Client::start(&[pool.address()], timing);
    // It says nothing at all.
    let silent = pool.connection().await;
    assert!(matches!(client.lost().await.0, Broken::Silent(_)));
    drop(silent);
    for raving in [
        "garbage\n".to_owned(),
        "{\"id\":7,\"error\":{}}\n".to_owned(),
        format!("{}\n", json!({"method": "job", "params": {"blob": "zz"}})),
        "x".repeat(70_000),
    ] {
        let mut peer = pool.peer(&job("a", 1, 1, 100)).await;
        let (session, _) = client.logged_in().await;
        client.send(session, 21).await;
        peer.share().await;
        peer.say_bytes(raving.as_bytes()).await;
        let (broken, unanswered) = client.lost().await;
        assert!(
            matches!(broken, Broken::Protocol(_) | Broken::Line(_)),
            "{broken:?}"
        );
        assert_eq!(unanswered, [21], "{broken:?}");
    }
    // It logs in and falls silent.
    let peer = pool.peer(&job("a", 1, 1, 100)).await;
    let (old, _) = client.logged_in().await;
    assert!(matches!(client.lost().await.0, Broken::Silent(_)));
    drop(peer);
    // It closes at once; then all is well, and a share of the old session is not sent in the new.
    drop(pool.connection().await);
    let mut peer = pool.peer(&job("b", 2, 1, 100)).await;
    let (session, _) = client.logged_in().await;
    assert!(session > old);
    client.send(old, 31).await;
    client.send(session, 32).await;
    let unsent = client.event().await;
    assert!(
        matches!(unsent, ClientEvent::Unsent { ticket: 31 }),
        "{unsent:?}"
    );
    let (id, _) = peer.share().await;
    // XMRig leaves at these words; the share's answer is lost.
    peer.refuse(id, "Unauthenticated").await;
    let (broken, unanswered) = client.lost().await;
    assert!(matches!(broken, Broken::Critical(_)), "{broken:?}");
    assert_eq!(unanswered, [32]);
}

#[tokio::test]
async fn a_silent_pool_gets_keepalives_if_it_takes_them() {
    let pool = StandIn::open().await;
    let timing = ClientTiming {
        keepalive: Duration::from_millis(50),
        ..quick()
    };
    let mut other = Client::start(&[pool.address()], timing);
    let stream = pool.connection().await;
    let mut silent = Peer::logged_in_with(stream, &job("a", 1, 1, 100), &["algo"]).await;
    let (other_session, _) = other.logged_in().await;
    let mut client = Client::start(&[pool.address()], timing);
    let mut peer = pool.peer(&job("a", 1, 1, 100)).await;
    let (session, _) = client.logged_in().await;
    let mut last = 1;
    for _ in 0..3 {
        let line = peer.hear().await;
        let id = line["id"].as_u64().unwrap();
        let expected = json!({"id": id, "jsonrpc": "2.0", "method": "keepalived",
            "params": {"id": "session"}});
        assert_eq!(line, expected);
        assert!(id > last, "ids grow");
        last = id;
        let result = json!({"status": "KEEPALIVED"});
        peer.say(&json!({"id": id, "jsonrpc": "2.0", "error": null, "result": result}))
            .await;
    }
    // Their answers are nobody's, and shares go between them.
    client.send(session, 11).await;
    let (id, _) = peer.share().await;
    peer.accept(id).await;
    assert_eq!(client.answer().await, (11, None));
    // One that has been silent for as long, and does not offer it, has got nothing but its share.
    other.send(other_session, 12).await;
    let line = silent.hear().await;
    assert_eq!(line["method"], "submit", "{line}");
}

#[tokio::test]
async fn a_miner_goes_where_it_is_sent_and_back_when_nobody_is_there() {
    let (pool, other) = (StandIn::open().await, StandIn::open().await);
    let mut client = Client::start(&[pool.address()], quick());
    let mut peer = pool.peer(&job("a", 1, 1, 100)).await;
    client.logged_in().await;
    let (host, port) = other
        .address()
        .rsplit_once(':')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    // Only the exact shape is obeyed.
    let odd = json!([host, port.parse::<u16>().unwrap()]);
    for params in [odd, json!([host, port])] {
        peer.say(&json!({"jsonrpc": "2.0", "method": "client.reconnect", "params": params}))
            .await;
    }
    let moved = other.peer(&job("b", 2, 1, 100)).await;
    assert_eq!(client.logged_in().await.1, "b");
    drop((moved, other));
    let _peer = pool.peer(&job("c", 3, 1, 100)).await;
    assert_eq!(client.logged_in().await.1, "c");
}

#[tokio::test]
async fn a_pool_that_was_left_still_answers_and_is_sent_nothing_more() {
    let (pool, other) = (StandIn::open().await, StandIn::open().await);
    let mut client = Client::start(&[pool.address()], long_drain());
    let mut peer = pool.peer(&job("a", 1, 1, 100)).await;
    let (session, _) = client.logged_in().await;
    let mut ids = Vec::new();
    for ticket in [11, 12, 13] {
        client.send(session, ticket).await;
        ids.push(peer.share().await.0);
    }
    peer.send_to(&other).await;
    let (broken, unanswered) = client.lost().await;
    assert!(matches!(broken, Broken::Moved(_)), "{broken:?}");
    assert_eq!(unanswered, [0; 0], "the pool may still answer");
    let mut moved = other.peer(&job("b", 2, 1, 100)).await;
    let (next, _) = client.logged_in().await;
    client.send(session, 14).await;
    let unsent = client.event().await;
    assert!(
        matches!(unsent, ClientEvent::Unsent { ticket: 14 }),
        "{unsent:?}"
    );
    // Work and where to go are no news there any more; answers are.
    peer.push(&job("c", 3, 1, 100)).await;
    peer.send_to(&pool).await;
    peer.refuse(ids[1], "Block expired").await;
    peer.accept(ids[0]).await;
    let expired = Some("Block expired".to_owned());
    assert_eq!(client.answer().await, (12, expired));
    assert_eq!(client.answer().await, (11, None));
    client.send(next, 15).await;
    let (id, _) = moved.share().await;
    moved.accept(id).await;
    assert_eq!(client.answer().await, (15, None));
    drop(peer);
    let rest = client.event().await;
    let ClientEvent::Unanswered { tickets } = rest else {
        panic!("{rest:?}")
    };
    assert_eq!(tickets, [13]);
}

#[tokio::test]
async fn a_client_that_is_stopped_waits_for_answers_and_not_for_ever() {
    let pool = StandIn::open().await;
    for timing in [long_drain(), quick()] {
        let mut client = Client::start(&[pool.address()], timing);
        let mut peer = pool.peer(&job("a", 1, 1, 100)).await;
        let (session, _) = client.logged_in().await;
        client.send(session, 21).await;
        let (id, _) = peer.share().await;
        client.stop.cancel();
        let (broken, unanswered) = client.lost().await;
        assert!(matches!(broken, Broken::Stopped), "{broken:?}");
        assert_eq!(unanswered, [0; 0], "the pool may still answer");
        if timing.drain_at_stop == quick().drain_at_stop {
            let rest = client.event().await;
            let ClientEvent::Unanswered { tickets } = rest else {
                panic!("{rest:?}")
            };
            assert_eq!(tickets, [21]);
        } else {
            client.send(session, 22).await;
            peer.accept(id).await;
            assert_eq!(client.answer().await, (21, None));
            let unsent = client.event().await;
            assert!(
                matches!(unsent, ClientEvent::Unsent { ticket: 22 }),
                "{unsent:?}"
            );
        }
        let last = soon("the client's end", client.events.recv()).await;
        assert!(last.is_none(), "{last:?}");
        assert_eq!(peer.hear().await, Value::Null, "it is closed");
    }
}

#[tokio::test]
async fn the_next_pool_serves_until_the_first_is_back() {
    let first = StandIn::open().await;
    let address = first.address();
    drop(first);
    let second = StandIn::open().await;
    let mut client = Client::start(&[address.clone(), second.address()], quick());
    let mut peer = second.peer(&job("backup", 1, 1, 100)).await;
    assert_eq!(client.logged_in().await.1, "backup");
    let first = tokio::net::TcpListener::bind(&address).await.unwrap();
    let back = soon("the first pool again", first.accept())
        .await
        .unwrap()
        .0;
    let _back = Peer::logged_in(back, &job("first", 2, 1, 100)).await;
    assert_eq!(client.logged_in().await.1, "first");
    assert_eq!(peer.hear().await, Value::Null, "the backup is left");
}

#[tokio::test]
async fn a_pinned_certificate_is_the_only_one() {
    let tls = PoolTls::new();
    let pool = StandIn::open().await;
    let wrong = format!("stratum+ssl://{}#{}", pool.address(), "ab".repeat(32));
    let mut client = Client::start(&[wrong], quick());
    assert!(tls.accept(pool.connection().await).await.is_err());
    let (broken, _) = client.lost().await;
    let Broken::Connect(_, reason) = broken else {
        panic!("{broken:?}")
    };
    assert!(reason.contains(&tls.fingerprint), "{reason}");
    drop(client);
    let right = format!("stratum+ssl://{}#{}", pool.address(), tls.fingerprint);
    let mut client = Client::start(&[right], quick());
    let stream = tls.accept(pool.connection().await).await;
    // A last call of the one before may still have been waiting.
    let stream = match stream {
        Ok(stream) => stream,
        Err(_) => tls.accept(pool.connection().await).await.unwrap(),
    };
    let _peer = Peer::logged_in(stream, &job("a", 1, 1, 100)).await;
    client.logged_in().await;
}

//! What is refused: unknown commands, bad logins, and all logins while there is nothing to mine.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_commands_are_answered_and_the_rest_refused() {
    let stage = Stage::open(Scene::default(), config()).await;
    let mut client = stage.miner().await;
    assert_eq!(
        client.ask(KEEPALIVED).await,
        json!({"id": 77, "jsonrpc": "2.0", "error": null, "result": {"status": "KEEPALIVED"}})
    );
    let getjob = client
        .ask(r#"{"id":"seven","method":"getjob","params":{"id":"x"}}"#)
        .await;
    assert_eq!(
        (&getjob["id"], &getjob["result"]),
        (&json!("seven"), &client.job)
    );
    assert!(
        message(&client.ask(r#"{"id":8,"method":"mining.subscribe"}"#).await)
            .starts_with("Unknown method")
    );
    assert!(
        message(&client.ask(CAPTURED.lines().next().unwrap()).await)
            .starts_with("Already logged in")
    );
    assert!(
        message(&client.ask("not json at all, but long enough").await)
            .contains("not a JSON request")
    );
    assert_eq!(client.hear().await, Value::Null);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_logins_are_refused_with_the_reason() {
    let stage = Stage::open(Scene::default(), config()).await;
    let cases = [
        (
            r#"{"id":1,"method":"login","params":{"login":"nobody","pass":"x"}}"#,
            "Invalid wallet address",
        ),
        (
            r#"{"id":1,"method":"login","params":{"login":"4A","algo":["cn/r"]}}"#,
            "needs the algorithm rx/0",
        ),
        (
            r#"{"id":1,"method":"login","params":{}}"#,
            "login needs params",
        ),
        (KEEPALIVED, "Unauthenticated"),
        ("{}", "not a JSON request"),
    ];
    for (line, reason) in cases {
        let mut client = stage.client().await;
        let answer = client.ask(line).await;
        assert!(message(&answer).contains(reason), "{answer}");
        assert_eq!(client.hear().await, Value::Null, "{line}");
    }
    let mut endless = stage.client().await;
    endless.send(&"a".repeat(5000)).await;
    assert_eq!(endless.hear().await, Value::Null);
    assert_eq!(stage.stats.snapshot().sessions, 0);
    stage.close().await;
    // Nothing is heard of a silent one, and it is not heard for long.
    let stage = Stage::open(
        Scene::unready(),
        StratumConfig {
            login_timeout_s: 1,
            ..config()
        },
    )
    .await;
    assert_eq!(stage.client().await.hear().await, Value::Null);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsynchronised_daemon_stops_jobs_and_says_so() {
    let scene = Scene {
        unready: Some("the daemon is not synchronised".to_owned()),
        ..Scene::default()
    };
    let stage = Stage::open(scene, config()).await;
    stage
        .until("the reason", |stage| {
            stage.stats.snapshot().unready.as_deref() == Some("the daemon is not synchronised")
        })
        .await;
    // Each cause has its own words, and the daemon's are the operator's alone.
    for (cause, words) in [
        (NoWorkCause::DaemonUnfit, "its daemon cannot be mined with"),
        (NoWorkCause::Syncing, "its daemon is synchronising"),
        (NoWorkCause::CheckingChain, "it checks its daemon's newest"),
    ] {
        stage.change(|scene| {
            scene.cause = cause;
            scene.unready = Some(format!("at 10.0.0.1: {cause:?}"));
        });
        stage
            .until("the reason", |stage| {
                let unready = stage.stats.snapshot().unready.unwrap_or_default();
                unready == format!("at 10.0.0.1: {cause:?}")
            })
            .await;
        let login = CAPTURED.lines().next().unwrap();
        let refused = stage.client().await.ask(login).await;
        let text = message(&refused);
        assert!(
            text.contains(&format!("nothing to mine yet: {words}")),
            "{text}"
        );
        assert!(!text.contains("10.0.0.1"), "{text}");
    }
    stage.change(|scene| scene.unready = None);
    stage
        .until("work", |stage| stage.stats.snapshot().unready.is_none())
        .await;
    let mut client = stage.miner().await;
    stage.change(|scene| scene.unready = Some("fell behind".to_owned()));
    assert_eq!(client.hear().await, Value::Null);
    stage.close().await;
}

//! Who comes in by the routes: connections that ask nothing do not keep an emergency stop out, what
//! is not carried out is said, and a lock belongs to a person, however known.

use headframe_ingest::simulator::Simulator;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{PATIENCE, until};
use crate::service::{Running, TOKEN, config, scenario};

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_nothing_keep_no_emergency_stop_out() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let running = Running::start(&config(&simulator, folder.path(), None)).await;
    let address = running.url.strip_prefix("http://").unwrap().to_owned();
    let mut idle = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // Every other one says a part of a request, and no more.
        if number % 2 == 0 {
            let head = b"POST /api/v1/site/emergency-stop HTTP/1.1\r\nHost: x\r\nX-A: ";
            stream.write_all(head).await.unwrap();
        }
        idle.push(stream);
    }
    // The first ones had to make way.
    let mut byte = [0];
    let ended = tokio::time::timeout(PATIENCE, idle[0].read(&mut byte)).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    // A stop whose body never comes to its end counts, too, while its connection is open.
    let mut stop = TcpStream::connect(&address).await.unwrap();
    let half = "POST /api/v1/site/emergency-stop HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\nContent-Length: 40\r\n\r\n{\"reason";
    stop.write_all(half.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let answered = tokio::time::timeout(PATIENCE, stop.read_exact(&mut answer));
    answered.await.expect("it is answered").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(running.site().await["state"], "tripped");
    drop(idle);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_carried_out_is_said_and_a_lock_is_a_persons() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let running = Running::start(&config(&simulator, folder.path(), None)).await;
    until("it has begun", || async {
        running.site().await["state"].is_string()
    })
    .await;
    let ann = json!({"reason": "I work there", "by": "Ann"});
    assert_eq!(
        running.post("/api/v1/site/lockout", ann.clone()).await.0,
        200
    );
    let stop = json!({"reason": "smoke", "by": "Ann"});
    assert_eq!(
        running.post("/api/v1/site/emergency-stop", stop).await.0,
        200
    );
    for (method, path, body, status, said) in [
        (
            Method::POST,
            "override",
            json!({"cap_kw": 9, "for_s": 90_000, "reason": "x"}),
            409,
            "for_s",
        ),
        (
            Method::POST,
            "override",
            json!({"cap_kw": 9, "for_s": 0, "reason": "x"}),
            409,
            "for_s",
        ),
        (
            Method::POST,
            "bypass",
            json!({"input": "no", "for_s": 9, "reason": "x"}),
            409,
            "\"no\"",
        ),
        (
            Method::POST,
            "reset",
            json!({"reason": "safe"}),
            409,
            "emergency_stop",
        ),
        (
            Method::DELETE,
            "lockout",
            json!({"reason": "x", "by": "Bob"}),
            409,
            "by Ann",
        ),
        (Method::DELETE, "override", json!({}), 409, "no override"),
        (
            Method::POST,
            "override",
            json!({"cap_kw": 9, "typo_s": 1, "reason": "x"}),
            400,
            "typo_s",
        ),
        (
            Method::DELETE,
            "override",
            json!({"scpe": "site"}),
            400,
            "scpe",
        ),
        (
            Method::POST,
            "signals/utility",
            json!({"requests": [{"level": "curtail", "typo_kw": 5.0}]}),
            400,
            "typo_kw",
        ),
    ] {
        let path = format!("/api/v1/site/{path}");
        let (got, answer) = running.send(method, &path, body).await;
        let error = &answer["error"];
        assert_eq!(got, status, "{path}: {answer}");
        assert!(
            error["message"].as_str().unwrap().contains(said),
            "{path}: {answer}"
        );
        assert!(
            !error["hint"].as_str().unwrap().is_empty(),
            "{path}: {answer}"
        );
    }
    // In a browser she is the same Ann.
    let login = running.client.post(format!("{}/api/v1/login", running.url));
    let login = login.json(&json!({"token": TOKEN})).send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let unlock = running
        .client
        .delete(format!("{}/api/v1/site/lockout", running.url));
    let unlock = unlock
        .header("cookie", cookie)
        .json(&ann)
        .send()
        .await
        .unwrap();
    assert_eq!(
        unlock.status().as_u16(),
        200,
        "{}",
        unlock.text().await.unwrap()
    );
    assert_eq!(running.site().await["lockouts"], json!([]));
    running.stop().await;
}

//! Leases: a miner that is many machines gets a job with an extranonce of its own for each, once it
//! has shown that it works.

use std::collections::BTreeSet;

use headframe_stratum::StratumConfig;
use headframe_stratum::work::job::JobRing;
use serde_json::{Value, json};

use crate::nicehash::hash;
use crate::scripted::{Scene, Stage, config};
use crate::xmrig::Xmrig;

const NONCE: [u8; 4] = [1, 2, 3, 0];

/// Asks for leases; the answer comes before any job does.
async fn lease(miner: &mut Xmrig, count: usize) -> Value {
    let line = json!({"id": 90, "jsonrpc": "2.0", "method": "lease",
        "params": {"id": "x", "count": count}});
    miner.client.send(&line.to_string()).await;
    loop {
        let heard = miner.client.hear().await;
        if heard["id"] == 90 {
            return heard;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miner_that_has_shown_work_leases_extranonces_and_is_credited_for_each() {
    let scene = Scene {
        own_blobs: true,
        ..Scene::default()
    };
    let stage = Stage::open(
        scene,
        StratumConfig {
            start_difficulty: 1,
            ..config()
        },
    )
    .await;
    let asks = |params: &mut Value| params["extensions"] = json!(["lease"]);
    let mut miner = Xmrig::login(stage.client().await, Value::Null, asks).await;
    assert_eq!(miner.extensions, ["algo", "keepalive", "lease"]);
    let refused = lease(&mut miner, 3).await;
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains("that have sent a good share"), "{said}");
    let nonce = hex::encode(NONCE);
    let found = hash(&stage.seeds, &miner.job, NONCE).await;
    assert_eq!(miner.submit(&nonce, &found).await, Ok(()));

    let answer = lease(&mut miner, 3).await;
    let jobs = answer["result"]["jobs"].as_array().unwrap().clone();
    assert_eq!(jobs.len(), 3, "{answer}");
    let text = |job: &Value, key: &str| job[key].as_str().unwrap().to_owned();
    for key in ["job_id", "blob"] {
        let all = jobs.iter().chain([&miner.job]).map(|job| text(job, key));
        assert_eq!(all.collect::<BTreeSet<_>>().len(), 4, "{key}: {answer}");
    }
    // The same nonce is worth a share in each, once.
    for job in &jobs {
        let (id, found) = (text(job, "job_id"), hash(&stage.seeds, job, NONCE).await);
        assert_eq!(miner.submit_for(&id, &nonce, &found).await, Ok(()));
        let again = miner.submit_for(&id, &nonce, &found).await;
        assert_eq!(again, Err("Duplicate share".to_owned()));
    }
    // What is right for one is wrong for another.
    let foreign = hash(&stage.seeds, &jobs[0], [9, 2, 3, 0]).await;
    let other = text(&jobs[1], "job_id");
    let wrong = miner.submit_for(&other, "09020300", &foreign).await;
    assert!(wrong.is_err(), "{wrong:?}");
    let mut other = Xmrig::login(stage.client().await, Value::Null, |_| {}).await;
    let refused = lease(&mut other, 3).await;
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains("extensions of their login"), "{said}");
    for bad in [0, 65] {
        let refused = lease(&mut miner, bad).await;
        assert!(refused["error"]["message"].is_string(), "{bad}: {refused}");
    }
    stage.close().await;
}

#[test]
fn leased_jobs_are_bounded_and_go_with_their_template() {
    let template = std::sync::Arc::new(Scene::default());
    let mut ring = JobRing::new(1, 2, 3);
    assert_eq!(ring.lease(5), 0, "there is no job to lease beside");
    let first = ring.issue(template.clone(), 16).id();
    assert_eq!(ring.lease(5), 5);
    let ids: Vec<String> = ring.newest_leased(5).map(|job| job.id()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 5);
    assert!(!ids.contains(&first) && ids.iter().all(|id| ring.find(id).is_some()));
    assert_eq!(ring.lease(usize::MAX), 1_019, "a job has so many beside it");
    assert_eq!(ring.lease(1), 0, "and no more, however often it is asked");
    assert!(ids.iter().all(|id| ring.find(id).is_some()));
    ring.issue(template, 16);
    assert_eq!(ring.lease(usize::MAX), 1_024);
    assert!(
        ids.iter().all(|id| ring.find(id).is_none()),
        "the oldest go"
    );
    let newest: Vec<String> = ring.newest_leased(1).map(|job| job.id()).collect();
    for _ in 0..8 {
        assert!(ring.find(&newest[0]).is_some());
        ring.issue(std::sync::Arc::new(Scene::default()), 16);
    }
    assert!(ring.find(&newest[0]).is_none(), "its template is forgotten");
    let mut split = JobRing::new(1, 2, 3).with_nicehash(true);
    split.issue(std::sync::Arc::new(Scene::default()), 16);
    assert_eq!(split.lease(5), 0, "the last byte is what splits these");
}

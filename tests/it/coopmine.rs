//! A coordinator of workers inside `headframe up`: what happens in it is served by SQL.

use headframe_coopmine::cluster::PROTOCOL_VERSION;
use headframe_coopmine::proto::client::CoopMineClient;
use headframe_coopmine::proto::messages::{HeartbeatRequest, RegisterRequest, UnregisterRequest};
use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use serde_json::json;
use tonic::transport::Endpoint;

use crate::server::{Headframe, free_port, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_a_coordinator_inside_headframe_are_rows_of_sql() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let (grpc, pages) = (free_port(), free_port());
    // The pool is away; workers come all the same.
    let more = format!(
        "[coopmine.cluster]\nid = \"farm\"\n[coopmine.pool]\naddress = \"127.0.0.1:9\"\nwallet = \
         \"4wallet\"\n[coopmine.grpc]\nlisten = \"127.0.0.1:{grpc}\"\n[coopmine.dashboard]\n\
         listen = \"127.0.0.1:{pages}\"\ntoken = \"secret\"\n"
    );
    let roles = "pipelines,query,coopmine";
    let running = Headframe::start_with(folder.path(), nats.url(), free_port(), roles, &more);
    running.row("SELECT 1").await;
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{grpc}")).unwrap();
    let client = CoopMineClient::new(endpoint.connect().await.unwrap());
    let worker_id = "rig-1".to_owned();
    let registration = RegisterRequest {
        worker_id: worker_id.clone(),
        worker_name: "the rig".to_owned(),
        protocol: PROTOCOL_VERSION,
        threads: 2,
        ..RegisterRequest::default()
    };
    let session = client.register(registration).await.unwrap().session;
    let report = HeartbeatRequest {
        worker_id: worker_id.clone(),
        session,
        hashrate_hs: 123.0,
        threads_active: 2,
        ..HeartbeatRequest::default()
    };
    client.heartbeat(report.clone()).await.unwrap();
    let command = crate::server::http()
        .post(format!(
            "http://127.0.0.1:{pages}/api/workers/rig-1/commands"
        ))
        .bearer_auth("secret")
        .json(&json!({"command": "throttle", "threads": 1}));
    let given: serde_json::Value = command.send().await.unwrap().json().await.unwrap();
    let obeyed = HeartbeatRequest {
        threads_active: 1,
        hashrate_hs: 60.0,
        command_id: given["id"].as_u64().unwrap(),
        ..report
    };
    client.heartbeat(obeyed).await.unwrap();
    client
        .unregister(UnregisterRequest { worker_id, session })
        .await
        .unwrap();
    for (sql, wanted) in [
        (
            "SELECT string_agg(event, ' ' ORDER BY seq, row) AS e FROM workers WHERE cluster = \
             'farm' AND worker = 'rig-1'",
            json!({"e": "registered report unregistered"}),
        ),
        (
            "SELECT string_agg(state, ' ' ORDER BY seq, row) AS e, max(value) AS v FROM commands",
            json!({"e": "sent verified", "v": 1}),
        ),
        (
            "SELECT miner, worker, hashrate_hs AS h FROM hashrate WHERE pool = 'farm'",
            json!({"miner": "4wallet", "worker": "rig-1", "h": 123.0}),
        ),
        ("SELECT count(*) AS n FROM worker_shares", json!({"n": 0})),
    ] {
        running.until(sql, |row| *row == wanted).await;
    }
    // They land in tables, which a process that writes none and has no stream behind it would show.
    until("the table of workers", async || {
        let table = folder.path().join("tables/workers/_delta_log");
        let commits = std::fs::read_dir(table).map_err(|error| error.to_string())?;
        match commits.count() {
            0 | 1 => Err("no commit with rows yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    running.kill();
    nats.shutdown().await;
}

//! What a look of all rules costs.

use std::time::Instant;

use headframe_ingest::provision_stream;
use headframe_pipelines::pipeline::violations::RuleWatcher;
use headframe_schemas::codec;
use headframe_schemas::stream::energy::{Energies, Energy};
use serde_json::json;

use super::{MINUTE, START, mine, register, send_change};
use crate::cases::cases;

/// Minutes of samples.
const MINUTES: i64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_of_all_rules_reads_each_metric_once_and_its_cost_is_shown() {
    let machines = i64::from(cases(10)) * 3;
    let (fixture, mut pipelines) = mine().await;
    let nats = fixture.nats();
    provision_stream(&nats.js, &Energies, &Default::default())
        .await
        .unwrap();
    pipelines.push(fixture.run_tables(&Energies).await);
    for number in 0..machines {
        let machine = json!({"site": "north"});
        send_change(&fixture, "machines", &format!("m{number}"), machine).await;
    }
    for number in 0..20 {
        // Half of the machines draw too much for half of the rules.
        let rule = json!({"type": "OTHER", "subject_kind": "machine", "metric": "power_w",
            "comparison": "above", "threshold": f64::from(number) * 200.0, "for_s": 600.0});
        send_change(&fixture, "rules", &format!("r{number}"), rule).await;
    }
    register(&fixture, "sites", "north", json!({"time_zone": "UTC"})).await;
    let mut seq = 0;
    for minute in 0..=MINUTES {
        let rows = (0..machines).map(|machine| Energy {
            event_time: START + minute * MINUTE,
            site: "north".to_owned(),
            meter: format!("m{machine}"),
            power_w: 2_000.0 + (machine % 2) as f64 * 1_000.0,
            energy_total_wh: None,
        });
        let lines: Vec<Vec<u8>> = rows.map(|row| serde_json::to_vec(&row).unwrap()).collect();
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let batch = codec::decode_ndjson(&Energies, &lines).batch;
        seq = fixture.publisher.batch(&Energies, batch).await.unwrap().seq;
    }
    fixture.until_complete(&Energies, seq).await;
    let mut watcher = RuleWatcher::open(&fixture.context()).await.unwrap();
    watcher.step(START + (MINUTES - 1) * MINUTE).await.unwrap();
    // Nothing new is found in this minute.
    let started = Instant::now();
    watcher.step(START + MINUTES * MINUTE).await.unwrap();
    let took = started.elapsed();
    println!(
        "{machines} machines, 38 rules, {} series: a look of a minute takes {} ms",
        20 * machines,
        took.as_millis()
    );
    let open = fixture
        .last_seq(&headframe_schemas::stream::violations::Violations)
        .await;
    // Detected and opened: 10 rules for each machine, and five more for every second one.
    let expected = 2 * (machines as u64 * 10 + machines as u64 / 2 * 5);
    assert_eq!(open, expected);
    for running in pipelines {
        running.stop().await;
    }
    fixture.end().await;
}

//! Anomalies between a real nats-server and tables: each beginning and each end is written once,
//! however often the pipeline is killed.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use headframe_pipelines::anomaly::{AnomalyConfig, Bounds, Mode, Sample, SignalState};
use headframe_schemas::stream::anomalies::Anomalies;
use headframe_schemas::stream::energy::{Energies, Energy};
use headframe_schemas::stream::site_commands::{SiteCommandRow, SiteCommands};
use headframe_schemas::{Table, codec};

use crate::fixture::{Fixture, until};

const METERS: i64 = 5;
const SAMPLES: i64 = 1_200;
/// Samples of each meter in a message.
const MESSAGE: i64 = 40;
const START_US: i64 = 1_772_409_600_000_000;

/// A level with noise; each meter has a step of its own and one wrong reading.
fn power_w(meter: i64, number: i64) -> f64 {
    let noise = ((number * 7_919 + meter * 104_729) % 1_013) as f64 / 1_013.0;
    let step = 300 + 40 * meter..420 + 40 * meter;
    let level = if step.contains(&number) {
        2_400.0
    } else {
        3_000.0
    };
    let wrong = if number == 900 + 17 * meter {
        5_000.0
    } else {
        0.0
    };
    level + 30.0 * noise + wrong
}

fn row(meter: i64, number: i64) -> Energy {
    Energy {
        event_time: START_US + number * 120_000_000,
        site: if meter % 2 == 0 { "north" } else { "south" }.to_owned(),
        meter: format!("m{meter}"),
        power_w: power_w(meter, number),
        energy_total_wh: None,
    }
}

fn message(first: i64, site: &str) -> Option<RecordBatch> {
    let rows = (first..first + MESSAGE)
        .flat_map(|number| (0..METERS).map(move |meter| row(meter, number)));
    let lines: Vec<Vec<u8>> = rows
        .filter(|row| row.site == site)
        .map(|row| serde_json::to_vec(&row).unwrap())
        .collect();
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    (!lines.is_empty()).then(|| codec::decode_ndjson(&Energies, &lines).batch)
}

/// What one pass over the readings of each meter finds, as the table's rows say it.
fn expected() -> BTreeMap<String, Vec<String>> {
    let mut expected = BTreeMap::new();
    for meter in 0..METERS {
        let mut state = SignalState::default();
        let mut lines = Vec::new();
        for number in 0..SAMPLES {
            let row = row(meter, number);
            let sample = Sample {
                event_time: row.event_time,
                // All were stored within seconds, days after they were taken.
                ingest_time: START_US + 40 * 86_400_000_000 + number,
                value: Some(row.power_w),
                mode: Mode::Unknown,
                rated: None,
            };
            let found = state.observe(&sample, &AnomalyConfig::default(), Bounds::ANY);
            lines.extend(found.findings.iter().map(|finding| {
                let (detector, transition) = (finding.detector, finding.transition.as_str());
                format!("{detector} {transition} {} {}", finding.since, finding.time)
            }));
        }
        assert!(lines.len() >= 4, "m{meter}: {lines:?}");
        expected.insert(format!("m{meter}/power_w"), lines);
    }
    expected
}

const FOUND: &str = "SELECT signal || ': ' || detector || ' ' || transition || ' ' || \
     CAST(CAST(since AS BIGINT) AS VARCHAR) || ' ' || CAST(CAST(event_time AS BIGINT) AS VARCHAR) \
     AS line FROM t WHERE reject_reason IS NULL ORDER BY seq, \"row\"";

async fn found(fixture: &Fixture) -> BTreeMap<String, Vec<String>> {
    let text = fixture.ask(Table::raw(&Anomalies), FOUND).await;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((signal, rest)) = line.trim_matches(['|', ' ']).split_once(": ") {
            found
                .entry(signal.to_owned())
                .or_default()
                .push(rest.to_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_neither_lose_nor_double_an_anomaly() {
    let (fixture, expected) = (Fixture::new(&Energies).await, expected());
    let count = expected.values().map(Vec::len).sum::<usize>();
    let anomalies = fixture.run(&Anomalies).await;
    let mut rows = 0;
    for (round, first) in (0..SAMPLES).step_by(MESSAGE as usize).enumerate() {
        for site in ["north", "south"] {
            let batch = message(first, site).unwrap();
            rows = fixture.publisher.batch(&Energies, batch).await.unwrap().seq;
        }
        if round % 4 != 0 {
            continue;
        }
        // As far as it comes until some table holds something new, then it dies.
        let running = fixture.run(&Energies).await;
        match round % 3 {
            0 => fixture.until_through(Table::raw(&Energies), rows).await,
            _ => {
                let before = found(&fixture).await.len();
                until("rows or anomalies", async || {
                    let offset = fixture.offsets(&Energies).await[0];
                    found(&fixture).await.len() > before || offset >= Some(rows as i64)
                })
                .await;
            }
        }
        running.kill().await;
    }
    let running = fixture.run(&Energies).await;
    until("every anomaly", async || {
        found(&fixture).await.values().map(Vec::len).sum::<usize>() >= count
    })
    .await;
    // One more start finds everything again and writes nothing.
    running.stop().await;
    let running = fixture.run(&Energies).await;
    let last = fixture
        .publisher
        .record(&row(0, SAMPLES))
        .await
        .unwrap()
        .seq;
    fixture.until_through(Table::raw(&Energies), last).await;
    running.stop().await;
    let nats = fixture.nats();
    let stream = headframe_ingest::inspect_stream(&nats.js, &Anomalies).await;
    let written = stream.unwrap().unwrap().last_seq;
    fixture.until_through(Table::raw(&Anomalies), written).await;
    anomalies.stop().await;
    assert_eq!(found(&fixture).await, expected);
    fixture.end().await;
}

/// Samples of a curtailment of `rig-1`: the first and the one after the last.
const CURTAILED: [std::ops::Range<i64>; 2] = [300..360, 430..470];
/// The samples at which it draws less though nobody commanded it.
const FAULT: i64 = 560;

fn machine_w(number: i64) -> f64 {
    let noise = (number * 7_919 % 1_013) as f64 / 1_013.0;
    let is_off = CURTAILED.iter().any(|range| range.contains(&number));
    let level = match number {
        _ if is_off => 40.0,
        FAULT.. => 2_300.0,
        _ => 3_000.0,
    };
    level + 20.0 * noise
}

/// The same in both sites: the meter of a machine, and one that measures it with others.
fn mine_message(first: i64, site: &str) -> RecordBatch {
    let rows = (first..first + MESSAGE).flat_map(|number| {
        let (machine_w, noise) = (machine_w(number), (number * 6_151 % 1_009) as f64 / 1_009.0);
        let meters = [
            ("rig-1", machine_w),
            ("main", 9_000.0 + machine_w + 30.0 * noise),
        ];
        meters.map(|(meter, power_w)| Energy {
            event_time: START_US + number * 120_000_000,
            site: site.to_owned(),
            meter: meter.to_owned(),
            power_w,
            energy_total_wh: None,
        })
    });
    let lines: Vec<Vec<u8>> = rows.map(|row| serde_json::to_vec(&row).unwrap()).collect();
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    codec::decode_ndjson(&Energies, &lines).batch
}

fn command(number: i64, action: &str, sample: i64, state: &str) -> SiteCommandRow {
    SiteCommandRow {
        event_time: START_US + sample * 120_000_000 - 1_000_000,
        site: "north".to_owned(),
        journal: "1".to_owned(),
        command: number,
        decision: number,
        target_kind: "machine".to_owned(),
        target: "rig-1".to_owned(),
        action: action.to_owned(),
        value: None,
        path: "device".to_owned(),
        state: state.to_owned(),
        successor: None,
        reason: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_commanded_is_no_anomaly_and_what_was_not_is_one_however_often_it_starts() {
    let fixture = Fixture::new(&Energies).await;
    let anomalies = fixture.run(&Anomalies).await;
    let commands = fixture.run_raw(&SiteCommands).await;
    for (number, range) in CURTAILED.iter().enumerate() {
        let number = 2 * i64::try_from(number).unwrap();
        for (number, action, sample) in
            [(number, "off", range.start), (number + 1, "on", range.end)]
        {
            for state in ["queued", "sent", "acknowledged", "verified"] {
                let row = command(number, action, sample, state);
                fixture.publisher.record(&row).await.unwrap();
            }
        }
    }
    let mut last = 0;
    for first in (0..800).step_by(MESSAGE as usize) {
        for site in ["north", "south"] {
            let batch = mine_message(first, site);
            last = fixture.publisher.batch(&Energies, batch).await.unwrap().seq;
        }
    }
    // It dies once as soon as something is found, and finds the same again.
    let running = fixture.run(&Energies).await;
    until("an anomaly", async || !found(&fixture).await.is_empty()).await;
    running.kill().await;
    let running = fixture.run(&Energies).await;
    let since = async |site: &str, meter: &str| -> Vec<String> {
        let question = format!(
            "SELECT CAST((CAST(since AS BIGINT) - {START_US}) / 120000000 AS VARCHAR) AS since \
             FROM t WHERE reject_reason IS NULL AND transition = 'opened' AND site = '{site}' \
             AND signal = '{meter}/power_w' ORDER BY seq, \"row\""
        );
        fixture.strings(Table::raw(&Anomalies), &question).await
    };
    let fault = FAULT.to_string();
    until("the fault of each meter", async || {
        for site in ["north", "south"] {
            for meter in ["rig-1", "main"] {
                if !since(site, meter).await.contains(&fault) {
                    return false;
                }
            }
        }
        true
    })
    .await;
    fixture.until_through(Table::raw(&Energies), last).await;
    for meter in ["rig-1", "main"] {
        assert_eq!(since("north", meter).await, [fault.as_str()], "{meter}");
        // Where no command says so the same readings are a fault each time.
        let others = since("south", meter).await;
        assert!(
            others.len() > 1 && others[0] == "300",
            "{meter}: {others:?}"
        );
    }
    running.stop().await;
    commands.stop().await;
    anomalies.stop().await;
    fixture.end().await;
}

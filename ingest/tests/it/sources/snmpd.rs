//! The source `snmp` against Net-SNMP's daemon, which is of another make.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headframe_ingest::source::{ConfiguredSource, Exchange, Failure, Reading, SourcesConfig};
use serde_json::{Value, json};

use super::collected::{Polled, entry, secret, sensor};
use crate::fixture::PATIENCE;

/// A daemon that ends with this.
struct Daemon {
    child: Child,
    port: u16,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Objects that the daemon has beside its own.
const OBJECTS: &[(&str, &str, &str)] = &[
    // A PDU of Raritan with two outlets, one of which is not metered, and two probes.
    ("1.3.6.1.4.1.13742.6.5.2.3.1.4.1.1.5", "integer", "12345"),
    ("1.3.6.1.4.1.13742.6.5.2.3.1.2.1.1.5", "integer", "1"),
    ("1.3.6.1.4.1.13742.6.3.3.4.1.7.1.1.5", "integer", "1"),
    ("1.3.6.1.4.1.13742.6.5.4.3.1.4.1.1.5", "integer", "700"),
    ("1.3.6.1.4.1.13742.6.5.4.3.1.4.1.2.5", "integer", "0"),
    ("1.3.6.1.4.1.13742.6.5.4.3.1.2.1.1.5", "integer", "1"),
    ("1.3.6.1.4.1.13742.6.5.4.3.1.2.1.2.5", "integer", "2"),
    ("1.3.6.1.4.1.13742.6.3.5.4.1.7.1.1.5", "integer", "0"),
    ("1.3.6.1.4.1.13742.6.4.1.2.1.3.1.1", "integer", "7"),
    ("1.3.6.1.4.1.13742.6.4.1.2.1.3.1.2", "integer", "8"),
    ("1.3.6.1.4.1.13742.6.5.5.3.1.4.1.1", "integer", "235"),
    ("1.3.6.1.4.1.13742.6.5.5.3.1.2.1.1", "integer", "1"),
    ("1.3.6.1.4.1.13742.6.3.6.3.1.17.1.1", "integer", "1"),
    ("1.3.6.1.4.1.13742.6.3.6.3.1.2.1.1", "integer", "10"),
    // Of one's own.
    ("1.3.6.1.4.1.99999.1.0", "octet_str", "23.75"),
    ("1.3.6.1.4.1.99999.2.0", "uinteger", "4000000000"),
    ("1.3.6.1.4.1.99999.3.0", "octet_str", "n/a"),
];

impl Daemon {
    fn start(folder: &Path, port: u16) -> Self {
        let conf = folder.join("snmpd.conf");
        let mut text = "rocommunity secret 127.0.0.1\nrocommunity public 127.0.0.1\n".to_owned();
        for (oid, kind, value) in OBJECTS {
            writeln!(text, "override .{oid} {kind} {value}").unwrap();
        }
        std::fs::write(&conf, text).unwrap();
        let child = Command::new("/usr/sbin/snmpd")
            .args(["-f", "-Lo", "-C", "-I", "-smux", "-c"])
            .arg(&conf)
            .arg(format!("--persistentDir={}", folder.display()))
            .arg(format!("udp:127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("deploy/setup.sh test installs snmpd");
        Self { child, port }
    }

    fn source(&self, keys: Value) -> ConfiguredSource {
        let entry = entry("snmp", &format!("127.0.0.1:{}", self.port), keys);
        ConfiguredSource::new(entry, &SourcesConfig::default()).unwrap()
    }
}

fn free_port() -> u16 {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

async fn readings(source: &ConfiguredSource) -> Result<Vec<Reading>, Failure> {
    let answers = Exchange::new().unwrap().ask(source).await?;
    let readings = source.read(&answers).map_err(Failure::Malformed)?;
    assert!(
        readings.progress.is_some(),
        "the daemon says how long it runs"
    );
    Ok(readings.values)
}

/// The daemon takes a moment until it listens.
async fn until(source: &ConfiguredSource) -> Vec<Reading> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match readings(source).await {
            Ok(readings) => return readings,
            Err(reason) => assert!(tokio::time::Instant::now() < deadline, "{reason:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn objects_and_tables_of_another_make_are_read_in_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), free_port());
    for version in ["2c", "1"] {
        let raritan = daemon.source(json!({"model": "raritan", "version": version}));
        let power = |part: &str, power_w: f64| Reading::Power {
            part: part.to_owned(),
            power_w,
            energy_total_wh: None,
        };
        let expected = [
            power("inlet-1", 1_234.5),
            power("outlet-1", 700.0),
            sensor("outlet-1", "relay_state", 1.0),
            sensor("outlet-2", "relay_state", 0.0),
            sensor("sensor-1", "temperature_c", 23.5),
        ];
        assert_eq!(until(&raritan).await, expected, "{version}");

        // The load of the machine itself: one column as text, one as floats in Opaque.
        let own = daemon.source(json!({"version": version, "most_objects": 3, "values": [
            {"oid": ".1.3.6.1.4.1.99999.1.0", "quantity": "temperature_c"},
            {"oid": "1.3.6.1.4.1.99999.2.0", "quantity": "energy_total_wh"},
            {"oid": "1.3.6.1.4.1.99999.3.0", "quantity": "humidity_pct"},
            {"oid": "1.3.6.1.4.1.99999.4.0", "quantity": "humidity_pct"},
            {"oid": "1.3.6.1.4.1.2021.10.1.3.{n}", "quantity": "load", "part": "text-{n}"},
            {"oid": "1.3.6.1.4.1.2021.10.1.6.{n}", "quantity": "load", "part": "float-{n}"}]}));
        let found = readings(&own).await.unwrap();
        assert!(
            found.contains(&sensor("", "temperature_c", 23.75)),
            "{found:?}"
        );
        assert!(
            found.contains(&sensor("", "energy_total_wh", 4e9)),
            "{found:?}"
        );
        let mut loads = Vec::new();
        for reading in &found {
            if let Reading::Sensor {
                part,
                quantity,
                value,
            } = reading
                && quantity == "load"
            {
                assert!((0.0..100_000.0).contains(value), "{part} {value}");
                loads.push(part.as_str());
            }
        }
        let expected = [
            "text-1", "text-2", "text-3", "float-1", "float-2", "float-3",
        ];
        assert_eq!(loads, expected, "{version}");
        assert_eq!(found.len(), 8, "{found:?}");

        let values = json!([{"oid": "1.3.6.1.2.1.1.9.1.{n}", "quantity": "load"}]);
        let keys = json!({"version": version, "most_objects": 5, "values": values});
        let error = readings(&daemon.source(keys)).await.unwrap_err();
        assert!(error.to_string().contains("more than 5 objects"), "{error}");
    }
}

#[tokio::test]
async fn a_daemon_that_dies_is_failed_and_fresh_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), free_port());
    let port = daemon.port;
    let address = format!("127.0.0.1:{port}");
    let community = secret(folder.path(), "secret");
    let keys = json!({"model": "raritan", "secret_file": community});
    let mut polled = Polled::start(entry("snmp", &address, keys));
    polled.state("fresh").await;
    drop(daemon);
    let row = polled.state("failed").await;
    assert!(row.reason.is_some_and(|reason| !reason.is_empty()));
    let _daemon = Daemon::start(folder.path(), port);
    polled.state("fresh").await;

    // A community that it does not know is answered by silence.
    std::fs::write(folder.path().join("secret"), "wrong").unwrap();
    let keys = json!({"model": "raritan", "secret_file": community, "timeout_s": 0.3});
    let mut wrong = Polled::start(entry("snmp", &address, keys));
    let row = wrong.state("failed").await;
    assert!(row.reason.unwrap().contains("no answer within"));
}

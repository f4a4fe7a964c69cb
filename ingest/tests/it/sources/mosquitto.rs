//! The source `mqtt` against Mosquitto, which is a broker of another make.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use headframe_ingest::source::Reading;
use headframe_ingest::source::mqtt_packet::{Connect, Packet, Publish};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::collected::{Polled, entry, secret};
use crate::fixture::PATIENCE;

/// A broker that ends with this.
struct Broker {
    child: Child,
    port: u16,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Broker {
    /// With more lines of its configuration; ready when it takes connections.
    async fn start(folder: &Path, port: u16, more: &str) -> Self {
        let conf = folder.join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\npersistence false\nuser root\n{more}\n");
        std::fs::write(&conf, text).unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(&conf)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("deploy/setup.sh test installs mosquitto");
        let broker = Self { child, port };
        until(port).await;
        broker
    }

    fn address(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

/// Waits until the broker takes connections.
async fn until(port: u16) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        let is_late = tokio::time::Instant::now() > deadline;
        assert!(!is_late, "the broker takes no connections");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

/// A device that publishes. Its last will is `Offline`, retained.
struct Device(TcpStream);

impl Device {
    async fn connect(port: u16, will: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let login = Some(("sensor".to_owned(), "wet".to_owned()));
        let connect = Connect {
            client_id: "device".to_owned(),
            keep_alive_s: 60,
            login,
        };
        let mut bytes = Packet::Connect(connect).bytes();
        if let Some(topic) = will {
            bytes = with_will(&bytes, topic, "Offline");
        }
        stream.write_all(&bytes).await.unwrap();
        let mut answer = BytesMut::new();
        while Packet::take(&mut answer.clone(), 100).unwrap().is_none() {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        assert_eq!(Packet::take(&mut answer, 100), Ok(Some(Packet::ConnAck(0))));
        Self(stream)
    }

    async fn publish(&mut self, topic: &str, payload: &str, is_retained: bool) {
        let publish = Packet::Publish(Publish {
            topic: topic.to_owned(),
            is_retained,
            payload: Bytes::from(payload.to_owned()),
        });
        self.0.write_all(&publish.bytes()).await.unwrap();
    }
}

/// A CONNECT with a retained last will (MQTT 3.1.1, 3.1.2.5 and 3.1.3), between the client's name
/// and its login.
fn with_will(connect: &[u8], topic: &str, text: &str) -> Vec<u8> {
    let mut body = connect[2..].to_vec();
    body[7] |= 0b0010_0100;
    let name = 10 + 2 + "device".len();
    let mut will = Vec::new();
    for part in [topic, text] {
        will.extend((part.len() as u16).to_be_bytes());
        will.extend(part.as_bytes());
    }
    body.splice(name..name, will);
    let length = u8::try_from(body.len()).unwrap();
    [&[connect[0], length], body.as_slice()].concat()
}

fn now_s() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

/// Publishes again and again, as the subscription may come later, until a reading was stored.
async fn publish_until_read(
    device: &mut Device,
    polled: &mut Polled,
    topic: &str,
    payload: impl Fn(u32) -> String,
) -> (Vec<Reading>, i64) {
    let mut count = 0;
    loop {
        count += 1;
        device.publish(topic, &payload(count), false).await;
        let read = tokio::time::timeout(Duration::from_millis(200), polled.readings()).await;
        if let Ok(found) = read {
            return found;
        }
        assert!(count < 1_000, "nothing was read");
    }
}

#[tokio::test]
async fn telemetry_is_fresh_a_last_will_is_failed_and_a_broker_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), free_port(), "allow_anonymous true").await;
    let port = broker.port;
    let keys = json!({"preset": "tasmota", "topic": "plug"});
    let mut polled = Polled::start(entry("mqtt", &broker.address(), keys));
    let mut device = Device::connect(port, Some("tele/plug/LWT")).await;
    device.publish("tele/plug/LWT", "Online", true).await;
    let payload = |count: u32| {
        json!({"Time": count.to_string(), "ENERGY": {"Power": 42, "Total": 1.5}}).to_string()
    };
    let before_us = (now_s() * 1e6) as i64;
    let (values, at_us) =
        publish_until_read(&mut device, &mut polled, "tele/plug/SENSOR", payload).await;
    let power = Reading::Power {
        part: String::new(),
        power_w: 42.0,
        energy_total_wh: Some(1_500.0),
    };
    assert_eq!(values, [power]);
    assert!((before_us..=(now_s() * 1e6) as i64).contains(&at_us));
    polled.state("fresh").await;

    // It goes without a word, and the broker says so.
    drop(device);
    let row = polled.state("failed").await;
    assert_eq!(
        row.reason.as_deref(),
        Some("its last will says \"Offline\"")
    );
    let mut device = Device::connect(port, None).await;
    device.publish("tele/plug/LWT", "Online", true).await;
    publish_until_read(&mut device, &mut polled, "tele/plug/SENSOR", payload).await;
    polled.state("fresh").await;

    // The same with the broker.
    drop(broker);
    let row = polled.state("failed").await;
    assert!(row.reason.is_some());
    let broker = Broker::start(folder.path(), port, "allow_anonymous true").await;
    let mut device = Device::connect(broker.port, None).await;
    publish_until_read(&mut device, &mut polled, "tele/plug/SENSOR", payload).await;
    polled.state("fresh").await;

    // Nothing any more: it is connected, and stale.
    let row = polled.state("stale").await;
    assert_eq!(row.reason.as_deref(), Some("nothing new was published"));
}

#[tokio::test]
async fn a_retained_message_is_a_reading_only_when_its_clock_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), free_port(), "allow_anonymous true").await;
    let mut device = Device::connect(broker.port, None).await;
    let old = json!({"w": 1, "ts": now_s() - 600.0}).to_string();
    let young = json!({"w": 2, "ts": now_s() - 5.0}).to_string();
    device.publish("old", &old, true).await;
    device.publish("young", &young, true).await;
    let keys = |topic: &str, more: Value| {
        let mut keys = json!({"clock": "/ts", "stale_after_s": 1.0, "values": [
            {"topic": topic, "pointer": "/w", "quantity": "power_w"}]});
        for (key, value) in more.as_object().unwrap() {
            keys[key] = value.clone();
        }
        entry("mqtt", &broker.address(), keys)
    };
    for (topic, more) in [
        ("old", json!({"retained_max_age_s": 300})),
        ("young", json!({})),
    ] {
        let mut polled = Polled::start(keys(topic, more));
        let row = polled.state("stale").await;
        assert_eq!(row.readings, 0, "{topic}");
    }
    let mut polled = Polled::start(keys("young", json!({"retained_max_age_s": 300})));
    let (values, _) = polled.readings().await;
    assert_eq!(values.len(), 1);
    assert!(
        polled.is_quiet(Duration::from_millis(500)).await,
        "it was stored twice"
    );
}

#[tokio::test]
async fn a_message_that_is_too_long_or_no_json_is_failed_until_there_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path(), free_port(), "allow_anonymous true").await;
    let mut device = Device::connect(broker.port, None).await;
    let keys = json!({"max_body_bytes": 1_000, "values": [
        {"topic": "m", "pointer": "/w", "quantity": "power_w"}]});
    let mut polled = Polled::start(entry("mqtt", &broker.address(), keys));
    let good = |_: u32| r#"{"w":1}"#.to_owned();
    for (bad, reason) in [
        (
            format!("{{\"w\":1,\"x\":\"{}\"}}", "x".repeat(2_000)),
            "max_body_bytes, 1000",
        ),
        (
            format!("{{\"w\":1,\"x\":\"{}\"}}", "x".repeat(200_000)),
            "max_body_bytes, 1000",
        ),
        ("{".to_owned(), "at m is not JSON"),
    ] {
        publish_until_read(&mut device, &mut polled, "m", good).await;
        polled.state("fresh").await;
        let failed = async {
            loop {
                device.publish("m", &bad, false).await;
                let state = polled.state("failed");
                if let Ok(row) = tokio::time::timeout(Duration::from_millis(100), state).await {
                    return row;
                }
            }
        };
        let row = tokio::time::timeout(PATIENCE, failed).await.unwrap();
        assert!(
            row.reason.as_deref().unwrap().contains(reason),
            "{:?}",
            row.reason
        );
    }
}

/// A certificate for 127.0.0.1, its key, and the authority that signed it, as files.
fn certificates(folder: &Path) -> [PathBuf; 3] {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, key);
    let own_key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&own_key, &issuer).unwrap();
    let files = [
        ("ca.pem", authority_pem),
        ("own.pem", own.pem()),
        ("key.pem", own_key.serialize_pem()),
    ];
    files.map(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    })
}

#[tokio::test]
async fn a_login_and_tls_are_needed_where_the_broker_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let [authority, own, key] = certificates(folder.path());
    let passwords = folder.path().join("passwords");
    // As mosquitto_passwd writes it, which may not be there.
    std::fs::write(&passwords, "").unwrap();
    let made = Command::new("mosquitto_passwd")
        .arg("-b")
        .args([passwords.as_os_str(), "sensor".as_ref(), "wet".as_ref()])
        .status();
    assert!(made.unwrap().success());
    let tls_port = free_port();
    let more = format!(
        "allow_anonymous false\npassword_file {}\nlistener {tls_port} 127.0.0.1\ncertfile {}\n\
         keyfile {}",
        passwords.display(),
        own.display(),
        key.display()
    );
    let broker = Broker::start(folder.path(), free_port(), &more).await;
    let password = secret(folder.path(), "wet");
    let values = json!([{"topic": "m", "quantity": "power_w"}]);
    let keys = json!({"values": values, "user": "sensor", "secret_file": password,
        "tls_ca": authority});
    let address = format!("mqtts://127.0.0.1:{tls_port}");
    let mut polled = Polled::start(entry("mqtt", &address, keys.clone()));
    let mut device = Device::connect(broker.port, None).await;
    let (values, _) =
        publish_until_read(&mut device, &mut polled, "m", |count| count.to_string()).await;
    assert_eq!(values.len(), 1);
    let without = |key: &str| {
        let mut keys = keys.clone();
        keys.as_object_mut().unwrap().remove(key);
        keys
    };
    let mut nobody = without("user");
    nobody.as_object_mut().unwrap().remove("secret_file");
    for (address, keys, reason) in [
        (broker.address(), nobody, "may not connect"),
        (address.clone(), without("tls_ca"), ""),
        (
            broker.address().replace("mqtt:", "mqtts:"),
            keys.clone(),
            "",
        ),
    ] {
        let mut polled = Polled::start(entry("mqtt", &address, keys));
        let row = polled.state("failed").await;
        let found = row.reason.unwrap_or_default();
        assert!(!found.is_empty() && found.contains(reason), "{found}");
        assert!(!found.contains("wet"), "{found}");
    }
}

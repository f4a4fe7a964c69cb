//! Somebody else's server: TLS both ways, passwords, permissions. The certificates are for these
//! tests and valid nowhere else.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use headframe_ingest::{
    Nats, NatsConfig, NatsError, PublishError, Publisher, PublisherConfig, StreamSettings,
    provision_stream,
};
use tempfile::TempDir;

use crate::fixture::{PATIENCE, SENSORS, binary, reading};

struct Foreign {
    child: Child,
    url: String,
    folder: TempDir,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn cert(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/certs")
        .join(name)
}

async fn start(extra: &str) -> Foreign {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("server.conf");
    let run = folder.path();
    std::fs::write(
        &config,
        format!(
            "listen: \"127.0.0.1:-1\"\nports_file_dir: {run:?}\njetstream \
                                     {{ store_dir: {run:?} }}\n{extra}\n"
        ),
    )
    .unwrap();
    let child = Command::new(binary())
        .arg("-c")
        .arg(&config)
        .arg("-l")
        .arg(run.join("log"))
        .spawn()
        .unwrap();
    let ports = async {
        loop {
            let file = std::fs::read_dir(run)
                .unwrap()
                .flatten()
                .find(|entry| entry.path().extension().is_some_and(|end| end == "ports"));
            let ports: Option<serde_json::Value> = file
                .and_then(|file| serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok());
            if let Some(url) = ports.as_ref().and_then(|ports| ports["nats"][0].as_str()) {
                return url.to_owned();
            }
            tokio::task::yield_now().await;
        }
    };
    let url = tokio::time::timeout(PATIENCE, ports)
        .await
        .expect("the server writes its ports file");
    let port = url.rsplit(':').next().unwrap();
    Foreign {
        child,
        url: format!("nats://127.0.0.1:{port}"),
        folder,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_both_ways() {
    let tls = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        cert("server.pem"),
        cert("server.key"),
        cert("ca.pem"),
    );
    let server = start(&tls).await;
    let config = NatsConfig {
        url: server.url.clone(),
        tls_ca: Some(cert("ca.pem")),
        tls_cert: Some(cert("client.pem")),
        tls_key: Some(cert("client.key")),
        tls_required: true,
        ..NatsConfig::default()
    };
    let nats = Nats::connect(&config).await.unwrap();
    provision_stream(&nats.js, SENSORS, &StreamSettings::default())
        .await
        .unwrap();
    Publisher::new(nats, "tls", PublisherConfig::default())
        .record(&reading(1))
        .await
        .unwrap();

    let stranger = NatsConfig {
        tls_ca: None,
        ..config.clone()
    };
    assert!(
        matches!(
            Nats::connect(&stranger).await,
            Err(NatsError::Connect { .. })
        ),
        "an unknown authority is refused"
    );
    let anonymous = NatsConfig {
        tls_cert: None,
        tls_key: None,
        ..config.clone()
    };
    assert!(
        matches!(
            Nats::connect(&anonymous).await,
            Err(NatsError::Connect { .. })
        ),
        "the server wants a certificate"
    );
    let half = NatsConfig {
        tls_key: None,
        ..config.clone()
    };
    assert!(matches!(
        Nats::connect(&half).await,
        Err(NatsError::Config(_))
    ));
    let lost = NatsConfig {
        tls_ca: Some(cert("nowhere.pem")),
        ..config
    };
    let error = Nats::connect(&lost).await.unwrap_err();
    assert!(error.to_string().contains("nowhere.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_permissions() {
    let users = r#"authorization { users = [
        { user: ops, password: "o-secret" },
        { user: limited, password: "l-secret",
            permissions: { publish: { deny: "sensors.>" } } } ] }"#;
    let server = start(users).await;
    let login = |user: &str, password: &str| {
        let file = server.folder.path().join(format!("{user}.password"));
        std::fs::write(&file, format!("{password}\n")).unwrap();
        NatsConfig {
            url: server.url.clone(),
            user: Some(user.to_owned()),
            password_file: Some(file),
            ..NatsConfig::default()
        }
    };
    assert!(matches!(
        Nats::connect(&login("ops", "wrong")).await,
        Err(NatsError::Connect { .. })
    ));
    let ops = Nats::connect(&login("ops", "o-secret")).await.unwrap();
    provision_stream(&ops.js, SENSORS, &StreamSettings::default())
        .await
        .unwrap();
    Publisher::new(ops, "ops", PublisherConfig::default())
        .record(&reading(1))
        .await
        .unwrap();
    let limited = Nats::connect(&login("limited", "l-secret")).await.unwrap();
    let error = Publisher::new(limited, "limited", PublisherConfig::default())
        .record(&reading(2))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PublishError::Denied { .. }) && !error.retryable(),
        "{error}"
    );
}

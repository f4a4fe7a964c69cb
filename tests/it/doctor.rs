//! `headframe doctor` on real parts: what is well is called well, what is not is named, with an
//! exit code to match.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use headframe_stratum::net::tls::{TlsConfig, TlsIdentity};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::SUBADDRESS;
use crate::monerod::{Monerod, WALLET};
use crate::server::free_port;

/// The keys of [`WALLET`] as stagenet writes them.
const ON_STAGENET: &str = "54NHLfzi6KNBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGRtzGna";

/// The exit code, the findings as (check, verdict, words), and what was printed to stderr.
fn doctor(folder: &Path, arguments: &[&str]) -> (i32, Vec<(String, String, String)>, String) {
    let said = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .arg("doctor")
        .args(arguments)
        .args(["--format", "json"])
        .env(
            "HEADFRAME_NATS_SERVER",
            headframe_ingest::find_nats_server().unwrap(),
        )
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
    let findings = findings.iter().map(|finding| {
        let todo = text(finding, "todo");
        assert_eq!(
            todo.is_empty(),
            finding["verdict"] == "ok",
            "what is not well needs something to do: {finding}"
        );
        (
            text(finding, "check"),
            text(finding, "verdict"),
            format!("{} → {todo}", text(finding, "found")),
        )
    });
    (
        said.status.code().unwrap(),
        findings.collect(),
        String::from_utf8_lossy(&said.stderr).into_owned(),
    )
}

fn verdict<'a>(findings: &'a [(String, String, String)], check: &str) -> (&'a str, &'a str) {
    let found = findings
        .iter()
        .find(|finding| finding.0 == check)
        .unwrap_or_else(|| panic!("nothing about {check}: {findings:?}"));
    (&found.1, &found.2)
}

fn configure(folder: &Path, daemon: &str, wallet: &str, stratum: u16) -> String {
    let (query, data) = (free_port(), folder.join("data"));
    let text = format!(
        "roles = [\"stratum\", \"pipelines\", \"query\"]\ndata_dir = {data:?}\n[query]\nlisten = \
         \"127.0.0.1:{query}\"\n\
         [stratum]\nlisten = \"127.0.0.1:{stratum}\"\nwallet = \"{wallet}\"\ndaemon_url = \
         \"{daemon}\"\nmax_sessions = 100\n"
    );
    std::fs::write(folder.join("pool.toml"), text).unwrap();
    "pool.toml".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_can_start_is_called_well() {
    let (folder, daemon) = (tempfile::tempdir().unwrap(), Monerod::start().await);
    let file = configure(folder.path(), &daemon.url, WALLET, free_port());
    let (code, findings, said) = doctor(folder.path(), &["--config", &file]);
    assert_eq!(code, 0, "{findings:?} {said}");
    for check in [
        "configuration",
        "ports",
        "open files",
        "randomx",
        "nats-server",
        "wallet",
        "daemon",
    ] {
        assert_eq!(verdict(&findings, check).0, "ok", "{findings:?}");
    }
    assert!(
        verdict(&findings, "daemon")
            .1
            .contains("a block at 1 costs 10 hashes"),
        "{findings:?}"
    );
    let beside = findings
        .iter()
        .any(|finding| finding.2.contains("agrees with the daemon's"));
    assert!(beside, "monerod's clock is this machine's: {findings:?}");
    // It made nothing: neither the data folder nor the file it timed.
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["pool.toml"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_will_not_work_is_named_and_ends_with_code_1() {
    let folder = tempfile::tempdir().unwrap();
    // A daemon that is not there, and a port that somebody has.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = format!("http://127.0.0.1:{}", free_port());
    let file = configure(
        folder.path(),
        &daemon,
        ON_STAGENET,
        taken.local_addr().unwrap().port(),
    );
    let (code, findings, said) = doctor(
        folder.path(),
        &["--config", &file, "--only", "ports,wallet,daemon"],
    );
    assert_eq!(
        (code, said.contains("will keep it from working")),
        (1, true),
        "{said}"
    );
    let ports: Vec<_> = findings
        .iter()
        .filter(|finding| finding.0 == "ports")
        .map(|finding| finding.1.as_str())
        .collect();
    assert_eq!(ports, ["ok", "fail"], "{findings:?}");
    assert_eq!(
        verdict(&findings, "wallet").0,
        "warn",
        "nobody says on which network the daemon is: {findings:?}"
    );
    let (judged, words) = verdict(&findings, "daemon");
    assert!(
        judged == "fail" && words.contains(&daemon) && words.contains("stratum.daemon_url"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_of_another_network_is_named() {
    let (folder, daemon) = (tempfile::tempdir().unwrap(), Monerod::start().await);
    let file = configure(folder.path(), &daemon.url, ON_STAGENET, free_port());
    let (code, findings, _) = doctor(
        folder.path(),
        &["--config", &file, "--only", "wallet,daemon"],
    );
    let (judged, words) = verdict(&findings, "wallet");
    assert!(
        code == 1 && judged == "fail" && words.contains("Stagenet, but the daemon is on Mainnet"),
        "{findings:?}"
    );
    assert_eq!(verdict(&findings, "daemon").0, "fail", "{findings:?}");
    // A subaddress is refused whatever the daemon says, since it would make no template for it.
    let file = configure(folder.path(), &daemon.url, SUBADDRESS, free_port());
    let (code, findings, _) = doctor(
        folder.path(),
        &["--config", &file, "--only", "configuration"],
    );
    let (judged, words) = verdict(&findings, "configuration");
    assert!(
        code == 1 && judged == "fail" && words.contains("use the primary address of the wallet"),
        "{findings:?}"
    );
}

#[test]
fn a_bad_configuration_is_a_finding_and_the_machine_is_looked_at_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[stratum]\nwalet = \"x\"\n").unwrap();
    let (code, findings, _) = doctor(
        folder.path(),
        &["--config", "bad.toml", "--only", "configuration,memory"],
    );
    let (judged, words) = verdict(&findings, "configuration");
    assert!(
        code == 1 && judged == "fail" && words.contains("walet"),
        "{words}"
    );
    assert_ne!(verdict(&findings, "memory").0, "", "{findings:?}");
    let (_, findings, _) = doctor(folder.path(), &["--only", "configuration"]);
    assert_eq!(
        verdict(&findings, "configuration").0,
        "warn",
        "{findings:?}"
    );
    let output = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["doctor", "--only", "colour"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("there is no check \"colour\"; there are"),
        "{text}"
    );
}

/// A server that shows the certificate in this folder, which is made if it is not there; its
/// address.
async fn shows_certificate(folder: &Path) -> String {
    TlsIdentity::load(&TlsConfig::default().in_folder(folder)).unwrap();
    let chain = CertificateDer::pem_file_iter(folder.join("stratum-cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("stratum-key.pem")).unwrap();
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that only looks at the certificate hangs up.
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_shows_another_certificate_is_named() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let own = folder.path().join("data/tls");
    let file = configure(folder.path(), "http://127.0.0.1:1", WALLET, free_port());
    let text = std::fs::read_to_string(folder.path().join(&file)).unwrap();
    let look = |successor: &str| {
        let more = format!("{text}successor = \"{successor}\"\n");
        std::fs::write(folder.path().join(&file), more).unwrap();
        let (code, findings, _) =
            doctor(folder.path(), &["--config", &file, "--only", "successor"]);
        let (judged, words) = verdict(&findings, "successor");
        (code, judged.to_owned(), words.to_owned())
    };
    let stranger = shows_certificate(other.path()).await;
    let (code, judged, words) = look(&stranger);
    assert_eq!((code, judged.as_str()), (0, "warn"), "{words}");
    assert!(words.contains("has no certificate yet"), "{words}");
    let same = shows_certificate(&own).await;
    let (_, judged, words) = look(&same);
    assert_eq!(judged, "ok", "{words}");
    assert!(words.contains(&same), "{words}");
    let fingerprint = |folder: &Path| {
        let found = TlsIdentity::existing_fingerprint(&TlsConfig::default().in_folder(folder));
        found.unwrap().unwrap()
    };
    let (_, judged, words) = look(&stranger);
    assert_eq!(judged, "warn", "{words}");
    for named in [fingerprint(&own), fingerprint(other.path()), stranger] {
        assert!(words.contains(&named), "{named}: {words}");
    }
    assert!(words.contains("cert_file and key_file"), "{words}");
    let nobody = format!("127.0.0.1:{}", free_port());
    let (_, judged, words) = look(&nobody);
    assert_eq!(judged, "warn", "{words}");
    assert!(words.contains("shows no certificate"), "{words}");
    std::fs::write(own.join("stratum-cert.pem"), "no certificate").unwrap();
    let (code, judged, words) = look(&same);
    assert_eq!((code, judged.as_str()), (1, "fail"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_looked_at_before_clients_refuse_them() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let make = |name: &str, days: i64| {
        let mut wanted = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let day = std::time::Duration::from_secs(86_400);
        let end = std::time::SystemTime::now() + day * u32::try_from(days.max(0)).unwrap();
        let end = if days < 0 { end - day * 3 } else { end };
        wanted.not_before = (std::time::SystemTime::now() - day * 30).into();
        wanted.not_after = end.into();
        let key = rcgen::KeyPair::generate().unwrap();
        let made = wanted.self_signed(&key).unwrap();
        std::fs::write(at(&format!("{name}.pem")), made.pem()).unwrap();
        let file = at(&format!("{name}-key.pem"));
        std::fs::write(&file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    make("http", 365);
    make("wire", 365);
    let files = |name: &str, key: &str| {
        format!(
            "cert_file = {:?}\nkey_file = {:?}\n",
            at(&format!("{name}.pem")),
            at(key)
        )
    };
    let look = |http_key: &str| {
        let text = format!(
            "data_dir = {:?}\n[query]\nlisten = \"127.0.0.1:{}\"\n[query.tls]\n{}[postgres]\n\
             listen = \"127.0.0.1:{}\"\n[postgres.tls]\n{}",
            at("data"),
            free_port(),
            files("http", http_key),
            free_port(),
            files("wire", "wire-key.pem")
        );
        std::fs::write(at("pool.toml"), text).unwrap();
        let only = "certificates,configuration";
        let (code, findings, _) = doctor(folder.path(), &["--config", "pool.toml", "--only", only]);
        let words = findings
            .into_iter()
            .filter(|(_, verdict, words)| verdict != "ok" || words.contains("ends in"));
        let words = words.map(|(check, verdict, words)| format!("{check} {verdict} {words}"));
        (code, words.collect::<Vec<_>>())
    };
    let (code, well) = look("http-key.pem");
    assert_eq!((code, well.len()), (0, 2), "{well:?}");
    assert!(
        well[0].starts_with("certificates ok query.tls: "),
        "{well:?}"
    );
    assert!(
        well[1].starts_with("certificates ok postgres.tls: "),
        "{well:?}"
    );

    make("http", 3);
    make("wire", -1);
    std::fs::set_permissions(at("http-key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, bad) = look("http-key.pem");
    assert_eq!((code, bad.len()), (1, 3), "{bad:?}");
    assert!(
        bad[0].contains("warn") && bad[0].contains("renew"),
        "{bad:?}"
    );
    assert!(bad[1].contains("has mode 644"), "{bad:?}");
    assert!(
        bad[2].contains("fail postgres.tls") && bad[2].contains("ended 3 days"),
        "{bad:?}"
    );

    let (code, mixed) = look("wire-key.pem");
    assert_eq!(code, 1);
    assert!(mixed[0].contains("query.tls: the certificate"), "{mixed:?}");
}

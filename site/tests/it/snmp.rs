//! SNMP against Net-SNMP's daemon, which is of another make.

use std::process::{Child, Command as Process, Stdio};

use headframe_ingest::source::Exchange;
use headframe_site::actuate::{ActuatorConfig, Dispatcher};
use headframe_site::command::{Action, Command, Path, Progress, Target};
use serde_json::{Value, json};

use crate::fixture::{clock, now, until};

/// The daemon with two outlets as APC has them, which ends with this.
struct Daemon {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let conf = folder.path().join("snmpd.conf");
        let outlets = "1.3.6.1.4.1.318.1.1.4.4.2.1.3";
        std::fs::write(
            &conf,
            format!(
                "rwcommunity private 127.0.0.1\nrocommunity public 127.0.0.1\n\
                 override -rw .{outlets}.1 integer 1\noverride -rw .{outlets}.2 integer 2\n"
            ),
        )
        .unwrap();
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Process::new("/usr/sbin/snmpd")
            .args(["-f", "-Lo", "-C", "-I", "-smux", "-c"])
            .arg(&conf)
            .arg(format!("--persistentDir={}", folder.path().display()))
            .arg(format!("udp:127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("deploy/setup.sh test installs snmpd");
        Self {
            child,
            port,
            _folder: folder,
        }
    }

    /// What controls its outlets with a community, which stands in this variable.
    fn dispatcher(&self, secret_env: &str, more: Value) -> Dispatcher {
        let mut entry = json!({"kind": "snmp", "name": "pdu", "secret_env": secret_env,
            "address": format!("127.0.0.1:{}", self.port), "model": "apc",
            "controls": [{"channel": "1", "machine": "a"}, {"channel": "9", "machine": "b"}]});
        for (key, value) in more.as_object().unwrap() {
            entry[key] = value.clone();
        }
        let entry: ActuatorConfig = serde_json::from_value(entry).unwrap();
        Dispatcher::new(&[entry], Exchange::new().unwrap(), clock(1.0)).unwrap()
    }
}

fn machine(name: &str) -> Target {
    Target::Machine(name.to_owned())
}

#[tokio::test]
async fn an_outlet_is_switched_and_read_back_in_both_versions() {
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("community");
    std::fs::write(&secret, "private").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, mode).unwrap();
    for version in ["1", "2c"] {
        let keys = json!({"secret_env": null, "secret_file": secret, "version": version});
        let dispatcher = daemon.dispatcher("", keys);
        until("the daemon answers", || async {
            dispatcher
                .read_back(&machine("a"), Path::Outlet)
                .await
                .is_ok()
        })
        .await;
        for (id, action) in [(1, Action::Off), (2, Action::On)] {
            let command = Command {
                id,
                decision: 1,
                target: machine("a"),
                action,
                path: Path::Outlet,
                at: now(),
            };
            assert_eq!(
                dispatcher.apply(&command).await.progress,
                Progress::Verified
            );
            let found = dispatcher
                .read_back(&machine("a"), Path::Outlet)
                .await
                .unwrap();
            assert_eq!(found.is_on, Some(action == Action::On), "{version}");
        }
        let missing = dispatcher.read_back(&machine("b"), Path::Outlet).await;
        assert!(missing.is_err(), "{missing:?}");
    }
    // A community that may not write, and none that is known.
    let wrong = daemon.dispatcher("PATH", json!({"timeout_s": 0.5}));
    let refused = wrong
        .read_back(&machine("a"), Path::Outlet)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("within"), "{refused}");
}

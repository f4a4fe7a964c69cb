//! `coopmine hash`: one line that says how fast this machine is.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_machine_says_what_it_hashes() {
    let ran = Command::new(env!("CARGO_BIN_EXE_coopmine"))
        .args([
            "hash",
            "--check",
            "--mode",
            "light",
            "--threads",
            "1",
            "--seconds",
            "1",
        ])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{complaint}");
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(
        (&said["mode"], &said["threads"]),
        (&"light".into(), &1.into())
    );
    assert_eq!(said["checked_hashes"], 5);
    assert!(said["hashes"].as_u64() > Some(0), "{said}");
    assert!(said["hashrate_hs"].as_f64() > Some(0.0), "{said}");
    assert!(
        said["cache_s"].as_f64() <= said["ready_s"].as_f64(),
        "{said}"
    );
    assert!(said["memory"].as_str().unwrap().contains("pages"), "{said}");
}

//! `whatif`: a journal replays bit for bit, or it is said where not; and what another policy would
//! have scored.

use headframe_site::control::power::PowerRegion;
use serde_json::Value;

use crate::recorded::{RecordedSite, printed};
use crate::run::{small, small_policy};

fn json(site: &RecordedSite, arguments: &[&str]) -> Value {
    let mut all = vec!["whatif", "--format", "json"];
    all.extend(arguments);
    serde_json::from_str(&printed(&site.program(&all))).unwrap()
}

#[tokio::test]
async fn a_journal_with_restarts_replays_bit_for_bit_and_a_changed_decision_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut site = RecordedSite::new(folder.path(), small(), small_policy());
    site.until(PowerRegion::Running).await;
    site.event(15.0, 900).await;
    site.run
        .ask(headframe_site::request::Level::Curtail, Some(20.0));
    site.seconds(30).await;
    // In the midst of a curtailment, with commands under way.
    site.restart().await;
    site.seconds(900).await;
    site.flush().await;
    let proof = json(&site, &["--verify"])["verification"].clone();
    assert_eq!(proof["differing"], 0, "{proof:#}");
    assert_eq!(proof["left_out"], serde_json::json!({}), "{proof:#}");
    for (what, least) in [
        ("steps", 500),
        ("decisions", 50),
        ("commands", 20),
        ("states", 2),
    ] {
        assert!(proof[what].as_u64() >= Some(least), "{what}: {proof:#}");
    }
    // As if somebody had mended a decision afterwards.
    let mut is_changed = false;
    for _ in 0..24 {
        site.step_with(|entry| {
            if let Some(decision) = entry.decision.as_mut().filter(|_| !is_changed) {
                decision.measured_kw += 0.001;
                is_changed = true;
            }
        })
        .await;
    }
    site.flush().await;
    let output = site.program(&["whatif", "--verify"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("NOT all the same"), "{said}");
    assert!(said.contains(": decision.measured_kw was "), "{said}");
}

#[tokio::test]
async fn recorded_curtailments_are_scored_under_another_policy_beside_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut site = RecordedSite::new(folder.path(), small(), small_policy());
    site.until(PowerRegion::Running).await;
    for kw in [10.0, 22.0] {
        site.event(kw, 1_500).await;
    }
    site.flush().await;
    let file = folder.path().join("other.toml");
    // The policy that was in force gives what was, exactly.
    std::fs::write(&file, "").unwrap();
    let named = file.to_str().unwrap();
    let same = json(&site, &["--policy", named]);
    let events = same["events"].as_array().unwrap();
    assert_eq!(events.len(), 2, "{same:#}");
    for event in events {
        assert_eq!(event["is_exact"], true, "{event:#}");
        assert_eq!(event["other"], event["recorded"], "{event:#}");
        // The model is near what the plant did.
        let seconds = |column: &str| event[column]["target_s"].as_f64().unwrap();
        assert!(
            (seconds("modelled") - seconds("recorded")).abs() <= 30.0,
            "{event:#}"
        );
        assert_eq!(
            event["modelled"]["stops"], event["recorded"]["stops"],
            "{event:#}"
        );
    }
    std::fs::write(
        &file,
        "[policy.dispatch]\nis_outlet_first = true\n[policy.restore]\nramp_pct_per_min = 20\n",
    )
    .unwrap();
    let other = json(&site, &["--policy", named]);
    let all = &other["all"];
    assert_eq!(all["events"], 2, "{all:#}");
    let of = |column: &str, what: &str| all[column][what].as_f64().unwrap();
    assert!(
        of("other", "target_s") < of("modelled", "target_s"),
        "outlets are faster: {all:#}"
    );
    assert!(
        of("other", "restore_s") > of("modelled", "restore_s"),
        "the ramp is slower: {all:#}"
    );
    assert!(
        of("recorded", "stops") > 0.0 && of("recorded", "starts") > 0.0,
        "{all:#}"
    );
    assert_eq!(other["changes"].as_array().unwrap().len(), 2);
    let text = printed(&site.program(&["whatif", "--policy", named]));
    for part in [
        "performance factor",
        "restore, s",
        "What a replay cannot know:",
        "with FILE",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    refusals(&site, named);
}

/// What cannot be replayed is said, with what to do.
fn refusals(site: &RecordedSite, file: &str) {
    std::fs::write(file, "[policy.power]\nmin_of_s = 3\n").unwrap();
    let missing = site.folder.join("none.toml");
    for (arguments, part) in [
        (
            vec!["--policy", file],
            "policy.power.min_of_s: there is no such key",
        ),
        (vec!["--policy", missing.to_str().unwrap()], "none.toml"),
        (vec![], "say --policy FILE, --verify, or both"),
        (
            vec!["--verify", "--from", "2031-01-01"],
            "nothing was recorded in this period",
        ),
        (vec!["--verify", "--from", "yesterday"], "is no time"),
        (
            vec!["--verify", "--from", "2025-07-01", "--to", "2025-06-01"],
            "--from must be before --to",
        ),
    ] {
        let all: Vec<&str> = ["whatif"].into_iter().chain(arguments).collect();
        let output = site.program(&all);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(part),
            "{part}: {said}"
        );
    }
    std::fs::rename(site.folder.join("journal"), site.folder.join("away")).unwrap();
    let output = site.program(&["whatif", "--verify"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("name the configuration of the controller with --config"),
        "{said}"
    );
}

#[tokio::test]
async fn a_hole_in_the_journal_is_named_and_its_curtailment_is_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let mut site = RecordedSite::new(folder.path(), small(), small_policy());
    site.until(PowerRegion::Running).await;
    for kw in [10.0, 22.0] {
        site.event(kw, 1_500).await;
    }
    site.flush().await;
    let journal = folder.path().join("journal");
    let mut files: Vec<_> = std::fs::read_dir(&journal)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    // The first curtailment begins in the first and ends in the third.
    std::fs::remove_file(&files[1]).unwrap();
    let file = folder.path().join("other.toml");
    std::fs::write(&file, "[policy.dispatch]\nis_outlet_first = true\n").unwrap();
    let said = json(&site, &["--policy", file.to_str().unwrap(), "--verify"]);
    let hole = said["holes"][0].as_str().unwrap();
    assert!(hole.contains("180 steps before step"), "{said:#}");
    assert_eq!(said["verification"]["differing"], 0, "{said:#}");
    let notes: Vec<bool> = said["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["note"].is_string() && event["other"].is_null())
        .collect();
    assert_eq!(notes, [true, false], "{said:#}");
    assert_eq!(said["all"]["events"], 1);
}

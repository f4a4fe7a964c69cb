//! `run --cron`: the loop of somebody else calls the program, which goes on where its last call
//! left the site.

use std::path::{Path, PathBuf};

use headframe_ingest::simulator::Simulator;
use headframe_site::command::{Progress, Target};
use headframe_site::control::power::PowerRegion;
use headframe_site::entry::StepEntry;
use headframe_site::recording::{self, Follower, Piece};
use serde_json::json;

use crate::process::{free_port, say, write_config};
use crate::recorded::{printed, program};
use crate::service::{TOKEN, config, hashing, scenario, write_secret};

/// Calls that a change may take.
const MOST_CALLS: usize = 20;

struct Calls {
    folder: PathBuf,
    file: PathBuf,
}

impl Calls {
    /// One call, as cron makes it: its steps.
    async fn call(&self) -> Vec<StepEntry> {
        let before = self.steps().len();
        let file = self.file.clone();
        let ended = tokio::task::spawn_blocking(move || {
            let arguments = ["run", "--cron", "--cron-wait-s=10", "--cron-follow-s=20"];
            printed(&program(&file, &arguments))
        });
        ended.await.unwrap();
        self.steps().split_off(before)
    }

    /// Calls until one ends in a state; all steps meanwhile.
    async fn until(&self, region: PowerRegion) -> Vec<StepEntry> {
        let mut all = Vec::new();
        for _ in 0..MOST_CALLS {
            all.append(&mut self.call().await);
            if regions(&all).last() == Some(&region) {
                return all;
            }
        }
        panic!("not {region:?} in {MOST_CALLS} calls: {:?}", regions(&all));
    }

    /// Everything that the journal has.
    fn steps(&self) -> Vec<StepEntry> {
        let mut found = Vec::new();
        let Ok(archive) = recording::open(&self.folder.join("data")) else {
            return found;
        };
        let mut pieces = Follower::default();
        for place in archive.places() {
            let content = archive.read(&place.name).unwrap();
            let taken = pieces.follow(content, |piece| match piece {
                Piece::Step(step) => {
                    found.push(step.entry);
                    Ok(())
                }
                Piece::Snapshot { .. } => Ok(()),
                Piece::Hole(hole) => Err(hole),
            });
            taken.unwrap();
        }
        found
    }
}

/// The states that were entered, in order.
fn regions(steps: &[StepEntry]) -> Vec<PowerRegion> {
    let decisions = steps.iter().filter_map(|one| one.decision.as_ref());
    let changed = decisions.filter(|one| one.before.power != one.after.power);
    changed.map(|one| one.after.power).collect()
}

/// How often commands to machines came so far.
fn machines(steps: &[StepEntry], is_so: fn(&Progress) -> bool) -> usize {
    let progress = steps.iter().flat_map(|one| &one.progress);
    progress
        .filter(|one| matches!(one.command.target, Target::Machine(_)) && is_so(&one.progress))
        .count()
}

fn queued(steps: &[StepEntry]) -> usize {
    machines(steps, |progress| *progress == Progress::Queued)
}

fn calls(simulator: &Simulator, folder: &Path) -> (Calls, PathBuf) {
    let mut config = config(simulator, folder, None);
    let signal = folder.join("signal.json");
    config["listen"] = json!(format!("127.0.0.1:{}", free_port()));
    config["signal"] = json!([{"kind": "file", "name": "utility", "class": "mandatory",
        "path": signal, "max_age_s": 3_600}]);
    // Longer than one call that has nothing to do.
    config["policy"]["power"]["restart_delay_s"] = json!(4);
    write_secret(Path::new(config["token_file"].as_str().unwrap()), TOKEN);
    let file = write_config(folder, config);
    let folder = folder.to_owned();
    (Calls { folder, file }, signal)
}

#[tokio::test(flavor = "multi_thread")]
async fn cron_waits_once_curtails_stays_and_restores_over_several_calls() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let (calls, signal) = calls(&simulator, folder.path());
    say(&signal, "normal", 14.0);
    let started = regions(&calls.until(PowerRegion::Running).await);
    let count = |all: &[PowerRegion], region| all.iter().filter(|one| **one == region).count();
    assert_eq!(count(&started, PowerRegion::HoldOff), 1, "{started:?}");
    assert_eq!(hashing(&simulator, ""), 8);
    // One call is enough: it sends its commands and waits until power proves them.
    say(&signal, "curtail", 14.0);
    let curtailed = calls.call().await;
    let entered = [PowerRegion::Curtailing, PowerRegion::Curtailed];
    assert_eq!(regions(&curtailed), entered);
    let verified = machines(&curtailed, |progress| *progress == Progress::Verified);
    assert!(verified > 0, "{curtailed:#?}");
    assert_eq!(queued(&curtailed), verified, "{curtailed:#?}");
    let hashing_then = hashing(&simulator, "");
    assert!(hashing_then < 8, "{hashing_then}");
    // It stays so, and nothing is ordered again.
    for _ in 0..2 {
        let held = calls.call().await;
        assert!(!held.is_empty() && regions(&held).is_empty(), "{held:#?}");
        assert_eq!(queued(&held), 0, "{held:#?}");
    }
    assert_eq!(hashing(&simulator, ""), hashing_then);
    say(&signal, "normal", 14.0);
    let restored = regions(&calls.until(PowerRegion::Running).await);
    assert_eq!(restored, [PowerRegion::Restoring, PowerRegion::Running]);
    assert_eq!(hashing(&simulator, ""), 8);
    let proof = printed(&program(&calls.file, &["whatif", "--verify"]));
    assert!(proof.contains("all the same, bit for bit"), "{proof}");
}

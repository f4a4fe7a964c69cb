//! What outlasts a start: orders and trips over another plan, over a policy that would judge
//! otherwise, over a disk that takes nothing; and a memory that is damaged, which is a trip.

use std::fs;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use headframe_ingest::simulator::Simulator;
use headframe_site::config::SiteConfig;
use headframe_site::control::trip::TripCause;
use headframe_site::journal::JournalSettings;
use headframe_site::service::Service;
use headframe_site::start::{self, Opened};
use serde_json::{Value, json};

use crate::fixture::until;
use crate::service::{Running, config, scenario};

async fn site_of(folder: &Path) -> (Simulator, Value) {
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let mut config = config(&simulator, folder, None);
    let person = json!({"kind": "manual", "name": "person", "class": "contract",
        "interval_s": 0.5});
    config["signal"].as_array_mut().unwrap().push(person);
    (simulator, config)
}

async fn stop_everything(running: &Running) -> Value {
    let stop = json!({"reason": "smoke", "by": "ann"});
    let (status, said) = running.post("/api/v1/site/emergency-stop", stop).await;
    assert_eq!((status, &said["state"]["power"]), (200, &json!("tripped")));
    said
}

async fn lock(running: &Running, scope: Value) -> u16 {
    let body = json!({"reason": "people inside", "by": "ann", "scope": scope});
    running.post("/api/v1/site/lockout", body).await.0
}

/// What it says when it has taken a step.
async fn first_word(running: &Running) -> Value {
    until("it decides", || async {
        running.site().await["state"].is_string()
    })
    .await;
    running.site().await
}

/// What a start would begin with.
async fn open(config: &Value, data_dir: &Path) -> Opened {
    let mut config = config.clone();
    config.as_object_mut().unwrap().remove("nats");
    let config: SiteConfig = serde_json::from_value(config).unwrap();
    let site = config.check(false).unwrap();
    let opened = start::open(&site, data_dir, JournalSettings::default(), 1).await;
    opened.unwrap()
}

fn latches(opened: &Opened) -> Vec<TripCause> {
    let latches = &opened.memory.state.trips.latches;
    latches.keys().cloned().collect()
}

fn segments(data_dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(data_dir.join("journal")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_trips_outlast_any_change_of_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let (_simulator, config) = site_of(folder.path()).await;
    let running = Running::start(&config).await;
    first_word(&running).await;
    stop_everything(&running).await;
    assert_eq!(lock(&running, json!({"machine": "new-4"})).await, 200);
    let cap = json!({"cap_kw": 9.0, "reason": "heat", "by": "ann", "for_s": 3_000});
    running.post("/api/v1/site/override", cap).await;
    let bypass = json!({"input": "meter/site", "for_s": 3_000, "reason": "it is being replaced"});
    running.post("/api/v1/site/bypass", bypass).await;
    let second: SiteConfig = serde_json::from_value({
        let mut config = config.clone();
        config.as_object_mut().unwrap().remove("nats");
        config
    })
    .unwrap();
    let refused = Service::open(&second).await.map(drop).unwrap_err();
    let pid = format!("process {}", std::process::id());
    assert!(refused.to_string().contains(&pid), "{refused}");
    running.stop().await;

    let mut changed = config.clone();
    changed["plan"]["machines"][0]["power_w"] = json!(3_001.0);
    changed["plan"]["machines"].as_array_mut().unwrap().pop();
    changed["actuator"].as_array_mut().unwrap().pop();
    changed["policy"]["trips"]["clear_s"] = json!(1);
    let running = Running::start(&changed).await;
    let site = first_word(&running).await;
    assert_eq!(site["state"], "tripped", "{site}");
    let detail = &site["trips"]["emergency_stop"]["detail"];
    assert!(detail.as_str().unwrap().ends_with(": smoke"), "{detail}");
    assert_eq!(site["trips"].as_object().unwrap().len(), 1, "{site}");
    assert_eq!(site["override"]["cap_kw"], 9.0, "{site}");
    assert_eq!(site["inputs"]["meter/site"]["health"], "bypassed", "{site}");
    assert_eq!(site["lockouts"][0]["scope"], json!({"machine": "new-4"}));
    assert!(site["alarms"]["lockout/unknown"].is_object(), "{site}");
    // What the plan no longer has is locked out until the person says so.
    let (status, said) = running
        .delete(
            "/api/v1/site/lockout",
            json!({"by": "ann",
        "reason": "done", "scope": {"machine": "new-4"}}),
        )
        .await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(running.site().await["lockouts"], json!([]));
    running.stop().await;
}

/// The folder of a site that was stopped, whose trip could not be reset yet, and that is locked.
async fn stopped_and_locked(folder: &Path) -> (Value, PathBuf) {
    let (_simulator, mut config) = site_of(folder).await;
    config["policy"]["trips"]["clear_s"] = json!(600);
    let running = Running::start(&config).await;
    first_word(&running).await;
    stop_everything(&running).await;
    let reset = json!({"reason": "looked at it", "by": "ann"});
    let (status, said) = running.post("/api/v1/site/reset", reset).await;
    assert_eq!(status, 409, "ten minutes are not over: {said}");
    assert_eq!(lock(&running, json!("site")).await, 200);
    running.stop().await;
    (config, folder.join("data"))
}

/// Changes the newest segment of a journal.
fn edit(data_dir: &Path, change: impl Fn(&mut Vec<u8>)) {
    let newest = segments(data_dir).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    change(&mut bytes);
    fs::write(newest, bytes).unwrap();
}

fn remove_segments(data_dir: &Path) {
    for path in segments(data_dir) {
        fs::remove_file(path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_memory_is_a_trip_and_a_torn_last_line_is_not() {
    type Change = fn(&Path);
    let folder = tempfile::tempdir().unwrap();
    let (mut config, data) = stopped_and_locked(folder.path()).await;
    let only_the_stop = vec![TripCause::EmergencyStop];
    let and_lost = vec![TripCause::EmergencyStop, TripCause::MemoryLost];
    let changes: [(&str, Change, &Vec<TripCause>); 8] = [
        ("nothing", |_| {}, &only_the_stop),
        (
            "a torn last line",
            |data| edit(data, |bytes| bytes.truncate(bytes.len() - 9)),
            &only_the_stop,
        ),
        (
            "a stranger's file",
            |data| {
                let name = "journal/18446744073709551615-0000.journal";
                fs::write(data.join(name), "rubbish\n").unwrap();
            },
            &only_the_stop,
        ),
        (
            "a bit of the first line",
            |data| edit(data, |bytes| bytes[100] ^= 1),
            &and_lost,
        ),
        ("an emptied file", |data| edit(data, Vec::clear), &and_lost),
        ("no files", remove_segments, &and_lost),
        (
            "a file for the folder",
            |data| {
                fs::remove_dir_all(data.join("journal")).unwrap();
                fs::write(data.join("journal"), "no folder").unwrap();
            },
            &and_lost,
        ),
        (
            "a changed safety.json",
            |data| {
                fs::write(data.join("safety.json"), "{}").unwrap();
            },
            &and_lost,
        ),
    ];
    for (what, change, expected) in changes {
        let copied = tempfile::tempdir().unwrap();
        copy(&data, copied.path());
        change(copied.path());
        let opened = open(&config, copied.path()).await;
        assert_eq!(
            latches(&opened),
            *expected,
            "{what}: {:?}",
            opened.complaints
        );
        assert_eq!(opened.memory.state.authority.lockouts.len(), 1, "{what}");
    }
    // The journal alone: its orders are judged by the policy of their time.
    config["policy"]["trips"]["clear_s"] = json!(1);
    let copied = tempfile::tempdir().unwrap();
    copy(&data, copied.path());
    fs::remove_file(copied.path().join("safety.json")).unwrap();
    assert_eq!(latches(&open(&config, copied.path()).await), and_lost);
    let empty = tempfile::tempdir().unwrap();
    assert!(latches(&open(&config, empty.path()).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_disk_takes_is_said_and_a_start_on_such_a_disk_starts_no_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (_simulator, mut config) = site_of(folder.path()).await;
    config["policy"]["trips"]["clear_s"] = json!(1);
    let running = Running::start(&config).await;
    first_word(&running).await;
    let data = folder.path().join("data");
    // No new file, as on a full disk, and nothing in reserve.
    let block = || {
        fs::remove_file(data.join("safety.reserve")).unwrap();
        fs::create_dir(data.join("safety.json.new")).unwrap();
        fs::create_dir(data.join("journal/unfinished")).unwrap();
    };
    block();
    let said = stop_everything(&running).await;
    assert_eq!(said["durable"], false, "{said}");
    until("the alarm stands", || async {
        running.site().await["alarms"]["journal/lost"].is_object()
    })
    .await;
    running.stop().await;
    let running = Running::start(&config).await;
    let site = first_word(&running).await;
    assert_eq!(site["state"], "tripped", "the journal had it: {site}");
    assert!(site["start_hold"].is_string(), "{site}");
    running.stop().await;

    // The same for a site of which nothing else is known: it controls, and starts nothing.
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir_all(data.join("journal/unfinished")).unwrap();
    fs::create_dir(data.join("safety.json.new")).unwrap();
    let running = Running::start(&config).await;
    running.until_state("hold_off").await;
    until("it is said", || async {
        running.site().await["alarms"]["start/held"].is_object()
    })
    .await;
    assert_eq!(running.site().await["state"], "hold_off");
    let (_, said) = running
        .post(
            "/api/v1/site/reset",
            json!({"reason": "the disk is being replaced"}),
        )
        .await;
    assert_eq!(said["durable"], false, "{said}");
    running.until_state("restoring").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_to_signals_goes_on_after_a_start_as_long_as_it_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (_simulator, config) = site_of(folder.path()).await;
    let running = Running::start(&config).await;
    first_word(&running).await;
    running
        .ask(json!([{"level": "curtail", "cap_kw": 14.0, "event": "heat"}]))
        .await;
    let person = json!({"by": "ann", "reason": "transformer hot", "for_s": 600,
        "requests": [{"level": "curtail", "cap_kw": 16.0}]});
    let (status, said) = running.post("/api/v1/site/signals/person", person).await;
    assert_eq!(
        (status, said["durable"].is_boolean()),
        (200, true),
        "{said}"
    );
    running.until_state("curtailed").await;
    running.stop().await;
    let running = Running::start(&config).await;
    until("both signals were read", || async {
        running.site().await["signals"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    })
    .await;
    let site = running.site().await;
    let signals = site["signals"].as_array().unwrap();
    for (name, cap_kw) in [("utility", 14.0), ("person", 16.0)] {
        let signal = signals.iter().find(|one| one["name"] == name).unwrap();
        assert_eq!(signal["value"]["known"][0]["cap_kw"], cap_kw, "{signal}");
    }
    assert_eq!(site["target_kw"], 14.0, "{site}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lockouts_are_counted_and_an_alarm_is_acknowledged_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_simulator, config) = site_of(folder.path()).await;
    let running = Running::start(&config).await;
    first_word(&running).await;
    let post = |number: usize| {
        let body = json!({"reason": format!("lock {number}"), "by": "ann",
            "scope": {"machine": "new-4"}});
        running.post("/api/v1/site/lockout", body)
    };
    // Fewer at a time than the controller has places for.
    let mut answers = Vec::new();
    for first in (0..110).step_by(22) {
        answers.extend(join_all((first..first + 22).map(post)).await);
    }
    let taken = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(taken, 100);
    let (_, refused) = answers.iter().find(|(status, _)| *status == 409).unwrap();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("100 lockouts"), "{message}");
    let site = running.site().await;
    assert_eq!(site["lockouts"].as_array().unwrap().len(), 100);
    assert!(site.to_string().len() < 200_000);

    stop_everything(&running).await;
    let site = running.site().await;
    let notice = &site["alarms"]["trip/emergency_stop"]["notice"];
    let path = format!("/api/v1/site/notices/{notice}/acknowledge");
    for _ in 0..3 {
        let posts = (0..20).map(|_| running.post(&path, json!({"by": "ann"})));
        assert!(
            join_all(posts)
                .await
                .iter()
                .all(|(status, _)| *status == 200)
        );
        // The next step has taken them.
        running.ask(json!([{"level": "normal"}])).await;
    }
    running.stop().await;
    let journal: String = segments(&folder.path().join("data"))
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    // Those that came while a step was taken may be a second time.
    let written = journal.matches("\"channel\":null").count();
    assert!((1..5).contains(&written), "{written}");
}

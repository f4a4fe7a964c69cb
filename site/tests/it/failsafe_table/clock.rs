//! The wall clock of the controller, which somebody sets.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Bench, assert_facts, now_ms, raises, s, tells_a_machine};
use crate::fixture::until;
use crate::service::nats_server;

/// Stands between a process and its C library: its wall clock is ahead by as many seconds as a file
/// says, its other clocks are as they are.
const SHIFTED_CLOCK: &str = r#"
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int file = -1;

__attribute__((constructor)) static void open_file(void)
{
    const char *path = getenv("WALL_CLOCK_SHIFT");
    if (path)
        file = open(path, O_RDONLY | O_CLOEXEC);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int64_t shift_s = 0;
    if (syscall(SYS_clock_gettime, clock, now) != 0)
        return -1;
    if (clock == CLOCK_REALTIME && pread(file, &shift_s, sizeof shift_s, 0) == sizeof shift_s)
        now->tv_sec += shift_s;
    return 0;
}
"#;

/// The wall clock of a process, apart from that of the machine.
struct WallClock {
    library: PathBuf,
    shift: PathBuf,
}

impl WallClock {
    fn new(folder: &Path) -> Self {
        let source = folder.join("shifted_clock.c");
        std::fs::write(&source, SHIFTED_CLOCK).unwrap();
        let clock = Self {
            library: folder.join("shifted_clock.so"),
            shift: folder.join("shift"),
        };
        clock.set_ahead(0);
        // The compiler that links Rust's programs.
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&clock.library, &source])
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:?}");
        clock
    }

    /// From now on the clock is so many seconds ahead of the machine's.
    fn set_ahead(&self, seconds: i64) {
        // The process has the file open: it is written in place, and at once.
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.shift)
            .unwrap();
        file.write_all(&seconds.to_ne_bytes()).unwrap();
    }

    fn environment(&self) -> [(&str, &Path); 2] {
        [
            ("LD_PRELOAD", self.library.as_path()),
            ("WALL_CLOCK_SHIFT", self.shift.as_path()),
        ]
    }
}

/// Milliseconds from the timers' clock to the wall clock, when a step was taken.
fn ahead_ms(entry: &Value) -> i64 {
    entry["now"]["utc_us"].as_i64().unwrap() / 1_000 - i64::try_from(now_ms(entry)).unwrap()
}

/// By how much the wall clock was seen to step before a step of the controller.
fn stepped_s(entry: &Value) -> Option<f64> {
    entry["observation"]["clock"]["stepped_s"].as_f64()
}

/// Waits until the controller has seen its wall clock step by so many seconds.
async fn until_seen(bench: &Bench, seconds: f64) {
    until(&format!("a step of {seconds} s is seen"), || async {
        let entries = bench.process.journal().await;
        let steps = entries.iter().filter_map(stepped_s);
        steps.into_iter().any(|one| (one - seconds).abs() < 5.0)
    })
    .await;
}

fn enters(state: &str) -> impl Fn(&Value) -> bool {
    move |entry| {
        let (before, after) = (&entry["decision"]["before"], &entry["decision"]["after"]);
        after["power"] == state && before["power"] != state
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_said_and_marks_the_report_and_moves_no_timer() {
    const MIN_OFF_S: u64 = 8;
    const AHEAD_S: i64 = 1_200;
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats = server.client_config();
    let clock = WallClock::new(folder.path());
    let environment = clock.environment();
    let change = |config: &mut Value| config["policy"]["power"]["min_off_s"] = json!(MIN_OFF_S);
    let bench = Bench::set_up(json!([]), 4.0, Some(nats.clone()), &environment, change).await;
    bench.process.until_state("running").await;
    bench.ask("curtail", 14.0);
    let is_asked = |site: &Value| site["target_kw"] == 14.0;
    bench.process.until("it is asked for less", is_asked).await;

    // Twenty minutes pass on the wall while the site must stay off for seconds.
    clock.set_ahead(AHEAD_S);
    bench.pager.until("clock/doubtful").await;
    bench.process.until_state("curtailed").await;
    bench.ask("normal", 14.0);
    let restores = |site: &Value| site["state"] == "restoring" || site["state"] == "running";
    bench.process.until("machines may start", restores).await;

    // And back by forty, while machines start one after another.
    clock.set_ahead(-AHEAD_S);
    until_seen(&bench, -2.0 * AHEAD_S as f64).await;
    bench.process.until_state("running").await;
    until("every machine hashes", || async { bench.hashing() == 8 }).await;
    let events = || async { bench.process.get("/api/v1/site/events").await["events"].clone() };
    until("the event is scored", || async {
        events().await.as_array().is_some_and(|all| !all.is_empty())
    })
    .await;

    // It was seen in the step that took it, or in the next one where it came between that step's
    // two looks at the clock, and people were told in the same.
    let entries = bench.process.journal().await;
    let jumps = |pair: &[Value]| ahead_ms(&pair[1]) - ahead_ms(&pair[0]) > AHEAD_S * 900;
    let first = entries.windows(2).position(jumps).unwrap() + 1;
    let is_seen = |entry: &Value| stepped_s(entry) > Some(0.9 * AHEAD_S as f64);
    let seen = entries.iter().position(is_seen).unwrap();
    assert!(seen == first || seen == first + 1, "{seen} {first}");
    assert!(raises(&entries[seen], "clock/doubtful"));
    assert_eq!(entries[seen]["decision"]["is_clock_doubtful"], true);

    // The least time off is that of the other clock.
    let begun = entries.iter().position(enters("curtailing")).unwrap();
    let later = &entries[begun..];
    let restored = later.iter().find(|entry| enters("restoring")(entry));
    let started = later.iter().find(|entry| tells_a_machine(entry, "on"));
    for again in [restored.unwrap(), started.unwrap()] {
        let off_ms = now_ms(again) - now_ms(&entries[begun]);
        assert!(off_ms >= s(MIN_OFF_S), "{off_ms} ms");
    }

    let id = events().await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/site/events/{id}/report.html");
    let report = bench.process.text(&path).await;
    assert!(
        report.contains("The wall clock could not be trusted"),
        "{report}"
    );
    assert_facts(&bench, &nats, &["clock/doubtful"]).await;
}

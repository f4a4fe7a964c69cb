//! Windows are what brute force makes of the messages in their order, however the reading is cut
//! into steps and restarts.

use std::collections::BTreeMap;

use headframe_pipelines::user_pipeline::closing::{InputRow, MAX_AHEAD_US, Windows};
use proptest::prelude::*;

use super::{SECOND, START_US, World, minutes, reading};
use crate::cases::cases;

const MINUTE: i64 = 60 * SECOND;
const SITES: [&str; 2] = ["north", "south"];

/// A row: microseconds after the start, site, eighths of a degree.
type Dice = (i64, usize, i64);

/// A row's time: mostly on its way forward with the message, some early, late, or of a clock that
/// is wrong by decades.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 0..20 * SECOND,
        2 => -90 * SECOND..90 * SECOND,
        1 => Just(500_000_000 * SECOND),
        1 => Just(-200_000_000 * SECOND),
    ]
}

fn messages() -> impl Strategy<Value = Vec<Vec<Dice>>> {
    let row = (time(), 0..2_usize, 0..800_i64);
    prop::collection::vec(prop::collection::vec(row, 1..4), 1..40)
}

/// Message `at` is about 15 seconds after the one before.
fn spread(messages: &[Vec<Dice>]) -> Vec<Vec<Dice>> {
    let shift = |(at, rows): (usize, &Vec<Dice>)| {
        let moved = |&(us, site, value): &Dice| (us + at as i64 * 15 * SECOND, site, value);
        rows.iter().map(moved).collect()
    };
    messages.iter().enumerate().map(shift).collect()
}

/// Rows of closed windows, one line a window and site; computed row by row, with no window known
/// before its first row.
fn brute_force(messages: &[Vec<Dice>], stored_us: i64) -> (Vec<String>, u64) {
    let mut open: BTreeMap<i64, Vec<Dice>> = BTreeMap::new();
    let (mut closed, mut late) = (Vec::new(), 0);
    let mut newest = i64::MIN;
    for message in messages {
        let watermark = newest.saturating_sub(10 * SECOND);
        for row in message {
            let start = (START_US + row.0).div_euclid(MINUTE) * MINUTE;
            match start + MINUTE <= watermark {
                true => late += 1,
                false => open.entry(start).or_default().push(*row),
            }
        }
        for (us, ..) in message {
            let time = START_US + us;
            if time <= stored_us + MAX_AHEAD_US {
                newest = newest.max(time);
            }
        }
        let watermark = newest.saturating_sub(10 * SECOND);
        let done: Vec<i64> = open.keys().copied().collect();
        for start in done.into_iter().filter(|start| start + MINUTE <= watermark) {
            let rows = open.remove(&start).unwrap();
            for (site, name) in SITES.iter().enumerate() {
                let values: Vec<i64> = rows
                    .iter()
                    .filter(|row| row.1 == site)
                    .map(|row| row.2)
                    .collect();
                if let Some(low) = values.iter().min() {
                    let (count, sum) = (values.len(), values.iter().sum::<i64>());
                    closed.push(format!("|{start}|{name}|{count}|{sum}|{low}|"));
                }
            }
        }
    }
    closed.sort_unstable();
    (closed, late)
}

const SQL: &str = "SELECT window_start, site, count(*) AS samples, \
                   CAST(sum(value * 8) AS BIGINT) AS eighths, CAST(min(value * 8) AS BIGINT) AS \
                   low FROM input GROUP BY window_start, site";

const STORED: &str = "SELECT CAST(arrow_cast(window_start, 'Timestamp(Microsecond, None)') AS \
                      BIGINT) AS start, site, samples, eighths, low FROM t";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(6)))]
    #[test]
    fn windows_are_those_of_brute_force_for_any_split(
        dice in messages(),
        cuts in prop::collection::vec((1..12_usize, 1..30_i64, any::<bool>()), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let spread = spread(&dice);
            let stored_us = START_US + 86_400 * SECOND;
            let (expected, _) = brute_force(&spread, stored_us);
            let config = minutes(SQL);
            let mut world = World::new().await;
            let mut runner = world.open(&config).await.unwrap();
            let (mut at, mut cut) = (0, cuts.iter().cycle());
            while at < spread.len() {
                let (messages, step_rows, restarts) = *cut.next().unwrap();
                let end = (at + messages).min(spread.len());
                let row = |&(us, site, eighths): &Dice| {
                    reading(us, SITES[site], eighths as f64 / 8.0)
                };
                let chunk: Vec<_> = spread[at..end]
                    .iter()
                    .map(|rows| rows.iter().map(row).collect())
                    .collect();
                world.append(&chunk).await;
                at = end;
                if restarts {
                    runner = world.open(&config).await.unwrap();
                }
                runner = runner.with_step_rows(step_rows);
                // Every other time it stays behind, so that the next step begins in between.
                while runner.step().await.unwrap() && !restarts {}
            }
            while runner.step().await.unwrap() {}
            let mut found = world.ask(&config, STORED).await;
            found.sort_unstable();
            assert_eq!(found, expected);
        });
    }
}

proptest! {
    #[test]
    fn closings_do_not_depend_on_how_messages_are_cut(
        dice in messages(),
        cuts in prop::collection::vec(0..40_usize, 0..6),
    ) {
        let windows = Windows { width_us: MINUTE, lateness_us: 10 * SECOND };
        let stored_us = START_US + 86_400 * SECOND;
        let spread = spread(&dice);
        let rows = |from: usize, to: usize| -> Vec<InputRow> {
            let message = |at: usize| {
                spread[at].iter().map(move |row| InputRow {
                    seq: at as i64,
                    event_us: START_US + row.0,
                    ingest_us: stored_us,
                })
            };
            (from..to).flat_map(message).collect()
        };
        let whole = windows.close(windows.closed_from(None), &rows(0, spread.len()));
        prop_assert_eq!(whole.late, brute_force(&spread, stored_us).1);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| *cut.min(&spread.len())).collect();
        ends.push(spread.len());
        ends.sort_unstable();
        let (mut from, mut watermark, mut late, mut closings) = (0, None, 0, Vec::new());
        for end in ends {
            // Nothing is known but what a commit holds.
            let done = windows.close(windows.closed_from(watermark), &rows(from, end));
            watermark = done.closings.last().map(|closing| closing.to_us).or(watermark);
            closings.extend(done.closings.iter().map(|c| (c.seq, c.from_us, c.to_us)));
            late += done.late;
            from = end;
        }
        let all: Vec<_> = whole.closings.iter().map(|c| (c.seq, c.from_us, c.to_us)).collect();
        prop_assert_eq!((closings, late), (all, whole.late));
    }
}

/// Each window is evaluated alone, also when one message closes many.
#[tokio::test]
async fn a_select_sees_one_window_at_a_time() {
    let mut world = World::new().await;
    let row = |minute: i64, value: f64| reading(minute * MINUTE, "north", value);
    // The third minute has no row; the last row closes the others.
    world
        .append(&[
            vec![row(0, 1.0), row(0, 3.0), row(1, 5.0)],
            vec![row(3, 7.0), row(1, 4.0)],
            vec![row(9, 0.0)],
        ])
        .await;
    let counts = minutes("SELECT count(*) AS samples FROM input");
    world.run(&counts).await.unwrap();
    let found = world
        .ask(&counts, "SELECT samples, seq FROM t ORDER BY seq, row")
        .await;
    // The row of the second minute that came with the third was in time.
    assert_eq!(found, ["|2|2|", "|2|2|", "|1|3|"]);
    let mut highest = minutes(
        "SELECT window_start, value, row_number() OVER (ORDER BY value DESC) < 2 AS is_highest \
         FROM input ORDER BY value DESC LIMIT 1",
    );
    highest.name = "highest".to_owned();
    world.run(&highest).await.unwrap();
    let found = world
        .ask(
            &highest,
            "SELECT value, is_highest FROM t ORDER BY window_start",
        )
        .await;
    assert_eq!(found, ["|3.0|true|", "|5.0|true|", "|7.0|true|"]);
}

/// A window that has only rows that came too late has no row, not a count of nothing.
#[tokio::test]
async fn a_window_without_rows_in_time_gives_nothing() {
    let mut world = World::new().await;
    let row = |minute: i64| reading(minute * MINUTE, "north", 1.0);
    world
        .append(&[vec![row(9)], vec![row(2)], vec![row(20)]])
        .await;
    let counts = minutes("SELECT window_start, count(*) AS samples FROM input GROUP BY 1");
    world.run(&counts).await.unwrap();
    let found = world.ask(&counts, "SELECT samples FROM t").await;
    assert_eq!(
        found,
        ["|1|"],
        "only the ninth minute was closed with a row"
    );
}

/// Without windows each row of the input is there once, with its own place.
#[tokio::test]
async fn row_by_row_every_row_is_there_once_with_its_place() {
    let mut world = World::new().await;
    let config = super::config(
        "SELECT upper(site) AS site, twice FROM (SELECT site, value * 2 AS twice, value FROM \
         input) AS doubled WHERE value > 1",
    );
    let mut runner = world.open(&config).await.unwrap().with_step_rows(2);
    for chunk in 0..3 {
        let row = |index: i64| reading(index, "north", index as f64);
        world
            .append(&[vec![row(0), row(1), row(2 + chunk)], vec![row(3)]])
            .await;
        assert!(runner.step().await.unwrap(), "a step is shorter than this");
        runner = world.open(&config).await.unwrap().with_step_rows(2);
    }
    while runner.step().await.unwrap() {}
    let found = world
        .ask(
            &config,
            "SELECT seq, row, site, twice FROM t ORDER BY seq, row",
        )
        .await;
    let expected = [
        "|1|2|NORTH|4.0|",
        "|2|0|NORTH|6.0|",
        "|3|2|NORTH|6.0|",
        "|4|0|NORTH|6.0|",
        "|5|2|NORTH|8.0|",
        "|6|0|NORTH|6.0|",
    ];
    assert_eq!(found, expected);
}

//! What does not fit: rows on which a SELECT fails, tables of another shape, bounds that are
//! reached.

use serde_json::{Value, json};

use super::{SECOND, World, config, minutes, reading};

const MINUTE: i64 = 60 * SECOND;

/// A reading whose sensor is called so.
fn of_sensor(after_us: i64, sensor: &str) -> Value {
    let mut row = reading(after_us, "north", 1.0);
    row["sensor"] = json!(sensor);
    row
}

#[tokio::test]
async fn a_row_that_the_select_fails_on_is_refused_alone() {
    let mut world = World::new().await;
    let numbers = config("SELECT CAST(sensor AS BIGINT) AS number FROM input");
    let rows = |names: [&str; 3]| names.map(|name| of_sensor(0, name)).to_vec();
    world
        .append(&[
            rows(["1", "2", "three"]),
            rows(["4", "five", "six"]),
            rows(["7", "8", "9"]),
        ])
        .await;
    world.run(&numbers).await.unwrap();
    let good = "SELECT seq, row, number FROM t WHERE reject_reason IS NULL ORDER BY seq, row";
    assert_eq!(
        world.ask(&numbers, good).await,
        [
            "|1|0|1|", "|1|1|2|", "|2|0|4|", "|3|0|7|", "|3|1|8|", "|3|2|9|"
        ]
    );
    let bad = "SELECT seq, row, reject_reason, CAST(payload AS VARCHAR) AS line FROM t WHERE \
               reject_reason IS NOT NULL ORDER BY seq, row";
    let found = world.ask(&numbers, bad).await;
    assert_eq!(found.len(), 3, "{found:?}");
    for (line, (place, name)) in
        found
            .iter()
            .zip([("|1|2|", "three"), ("|2|1|", "five"), ("|2|2|", "six")])
    {
        assert!(line.starts_with(place), "{line}");
        assert!(line.matches(name).count() >= 2, "reason and row: {line}");
    }
}

#[tokio::test]
async fn rows_that_all_fail_end_a_step_early_and_block_nothing() {
    let mut world = World::new().await;
    let numbers = config("SELECT CAST(sensor AS BIGINT) AS number FROM input");
    let bad: Vec<Value> = (0..700).map(|_| of_sensor(0, "x")).collect();
    world
        .append(&[bad.clone(), bad, vec![of_sensor(0, "1")]])
        .await;
    let mut runner = world.open(&numbers).await.unwrap();
    assert!(runner.step().await.unwrap(), "the step ended early");
    assert!(!runner.step().await.unwrap());
    let counts = "SELECT count(*) AS rows, count(reject_reason) AS bad FROM t";
    assert_eq!(world.ask(&numbers, counts).await, ["|1401|1400|"]);
}

#[tokio::test]
async fn a_window_is_made_without_the_rows_that_the_select_fails_on() {
    let mut world = World::new().await;
    let sums = minutes(
        "SELECT window_start, sum(CAST(sensor AS BIGINT)) AS total, count(*) AS samples FROM input \
         GROUP BY window_start",
    );
    world
        .append(&[
            vec![of_sensor(0, "1"), of_sensor(1, "two"), of_sensor(2, "3")],
            vec![of_sensor(MINUTE, "four")],
            vec![of_sensor(9 * MINUTE, "9")],
        ])
        .await;
    world.run(&sums).await.unwrap();
    let good = "SELECT total, samples FROM t WHERE reject_reason IS NULL";
    assert_eq!(world.ask(&sums, good).await, ["|4|2|"]);
    let bad = "SELECT seq, row FROM t WHERE reject_reason IS NOT NULL ORDER BY seq";
    assert_eq!(world.ask(&sums, bad).await, ["|1|1|", "|2|0|"]);
}

/// Two rows that are too much together are no fault of either.
#[tokio::test]
async fn a_window_that_fails_as_a_whole_is_refused_as_a_whole() {
    let mut world = World::new().await;
    let row = |after_us: i64| reading(after_us, "north", 20_000.0);
    let sums = minutes(
        "SELECT window_start, arrow_cast(sum(value), 'Int16') AS total FROM input GROUP BY 1",
    );
    world
        .append(&[
            vec![row(0), row(1)],
            vec![row(MINUTE)],
            vec![row(9 * MINUTE)],
        ])
        .await;
    world.run(&sums).await.unwrap();
    let all = "SELECT total, reject_reason IS NOT NULL AS bad, CAST(payload AS VARCHAR) AS \
               window FROM t ORDER BY row";
    let found = world.ask(&sums, all).await;
    assert_eq!(
        found,
        [
            "||true|{\"window_start_us\":1772362800000000}|",
            "|20000|false||"
        ]
    );
}

#[tokio::test]
async fn an_output_of_another_shape_or_input_is_refused_with_what_to_do() {
    let mut world = World::new().await;
    let first = config("SELECT site, value FROM input");
    world.append(&[vec![reading(0, "north", 1.0)]]).await;
    world.run(&first).await.unwrap();
    for (sql, says) in [
        ("SELECT site FROM input", "column value is not known"),
        (
            "SELECT site, CAST(value AS BIGINT) AS value FROM input",
            "column value is double and must be long",
        ),
    ] {
        let refused = world.run(&config(sql)).await.unwrap_err();
        let said = refused.to_string();
        assert!(!refused.is_transient());
        assert!(
            said.contains(says) && said.contains("the key table"),
            "{said}"
        );
    }
    let mut other = config("SELECT site, energy_total_wh AS value FROM input");
    other.input = "energy".to_owned();
    let said = world.run(&other).await.unwrap_err().to_string();
    assert!(said.contains("not computed from energy"), "{said}");
    // Another SELECT with the same columns goes on where the first one ended, and so does one with
    // a column more.
    world.append(&[vec![reading(1, "south", 2.0)]]).await;
    let more = config("SELECT lower(site) AS site, value * 10 AS value, true AS is_new FROM input");
    world.run(&more).await.unwrap();
    let found = world
        .ask(&more, "SELECT site, value, is_new FROM t ORDER BY seq")
        .await;
    assert_eq!(found, ["|north|1.0||", "|south|20.0|true|"]);
}

#[tokio::test]
async fn a_select_that_needs_too_much_stops_and_names_the_bound() {
    let mut world = World::new().await;
    let rows: Vec<Value> = (0..1_000).map(|at| reading(at, "north", 1.0)).collect();
    let last = vec![reading(9 * MINUTE, "north", 2.0)];
    world.append(&[rows, last]).await;
    let large = config("SELECT repeat(site, 20000000) AS text FROM input WHERE value = 2");
    let said = world.run(&large).await.unwrap_err().to_string();
    assert!(said.contains("memory_mib = 64"), "{said}");
    let mut slow = minutes(
        "SELECT sum(a.value * b.value * c.value) AS total FROM input AS a, input AS b, input AS c",
    );
    slow.name = "slow".to_owned();
    slow.timeout_s = 1;
    let refused = world.run(&slow).await.unwrap_err();
    assert!(refused.to_string().contains("timeout_s = 1"), "{refused}");
    assert!(world.ask(&slow, "SELECT * FROM t").await.is_empty());
}

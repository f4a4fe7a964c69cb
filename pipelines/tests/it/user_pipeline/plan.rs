//! What a configuration may say, and what is said of what it may not.

use std::collections::BTreeSet;

use headframe_pipelines::user_pipeline::Readers;
use headframe_pipelines::{UserPipeline, UserPipelineConfig};
use headframe_schemas::{Kind, ReadPermission};

use super::{config, minutes};

fn refusal(config: &UserPipelineConfig) -> String {
    match UserPipeline::plan(config) {
        Ok(_) => panic!("it was planned: {}", config.sql),
        Err(why) => why,
    }
}

#[test]
fn columns_come_from_the_plan() {
    let all = minutes(
        "SELECT window_start, site, count(*) AS samples, avg(value) AS mean, max(value) > 30 AS \
         is_hot, CAST(sum(value) AS DECIMAL(38,0)) AS whole, CAST(window_start AS DATE) AS day, \
         CAST(1 AS INTEGER) AS one, CAST('x' AS BYTEA) AS raw, to_timestamp(0) AS began FROM input \
         GROUP BY window_start, site",
    );
    let pipeline = UserPipeline::plan(&all).unwrap();
    let found: Vec<(&str, Kind)> = pipeline
        .table
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.kind))
        .collect();
    let expected = [
        ("window_start", Kind::Timestamp),
        ("site", Kind::Text),
        ("samples", Kind::Int),
        ("mean", Kind::Float),
        ("is_hot", Kind::Bool),
        ("whole", Kind::Decimal),
        ("day", Kind::Date),
        ("one", Kind::SmallInt),
        ("raw", Kind::Bytes),
        ("began", Kind::Timestamp),
    ];
    assert_eq!(found, expected);
    assert_eq!(pipeline.table.read, ReadPermission::Reader);
    let whole = config("SELECT * EXCLUDE (seq, row, ingest_time) FROM input WHERE value > 1");
    let columns = UserPipeline::plan(&whole).unwrap().table.columns;
    assert_eq!(columns[0].name, "event_time");
}

#[test]
fn a_select_that_cannot_be_a_pipeline_is_refused_with_what_to_do() {
    let counts = "SELECT count(*) AS n FROM input";
    for (sql, says) in [
        (
            counts,
            "an aggregate or GROUP BY needs more than one row of input; name a window",
        ),
        ("SELECT DISTINCT site FROM input", "DISTINCT needs more"),
        (
            "SELECT site FROM input ORDER BY site",
            "ORDER BY needs more",
        ),
        ("SELECT site FROM input LIMIT 5", "LIMIT needs more"),
        (
            "SELECT a.site FROM input a JOIN input b ON a.site = b.site",
            "a join needs more",
        ),
        (
            "SELECT site FROM input UNION ALL SELECT sensor FROM input",
            "UNION needs more",
        ),
        (
            "SELECT lag(value) OVER (ORDER BY seq) AS before FROM input",
            "a window function needs",
        ),
        (
            "SELECT site FROM input WHERE value > (SELECT avg(value) FROM input)",
            "a subquery needs",
        ),
        (
            "SELECT site FROM shares",
            "it reads shares; the only relation is input",
        ),
        (
            "SELECT site FROM '/etc/passwd'",
            "the only relation is input",
        ),
        ("SELECT sites FROM input", "No field named sites"),
        ("SELECT 1 AS one", "it does not read input"),
        (
            "SELECT site FROM input; SELECT site FROM input",
            "several statements; write one SELECT",
        ),
        ("DELETE FROM input", "it is no SELECT"),
        (
            "CREATE TABLE a AS SELECT site FROM input",
            "it is no SELECT",
        ),
        ("COPY input TO 'a.csv'", "it is no SELECT"),
        ("EXPLAIN SELECT site FROM input", "it is no SELECT"),
        ("SELECT site INTO a FROM input", "sql: "),
        ("SELEC site FROM input", "sql: "),
        ("", "sql: "),
        (
            "SELECT now() AS at FROM input",
            "now() gives another value each time",
        ),
        (
            "SELECT random() AS dice FROM input",
            "random() gives another value each time",
        ),
        (
            "SELECT site FROM input WHERE event_time < current_date()",
            "current_date() gives",
        ),
        (
            "SELECT site FROM input WHERE value > $1",
            "the placeholder $1 has no value",
        ),
        (
            "SELECT value + 1 FROM input",
            "give it a name in snake_case with AS",
        ),
        (
            "SELECT value AS \"Value\" FROM input",
            "give it a name in snake_case with AS",
        ),
        (
            "SELECT * FROM input",
            "is called ingest_time, which the table has by itself",
        ),
        ("SELECT site, sensor AS site FROM input", "site"),
        (
            "SELECT CAST(value AS DECIMAL(10,2)) AS cents FROM input",
            "column cents is of type Decimal128(10, 2), which no table holds; write CAST(cents AS \
             DOUBLE) AS cents",
        ),
        (
            "SELECT event_time - ingest_time AS delay FROM input",
            "CAST(delay AS VARCHAR) AS delay",
        ),
        (
            "SELECT NULL AS nothing FROM input",
            "CAST(NULL AS DOUBLE) AS nothing",
        ),
        (
            "SELECT arrow_cast(1, 'UInt64') AS n FROM input",
            "CAST(n AS BIGINT) AS n",
        ),
        (
            "SELECT window_start FROM input",
            "No field named window_start",
        ),
    ] {
        let said = refusal(&config(sql));
        assert!(said.contains(says), "{sql}: {said}");
    }
    assert!(UserPipeline::plan(&minutes(counts)).is_ok());
    let endless = "WITH RECURSIVE a AS (SELECT 1 AS n FROM input UNION ALL SELECT n + 1 FROM a) \
                   SELECT n FROM a";
    let said = refusal(&minutes(endless));
    assert!(said.contains("a recursive query may never end"), "{said}");
}

#[test]
fn keys_that_cannot_work_are_named() {
    let good = "SELECT site FROM input";
    let with = |change: &dyn Fn(&mut UserPipelineConfig)| {
        let mut config = config(good);
        change(&mut config);
        refusal(&config)
    };
    let some = |text: &str| Some(text.to_owned());
    for (said, says) in [
        (with(&|c| c.name = "Hot".to_owned()), "name is \"Hot\""),
        (with(&|c| c.name = "1st".to_owned()), "name is \"1st\""),
        (with(&|c| c.table = some("a b")), "table is \"a b\""),
        (with(&|c| c.table = some(&"a".repeat(49))), "at most 48"),
        (
            with(&|c| c.input = "sensor".to_owned()),
            "no stream; there are shares",
        ),
        (with(&|c| c.window = some("1 m")), "window is \"1 m\""),
        (with(&|c| c.window = some("0s")), "window is 0"),
        (with(&|c| c.window = some("40d")), "at most 31d"),
        (with(&|c| c.lateness = some("1m")), "window is not"),
        (with(&|c| c.retention_days = 1), "retention_days is 1"),
        (with(&|c| c.memory_mib = 1), "memory_mib is 1"),
        (with(&|c| c.timeout_s = 0), "timeout_s is 0"),
        (with(&|c| c.sql = " ".repeat(70_000)), "sql has 70000 bytes"),
    ] {
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn rows_go_to_a_stream_only_where_they_are_rows_of_it() {
    let to = |stream: &str, sql: &str| UserPipelineConfig {
        stream: Some(stream.to_owned()),
        ..config(sql)
    };
    let good = "SELECT event_time, site, sensor AS meter, value AS power_w FROM input";
    let planned = UserPipeline::plan(&to("energy", good)).unwrap();
    assert_eq!(planned.stream_of_rows.unwrap().name(), "energy");
    for (stream, sql, says) in [
        ("shares", good, "to which no pipeline writes; it may be "),
        ("signals", good, "to which no pipeline writes"),
        ("nothing", good, "to which no pipeline writes"),
        ("sensors", good, "which is its input"),
        (
            "energy",
            "SELECT event_time, site, sensor AS meter, value AS power FROM input",
            "energy has no column power; leave it out",
        ),
        (
            "energy",
            "SELECT event_time, site, sensor AS meter, '1' AS power_w FROM input",
            "the column power_w is Float in energy and Text in the SELECT; CAST it",
        ),
        (
            "energy",
            "SELECT event_time, site, value AS power_w FROM input",
            "a row of energy needs the column meter",
        ),
    ] {
        let said = refusal(&to(stream, sql));
        assert!(said.contains(says), "{stream} {sql}: {said}");
    }
}

#[test]
fn rows_that_come_back_to_a_pipeline_are_refused() {
    let one = UserPipelineConfig {
        stream: Some("energy".to_owned()),
        ..config("SELECT event_time, site, sensor AS meter, value AS power_w FROM input")
    };
    let back = "SELECT event_time, site, meter AS sensor, 'power' AS quantity, power_w AS value \
                FROM input";
    let other = UserPipelineConfig {
        name: "back".to_owned(),
        input: "energy".to_owned(),
        stream: Some("sensors".to_owned()),
        ..config(back)
    };
    let taken = BTreeSet::new();
    assert!(UserPipeline::plan_all(std::slice::from_ref(&one), &taken).is_ok());
    let faults = match UserPipeline::plan_all(&[one, other], &taken) {
        Ok(_) => panic!("a circle was planned"),
        Err(faults) => faults,
    };
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].contains("come back to its input sensors"),
        "{faults:?}"
    );
}

#[test]
fn the_output_is_as_closed_as_its_input_unless_it_is_closed_more() {
    let with = |input: &str, read| {
        let sql = "SELECT event_time FROM input".to_owned();
        let input = input.to_owned();
        UserPipeline::plan(&UserPipelineConfig {
            input,
            read,
            ..config(&sql)
        })
    };
    let read = |input, read| with(input, read).map(|pipeline| pipeline.table.read);
    assert_eq!(read("sensors", None), Ok(ReadPermission::Reader));
    let closed = Ok(ReadPermission::Personal);
    assert_eq!(read("sensors", Some(Readers::Operator)), closed);
    assert_eq!(read("sessions", None), closed);
    assert_eq!(read("sessions", Some(Readers::Operator)), closed);
    let said = read("sessions", Some(Readers::Reader)).unwrap_err();
    assert!(said.contains("personal data"), "{said}");
}

#[test]
fn names_are_unique_and_all_that_is_wrong_is_said() {
    let taken = BTreeSet::from(["shares".to_owned()]);
    let named = |name: &str, table: Option<&str>| UserPipelineConfig {
        name: name.to_owned(),
        table: table.map(str::to_owned),
        ..config("SELECT site FROM input")
    };
    let faults = |configs: &[UserPipelineConfig]| match UserPipeline::plan_all(configs, &taken) {
        Ok(planned) => panic!("{} were planned", planned.len()),
        Err(faults) => faults.join("\n"),
    };
    for (configs, says) in [
        (
            vec![named("shares", None)],
            "which is a name of Headframe's own",
        ),
        (
            vec![named("a", Some("input"))],
            "which is a name of Headframe's own",
        ),
        (
            vec![named("pg_tables", None)],
            "which is a name of Headframe's own",
        ),
        (
            vec![named("x_rollups_v2", None)],
            "which is a name of Headframe's own",
        ),
        (
            vec![named("rollups", Some("a"))],
            "a pipeline of Headframe's own has this name",
        ),
        (
            vec![named("a", None), named("a", Some("b"))],
            "another pipeline has this name",
        ),
        (
            vec![named("a", None), named("b", Some("a"))],
            "fills the table a",
        ),
        (vec![named("a", None); 65], "at most 64 are run"),
    ] {
        let said = faults(&configs);
        assert!(said.contains(says), "{said}");
    }
    let mut wrong = named("a", None);
    wrong.sql = "SELECT nothing FROM input".to_owned();
    let both = faults(&[wrong, named("shares", None)]);
    assert!(both.contains("pipeline \"a\": sql:") && both.contains("pipeline \"shares\":"));
}

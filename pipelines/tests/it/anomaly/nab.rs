//! The files of the Numenta Anomaly Benchmark: `make bench-nab NAB=FOLDER` writes a score for each
//! row of its data, which its own scorer then judges. Every file is read with the same thresholds.
//!
//! The data are no part of this house. The test here makes a folder of the same layout.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use headframe_pipelines::anomaly::{AnomalyConfig, Bounds, Mode, Sample, SignalState, Transition};

/// The name under which its scorer lists us.
const NAME: &str = "headframe";

/// A row of a file: the time as it stands there, and the value.
struct Row {
    time: String,
    time_us: i64,
    value: f64,
    label: Option<String>,
}

/// Microseconds since 1970 of `2014-02-14 14:30:00`, which is taken as UTC.
fn time_us(text: &str) -> Option<i64> {
    let numbers: Vec<i64> = text
        .split(|c: char| !c.is_ascii_digit())
        .take(6)
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [year, month, day, hour, minute, second] = numbers[..] else {
        return None;
    };
    // Days from a civil date (Hinnant, 2013).
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000)
}

fn rows(file: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let row = |line: &str| {
        let mut parts = line.trim().split(',');
        let time = parts.next()?.to_owned();
        Some(Row {
            time_us: time_us(&time)?,
            time,
            value: parts.next()?.parse().ok()?,
            label: None,
        })
    };
    lines
        .map(|line| row(line).unwrap_or_else(|| panic!("{}: {line}", file.display())))
        .collect()
}

/// A number from 0 to 1 for each row, which rises with how abnormal it is.
fn scores(rows: &[Row]) -> Vec<f64> {
    let thresholds = AnomalyConfig::default();
    let mut state = SignalState::default();
    let score = |row: &Row| {
        let sample = Sample {
            event_time: row.time_us,
            ingest_time: row.time_us,
            value: Some(row.value),
            mode: Mode::Unknown,
            rated: None,
        };
        let observed = state.observe(&sample, &thresholds, Bounds::ANY);
        // Half of the range is for what is below the threshold, and only the beginning of an
        // anomaly is above it: the scorer counts every later row as one more alarm.
        let opened = observed
            .findings
            .iter()
            .filter(|finding| finding.transition == Transition::Opened);
        match opened.map(|finding| finding.score).fold(0.0, f64::max) {
            opened if opened >= 1.0 => 1.0 - 0.5 / opened,
            _ => 0.5 * observed.score.min(0.99),
        }
    };
    rows.iter().map(score).collect()
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// The column `label` of the results of another detector, which hold the truth of the file.
fn labels(results: &Path, folder: &str, file: &str) -> Option<Vec<String>> {
    let other = results
        .join("null")
        .join(folder)
        .join(format!("null_{file}"));
    let text = std::fs::read_to_string(other).ok()?;
    let column = text
        .lines()
        .next()?
        .split(',')
        .position(|name| name == "label")?;
    let label = |line: &str| line.split(',').nth(column).map(str::to_owned);
    text.lines().skip(1).map(label).collect()
}

/// Writes our results beside those of the others; answers how many files and rows there were.
fn write_results(nab: &Path) -> (usize, usize) {
    let (mut files, mut count) = (0, 0);
    for folder in folders(&nab.join("data"))
        .into_iter()
        .filter(|path| path.is_dir())
    {
        let group = folder.file_name().unwrap().to_string_lossy().into_owned();
        for file in folders(&folder) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".csv") {
                continue;
            }
            let mut rows = rows(&file);
            if let Some(labels) = labels(&nab.join("results"), &group, &name) {
                for (row, label) in rows.iter_mut().zip(labels) {
                    row.label = Some(label);
                }
            }
            let mut text = "timestamp,value,anomaly_score,label\n".to_owned();
            for (row, score) in rows.iter().zip(scores(&rows)) {
                let label = row.label.as_deref().unwrap_or("0");
                writeln!(text, "{},{},{score:.6},{label}", row.time, row.value).unwrap();
            }
            let target = nab.join("results").join(NAME).join(&group);
            std::fs::create_dir_all(&target).unwrap();
            std::fs::write(target.join(format!("{NAME}_{name}")), text).unwrap();
            (files, count) = (files + 1, count + rows.len());
        }
    }
    (files, count)
}

#[test]
fn a_benchmark_folder_gets_a_score_for_each_row() {
    if let Ok(folder) = std::env::var("HEADFRAME_NAB") {
        let (files, rows) = write_results(Path::new(&folder));
        println!("{files} files with {rows} rows scored");
        assert!(files > 0, "{folder}/data has no files");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data/invented");
    std::fs::create_dir_all(&data).unwrap();
    let (mut text, mut expected) = ("timestamp,value\n".to_owned(), Vec::new());
    for number in 0..4_000_i64 {
        let (day, minute) = (number / 288, number % 288 * 5);
        let noise = (number * 7_919 % 1_013) as f64 / 1_013.0;
        let value = if (3_000..3_100).contains(&number) {
            90.0
        } else {
            50.0
        } + noise;
        let time = format!(
            "2014-02-{:02} {:02}:{:02}:00",
            day + 1,
            minute / 60,
            minute % 60
        );
        writeln!(text, "{time},{value}").unwrap();
        expected.push((time, value));
    }
    std::fs::write(data.join("step.csv"), text).unwrap();
    assert_eq!(write_results(folder.path()), (1, 4_000));
    let written = folder
        .path()
        .join("results/headframe/invented/headframe_step.csv");
    let written = std::fs::read_to_string(written).unwrap();
    let mut lines = written.lines();
    assert_eq!(lines.next(), Some("timestamp,value,anomaly_score,label"));
    let mut loud = Vec::new();
    for (number, (line, (time, value))) in lines.zip(&expected).enumerate() {
        let parts: Vec<&str> = line.split(',').collect();
        assert_eq!(
            (parts[0], parts[1]),
            (time.as_str(), value.to_string().as_str())
        );
        let score: f64 = parts[2].parse().unwrap();
        assert!((0.0..=1.0).contains(&score), "{line}");
        if score >= 0.5 {
            loud.push(number);
        }
    }
    assert_eq!(loud, [3_000], "one alarm, where the level changes");
}

#[test]
fn times_of_the_files_are_read_as_utc() {
    assert_eq!(time_us("1970-01-01 00:00:01"), Some(1_000_000));
    assert_eq!(time_us("2014-02-14 14:30:00"), Some(1_392_388_200_000_000));
    assert_eq!(
        time_us("2016-02-29 23:59:59.5"),
        Some(1_456_790_399_000_000)
    );
    assert_eq!(time_us("soon"), None);
}

//! The spool's files on a real disk: what was appended is read in order, after a crash, a cut, a
//! flipped bit and a full disk.

use headframe_ingest::SequencedBatch;
use headframe_schemas::stream::shares::Shares;
use headframe_stratum::spool::frame;
use headframe_stratum::spool::record::SpoolRecord;
use headframe_stratum::spool::segments::{Segment, Segments, SpoolError};
use std::path::{Path, PathBuf};

fn append(segments: &mut Segments, first: i64, rows: usize) {
    let text: String = (0..rows)
        .map(|row| format!("{{\"row\":{}}}\n", first + row as i64))
        .collect();
    let message = SequencedBatch {
        stream: &Shares,
        key: "main".into(),
        producer: "p".into(),
        first,
        rows,
        text: text.into(),
    };
    let mut frames = Vec::new();
    frame::encode(
        &SpoolRecord {
            message,
            offered: false,
        }
        .encode(),
        &mut frames,
    );
    segments.append(&frames).unwrap();
}

fn firsts(segment: &Segment) -> Vec<i64> {
    segment
        .records
        .iter()
        .map(|record| record.message.first)
        .collect()
}

/// Reads the spool to its end.
fn drain(segments: &mut Segments) -> (Vec<i64>, u64) {
    let (mut rows, mut damaged) = (Vec::new(), 0);
    while let Some(segment) = segments.oldest().unwrap() {
        rows.extend(firsts(&segment));
        damaged += segment.damaged;
        segments.remove(segment.number).unwrap();
    }
    assert_eq!(segments.bytes(), 0);
    (rows, damaged)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let spool = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "spool")
    };
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(spool)
        .collect();
    files.sort();
    files
}

#[test]
fn records_come_back_in_order_over_many_files_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut next = 1;
    for _ in 0..3 {
        let mut segments = Segments::open(folder.path(), 300).unwrap();
        for _ in 0..10 {
            append(&mut segments, next, 2);
            next += 2;
        }
        // The oldest is read again after a restart when it was not removed.
        assert_eq!(firsts(&segments.oldest().unwrap().unwrap())[0], 1);
    }
    assert!(files(folder.path()).len() > 6);
    let mut segments = Segments::open(folder.path(), 300).unwrap();
    let size: u64 = files(folder.path())
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert_eq!(segments.bytes(), size);
    let wanted: Vec<i64> = (0..30).map(|n| 1 + 2 * n).collect();
    assert_eq!(drain(&mut segments), (wanted, 0));
    assert!(files(folder.path()).is_empty());
}

#[test]
fn what_is_appended_while_a_file_is_read_goes_into_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut segments = Segments::open(folder.path(), 1 << 20).unwrap();
    append(&mut segments, 1, 1);
    let first = segments.oldest().unwrap().unwrap();
    append(&mut segments, 2, 1);
    assert_eq!(
        firsts(&segments.oldest().unwrap().unwrap()),
        [1],
        "what was read once stays what it was"
    );
    segments.remove(first.number).unwrap();
    assert_eq!(drain(&mut segments), (vec![2], 0));
}

#[test]
fn a_torn_tail_is_left_out_and_a_flipped_bit_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut segments = Segments::open(folder.path(), 1 << 20).unwrap();
    (1..=5).for_each(|first| append(&mut segments, first, 1));
    drop(segments);
    let path = files(folder.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let frame = bytes.len() / 5;
    bytes[2 * frame + frame / 2] ^= 4;
    bytes.truncate(5 * frame - 3);
    std::fs::write(&path, &bytes).unwrap();
    let mut segments = Segments::open(folder.path(), 1 << 20).unwrap();
    append(&mut segments, 6, 1);
    assert_eq!(drain(&mut segments), (vec![1, 2, 4, 6], 1));
    let aside: Vec<_> = std::fs::read_dir(folder.path().join("aside"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(
        std::fs::read(&aside[0]).unwrap(),
        bytes[2 * frame..3 * frame]
    );
}

#[test]
fn one_spool_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let first = Segments::open(folder.path(), 1 << 20).unwrap();
    assert!(matches!(
        Segments::open(folder.path(), 1 << 20),
        Err(SpoolError::Locked(_))
    ));
    drop(first);
    Segments::open(folder.path(), 1 << 20).unwrap();
}

#[test]
fn after_a_failure_the_next_record_goes_into_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let mut segments = Segments::open(&path, 100).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    for _ in 0..3 {
        let said = segments.append(b"a record").unwrap_err().to_string();
        assert!(
            said.starts_with("cannot make") && said.contains("spool/000"),
            "{said}"
        );
    }
    std::fs::create_dir_all(path.join("aside")).unwrap();
    append(&mut segments, 1, 1);
    append(&mut segments, 2, 1);
    assert_eq!(drain(&mut segments), (vec![1, 2], 0));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"in the way").unwrap();
    let said = Segments::open(&folder.path().join("file"), 1 << 20)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("file/aside") && said.contains("cannot make"),
        "{said}"
    );
}

//! Restarts, torn lines, a disk that is gone.

use super::*;
use serde_json::json;
use std::fs;

type Entries = Recovered<u64, u64>;

fn settings() -> JournalSettings {
    JournalSettings {
        entries_in_segment: 3,
        patience: Duration::from_secs(20),
        ..JournalSettings::default()
    }
}

fn open(folder: &Path, first_seq: u64) -> (Journal, Entries) {
    Journal::open(folder, first_seq, settings()).unwrap()
}

/// Entry `n` follows on the state `10 n`.
async fn append(journal: &mut Journal, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let (_, state) = journal.append(&(10 * number), &number).await;
        assert_eq!(state, DiskState::Written);
    }
}

#[tokio::test]
async fn a_restart_has_the_newest_snapshot_and_what_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, recovered) = open(folder.path(), 100);
    assert!(recovered.snapshot.is_none() && recovered.entries.is_empty());
    append(&mut journal, 0..8).await;
    drop(journal);
    let (journal, recovered) = open(folder.path(), 50);
    assert_eq!(recovered.snapshot, Some(60));
    assert_eq!(recovered.entries, [6, 7]);
    assert_eq!(journal.next_seq(), 108, "sequences never come again");
}

#[tokio::test]
async fn a_torn_or_changed_line_ends_what_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path(), 1);
    append(&mut journal, 0..3).await;
    drop(journal);
    let path = segment::list(folder.path()).unwrap().remove(0).path;
    let whole = fs::read(&path).unwrap();
    let snapshot = 1 + whole.iter().position(|byte| *byte == b'\n').unwrap();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (_, recovered) = open(folder.path(), 1);
        let entries = recovered.entries.len() as u64;
        assert_eq!(recovered.entries, (0..entries).collect::<Vec<_>>());
        assert_eq!(recovered.snapshot.is_some(), length >= snapshot);
        let is_whole = whole[..length].ends_with(b"\n") || length == 0;
        assert_eq!(recovered.complaints.is_empty(), is_whole && length > 0);
        // Without a snapshot, or emptied, it is more than a line that was being written.
        let is_lost = length < snapshot;
        assert_eq!(!recovered.damage.is_empty(), is_lost, "{length}");
    }
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        fs::write(&path, &changed).unwrap();
        let (_, recovered) = open(folder.path(), 1);
        assert!(
            !recovered.complaints.is_empty(),
            "the bit at {place} is found"
        );
        assert!(recovered.entries.len() < 3);
        let is_last_end = place == whole.len() - 1;
        assert_eq!(recovered.damage.is_empty(), is_last_end, "{place}");
    }
}

#[tokio::test]
async fn a_name_beyond_all_numbers_is_left_alone_and_a_missing_segment_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path(), 1);
    append(&mut journal, 0..8).await;
    assert_eq!(journal.newest_segment(), 7);
    drop(journal);
    let name = format!("{}-0000.journal", u64::MAX);
    fs::write(folder.path().join(&name), "rubbish\n").unwrap();
    let (journal, recovered) = open(folder.path(), 1);
    assert_eq!((journal.next_seq(), recovered.snapshot), (9, Some(60)));
    assert!(
        recovered.complaints[0].contains(&name),
        "{:?}",
        recovered.complaints
    );
    assert!(recovered.damage.is_empty());
    let segments = segment::list(folder.path()).unwrap();
    let (middle, newest) = (&segments[1].path, &segments[2].path);
    let text = fs::read_to_string(newest).unwrap();
    // Without its snapshot the newest goes on the one before, which is gone.
    fs::write(newest, text.split_once('\n').unwrap().1).unwrap();
    fs::remove_file(middle).unwrap();
    let (_, recovered) = open(folder.path(), 1);
    assert_eq!(
        (recovered.snapshot, recovered.entries),
        (Some(0), vec![0, 1, 2])
    );
    assert!(
        recovered.damage[0].contains("missing"),
        "{:?}",
        recovered.damage
    );
}

#[tokio::test]
async fn what_a_disk_does_not_take_is_written_later_and_can_be_read_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut journal, _) = open(&path, 1);
    append(&mut journal, 0..2).await;
    let reader = journal.reader();
    // A folder that is no folder any more: what is open can be written, nothing can be opened.
    fs::rename(&path, folder.path().join("away")).unwrap();
    fs::write(&path, "").unwrap();
    append(&mut journal, 2..3).await;
    for number in 3..6 {
        let (_, state) = journal.append(&(10 * number), &number).await;
        assert!(
            matches!(state, DiskState::Trouble(_)),
            "{number}: {state:?}"
        );
    }
    fs::remove_file(&path).unwrap();
    fs::rename(folder.path().join("away"), &path).unwrap();
    let waiting: Vec<Read<u64>> = reader.read_after(2, 100).unwrap().entries;
    let numbers: Vec<u64> = waiting.iter().map(|read| read.entry).collect();
    assert_eq!(numbers, [2, 3, 4, 5]);
    append(&mut journal, 6..8).await;
    // Segments that begin without a snapshot are of the same journal.
    let all: Vec<Read<u64>> = reader.read_after(0, 100).unwrap().entries;
    let read: Vec<(u64, u64)> = all.iter().map(|one| (one.journal, one.entry)).collect();
    assert_eq!(read, (0..8).map(|entry| (1, entry)).collect::<Vec<_>>());
    drop(journal);
    let (_, recovered) = open(&path, 1);
    let replayed = recovered.snapshot.unwrap() / 10;
    let all: Vec<u64> = (replayed..8).collect();
    assert_eq!(recovered.entries, all);
}

#[tokio::test]
async fn a_reader_gets_each_entry_once_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for start in 0..4_u64 {
        let (mut journal, _) = open(folder.path(), (start + 1) << 16);
        append(&mut journal, start * 10..start * 10 + 7).await;
        let reader = journal.reader();
        let mut seq = 0;
        all.clear();
        loop {
            let read: Vec<Read<u64>> = reader.read_after(seq, 5).unwrap().entries;
            let Some(last) = read.last() else { break };
            seq = last.seq;
            assert!(read.iter().all(|one| one.journal <= one.seq));
            all.extend(read.iter().map(|one| one.entry));
        }
    }
    let wanted: Vec<u64> = (0..4)
        .flat_map(|start| start * 10..start * 10 + 7)
        .collect();
    assert_eq!(all, wanted);
}

#[tokio::test]
async fn a_reader_names_what_it_cannot_read_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _): (_, Recovered<serde_json::Value, serde_json::Value>) =
        Journal::open(folder.path(), 1, settings()).unwrap();
    for entry in [json!(1), json!({"of": "another version"}), json!(3)] {
        journal.append(&json!(0), &entry).await;
    }
    let read = journal.reader().read_after::<u64>(0, 10).unwrap();
    let entries: Vec<u64> = read.entries.iter().map(|one| one.entry).collect();
    assert_eq!(entries, [1, 3]);
    let [(seq, reason)] = read.unreadable.as_slice() else {
        panic!("{:?}", read.unreadable);
    };
    assert!(*seq == 2 && reason.contains("expected u64"), "{reason}");
}

#[tokio::test]
async fn memory_and_disk_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let small = JournalSettings {
        max_bytes: 2_000,
        max_waiting_bytes: 1_000,
        ..settings()
    };
    let path = folder.path().join("journal");
    let (mut journal, _): (_, Entries) = Journal::open(&path, 1, small).unwrap();
    append(&mut journal, 0..300).await;
    let bytes: u64 = segment::list(&path)
        .unwrap()
        .iter()
        .map(|one| one.bytes)
        .sum();
    assert!(bytes < 3_000, "{bytes}");
    fs::rename(&path, folder.path().join("away")).unwrap();
    fs::write(&path, "").unwrap();
    for number in 300..400 {
        journal.append(&(10 * number), &number).await;
    }
    let waiting = journal.reader().shared.waiting_after(0);
    assert!(waiting.len() < 20, "{}", waiting.len());
    assert_eq!(waiting.last().unwrap().1, "399");
}

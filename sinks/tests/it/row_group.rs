//! Row groups of data files that somebody or something changed.

use std::collections::HashMap;

use futures::StreamExt;
use headframe_sinks::{Lake, SnapshotReader, row_groups};

use crate::fixture::{Fixture, range, rows, table};

/// A bit of each byte of the footer in turn: the file is refused with its name or read as it is,
/// and no panic of the decoder gets through.
#[tokio::test]
async fn a_changed_footer_is_an_error_that_names_the_file() {
    let fixture = Fixture::new();
    fixture
        .writer()
        .await
        .commit(range(1, 40), &rows(1, 40))
        .await
        .unwrap();
    let lake = Lake::open(fixture.folder.path().to_str().unwrap(), &HashMap::new()).unwrap();
    let snapshot = SnapshotReader::open(&lake, table())
        .refresh()
        .await
        .unwrap();
    let file = snapshot.files[0].clone();
    let path = fixture.folder.path().join("sensors").join(&file.add.path);
    let whole = std::fs::read(&path).unwrap();
    let length = whole.len() - 8;
    let footer_bytes = u32::from_le_bytes(whole[length..length + 4].try_into().unwrap());
    let footer = length - usize::try_from(footer_bytes).unwrap()..length;
    let (mut refused, mut read) = (0, 0);
    for at in footer {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, bytes).unwrap();
        let outcome = async {
            for group in row_groups(&snapshot, &file).await? {
                let batches = group.read(&["seq", "sensor", "value"])?;
                futures::pin_mut!(batches);
                while let Some(batch) = batches.next().await {
                    assert!(batch?.num_rows() > 0);
                }
            }
            Ok::<_, headframe_sinks::SinkError>(())
        };
        match outcome.await {
            Ok(()) => read += 1,
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(&file.add.path), "byte {at}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 100 && read > 0, "{refused} refused, {read} read");
}

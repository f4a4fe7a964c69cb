//! Another program changes the table's metadata while it is written: what is harmless is taken
//! over, the rest stops the writer.

use headframe_sinks::SinkError;

use crate::fixture::{Fixture, range, rows};

/// Replaces a part of the metadata, which must be there.
fn changed(fixture: &Fixture, from: &str, to: &str) -> String {
    let before = fixture.meta_data();
    let after = before.replace(from, to);
    assert_ne!(before, after, "{before}");
    after
}

#[tokio::test]
async fn a_property_somebody_set_is_kept_and_writing_goes_on() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(range(1, 2), &rows(1, 2)).await.unwrap();
    fixture.append(
        3,
        &changed(
            &fixture,
            r#""configuration":{"#,
            r#""configuration":{"team":"night shift","#,
        ),
    );
    writer.commit(range(3, 4), &rows(3, 4)).await.unwrap();
    assert_eq!(fixture.sequences().await, [1, 2, 3, 4]);
    let property = std::fs::read_to_string(
        fixture
            .folder
            .path()
            .join("sensors/_delta_log/00000000000000000003.json"),
    )
    .unwrap();
    assert!(
        property.contains("night shift"),
        "the version of the other program is still there"
    );
}

#[tokio::test]
async fn a_schema_somebody_changed_stops_the_writer_before_its_next_row() {
    let column = r#"\"name\":\"value\",\"nullable\":true,\"type\":\"double\"}"#;
    let added = format!(
        r#"{column},{{\"metadata\":{{}},\"name\":\"mood\",\"nullable\":true,\"type\":\"string\"}}"#
    );
    let other = column.replace("double", "string");
    for (to, said) in [
        (&added, "column mood is not known"),
        (&other, "column value is string and must be double"),
    ] {
        let fixture = Fixture::new();
        let mut writer = fixture.writer().await;
        writer.commit(range(1, 2), &rows(1, 2)).await.unwrap();
        fixture.append(3, &changed(&fixture, column, to));
        let refused = writer.commit(range(3, 4), &rows(3, 4)).await.unwrap_err();
        assert!(
            matches!(refused, SinkError::Unsupported { .. }) && refused.to_string().contains(said),
            "{refused}"
        );
        let again = fixture
            .try_writer(crate::fixture::BINDING)
            .await
            .unwrap_err();
        assert!(
            again.to_string().contains(said),
            "the next start says the same: {again}"
        );
    }
}

#[tokio::test]
async fn an_expiry_of_offsets_set_while_we_write_is_refused() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer().await;
    writer.commit(range(1, 2), &rows(1, 2)).await.unwrap();
    let expiry = r#""configuration":{"delta.setTransactionRetentionDuration":"interval 1 days","#;
    fixture.append(3, &changed(&fixture, r#""configuration":{"#, expiry));
    let refused = writer.commit(range(3, 4), &rows(3, 4)).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("setTransactionRetentionDuration"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_table_that_holds_nothing_can_be_adopted_behind_a_gap() {
    let fixture = Fixture::new();
    drop(fixture.writer().await);
    let open = headframe_sinks::TableWriter::open_to_rebind(
        &fixture.lake,
        crate::fixture::table(),
        Default::default(),
    );
    // The stream's first 99 messages expired before anything was committed.
    let binding = open.await.unwrap().rebind(7, 100).await.unwrap();
    let mut writer = fixture.try_writer(binding).await.unwrap();
    let next = writer.offset().unwrap() - binding.base + 1;
    assert_eq!(next, 100, "reading goes on where the stream begins");
    writer
        .commit(
            range(binding.base + 100, binding.base + 101),
            &rows(100, 101),
        )
        .await
        .unwrap();
    assert_eq!(fixture.sequences().await, [100, 101]);
}

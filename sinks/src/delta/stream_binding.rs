//! Which stream a table goes on from, as the table's own properties say it.

use std::collections::BTreeMap;

const STREAM_CREATED: &str = "headframe.stream.created";
const STREAM_BASE: &str = "headframe.stream.base";

/// Which incarnation of a stream a table's sequences count in: `table sequence = base + stream
/// sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamBinding {
    /// When the stream was created, nanoseconds since 1970.
    pub created_ns: i64,
    /// Added to the stream's sequence. Zero until an operator continues the table from another
    /// stream.
    pub base: i64,
}

impl StreamBinding {
    pub(crate) fn from_properties(properties: &BTreeMap<String, String>) -> Option<Self> {
        let number = |key: &str| properties.get(key)?.parse().ok();
        Some(Self {
            created_ns: number(STREAM_CREATED)?,
            base: number(STREAM_BASE)?,
        })
    }

    pub(crate) fn write(self, properties: &mut BTreeMap<String, String>) {
        properties.insert(STREAM_CREATED.to_owned(), self.created_ns.to_string());
        properties.insert(STREAM_BASE.to_owned(), self.base.to_string());
    }
}

//! What can go wrong with a table, sorted by what is to be done about it.

use object_store::Error as StoreError;

/// An error of this crate. [`SinkError::is_transient`] tells whether trying again can help.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Another writer took the table over; this one must stop.
    #[error(
        "table {table}: another writer holds fence {theirs}, ours is {ours}; this process stops \
         writing it"
    )]
    Fenced {
        /// The table.
        table: String,
        /// Our epoch.
        ours: i64,
        /// The epoch found.
        theirs: i64,
    },
    /// The offset is not where this writer left it.
    #[error(
        "table {table}: its offset is {found:?} but sequence {expected} was expected; something \
         else wrote it, so nothing more is written"
    )]
    OffsetMismatch {
        /// The table.
        table: String,
        /// The offset this writer expected.
        expected: i64,
        /// The offset found.
        found: Option<i64>,
    },
    /// The table at this place is not the one that was opened.
    #[error(
        "table {table}: its identity was {bound} and is now {found}; it was dropped and made anew, \
         restart to use the new one"
    )]
    Replaced {
        /// The table.
        table: String,
        /// The identity bound at start.
        bound: String,
        /// The identity found.
        found: String,
    },
    /// The table has a setting or feature under which the guarantees do not hold.
    #[error("table {table}: {what}")]
    Unsupported {
        /// The table.
        table: String,
        /// What is not supported, and what to do.
        what: String,
    },
    /// The stream the table is bound to is not the stream there is.
    #[error(
        "table {table} is bound to the stream created at {bound} ns but the stream was created at \
         {found} ns: it was deleted and made anew; run `headframe adopt {table}` to continue the \
         table from the new stream"
    )]
    StreamRecreated {
        /// The table.
        table: String,
        /// Creation time the table is bound to.
        bound: i64,
        /// Creation time of the stream found.
        found: i64,
    },
    /// The rows of a compaction did not add up; nothing was committed.
    #[error(
        "table {table}: {before} before and {after} after rewriting its files; the rewrite was not \
         committed"
    )]
    RowsDiffer {
        /// The table.
        table: String,
        /// What the old files hold.
        before: String,
        /// What the new ones hold.
        after: String,
    },
    /// A saved file is not what was written.
    #[error("{what} is corrupt: {why}")]
    Corrupt {
        /// The file.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The object store failed.
    #[error("{action} in table {table}: {source}")]
    Store {
        /// What was attempted.
        action: &'static str,
        /// The table.
        table: String,
        /// The store's error.
        #[source]
        source: StoreError,
    },
    /// A photo could not be stored or read.
    #[error("{action} the photo {digest}: {source}")]
    Photo {
        /// What was attempted.
        action: &'static str,
        /// The SHA-256 of the photo.
        digest: String,
        /// The store's error.
        #[source]
        source: StoreError,
    },
    /// The Delta library failed.
    #[error("{action} in table {table}: {source}")]
    Delta {
        /// What was attempted.
        action: &'static str,
        /// The table.
        table: String,
        /// Its error.
        #[source]
        source: Box<deltalake_core::DeltaTableError>,
    },
    /// A batch could not be encoded or a file decoded.
    #[error("{action} in table {table}: {why}")]
    Encode {
        /// What was attempted.
        action: &'static str,
        /// The table.
        table: String,
        /// What is wrong.
        why: String,
    },
    /// There is no such version, or its log was trimmed.
    #[error(
        "table {table} has no {what}; its log is kept for a limited time, see the table's retention"
    )]
    NoSuchVersion {
        /// The table.
        table: String,
        /// The version or time asked for.
        what: String,
    },
    /// The address of the lake cannot be used.
    #[error("cannot use {url} as the place of the tables: {why}")]
    Address {
        /// As configured.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Shutdown was asked for while waiting.
    #[error("stopped while {0}")]
    Cancelled(&'static str),
}

impl SinkError {
    /// Whether the same call may succeed later without anyone's help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Store { .. } | Self::Photo { .. } | Self::Delta { .. }
        )
    }

    pub(crate) fn store(action: &'static str, table: &str) -> impl FnOnce(StoreError) -> Self {
        let table = table.to_owned();
        move |source| Self::Store {
            action,
            table,
            source,
        }
    }

    pub(crate) fn delta(
        action: &'static str,
        table: &str,
    ) -> impl FnOnce(deltalake_core::DeltaTableError) -> Self {
        let table = table.to_owned();
        move |source| Self::Delta {
            action,
            table,
            source: Box::new(source),
        }
    }

    pub(crate) fn encode<E: std::fmt::Display>(
        action: &'static str,
        table: &str,
    ) -> impl FnOnce(E) -> Self {
        let table = table.to_owned();
        move |error| Self::Encode {
            action,
            table,
            why: error.to_string(),
        }
    }
}

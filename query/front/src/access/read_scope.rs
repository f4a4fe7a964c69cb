//! What of the tables somebody may read. It travels with each statement and each subscription to
//! the place where rows are read, and is enforced there.
//!
//! What a stream's rows ask of their reader is the stream's own to say. A request that says nothing
//! of its reader reads nothing.

use arrow::array::{Array, BooleanArray, RecordBatch, Scalar, StringViewArray};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use headframe_schemas::codec::PRODUCER_COLUMNS;
use headframe_schemas::table::{INGEST_TIME, ROW, SEQ};
use headframe_schemas::{Column, ReadPermission, Stream, UserTable};
use serde::{Deserialize, Serialize};

use crate::access::{Principal, Proof, Role};

/// What of the tables somebody may read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReadScope {
    /// Nothing.
    #[default]
    Nothing,
    /// The rows of the miner with this address, and no other table than has such rows.
    Miner(String),
    /// The same with the places of the rows, which count everybody's. Only statements of our own
    /// have it, and none that somebody typed a part of.
    MinerPlaces {
        /// The miner.
        address: String,
        /// The miner's condition, which chooses among its rows below the statement, and sees of
        /// them what the miner does: no places.
        condition: Option<String>,
    },
    /// Every row of the tables that [`ReadPermission::Reader`] opens.
    Readers,
    /// Every row of every table.
    Everything,
}

/// What of one stream somebody may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowAccess {
    /// Nothing: for him the stream does not exist.
    Nothing,
    /// Some rows.
    Own(OwnRows),
    /// Every row.
    All,
}

/// The rows of one miner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnRows {
    /// The column that names the miner.
    pub column: &'static str,
    /// The miner.
    pub address: String,
    /// Columns that are not shown.
    pub hidden: &'static [&'static str],
    /// Whether their places are shown.
    pub places: bool,
}

impl ReadScope {
    /// What this stream shows to whoever has the scope.
    pub fn of_stream(&self, stream: &dyn Stream) -> RowAccess {
        match (self, stream.read_permission()) {
            (ReadScope::Nothing, _) => RowAccess::Nothing,
            (ReadScope::Miner(address) | ReadScope::MinerPlaces { address, .. }, _) => {
                match stream.miner_rows() {
                    Some(rows) => RowAccess::Own(OwnRows {
                        column: rows.column,
                        address: address.clone(),
                        hidden: rows.hidden,
                        places: matches!(self, ReadScope::MinerPlaces { .. }),
                    }),
                    None => RowAccess::Nothing,
                }
            }
            (ReadScope::Readers, ReadPermission::Personal) => RowAccess::Nothing,
            (ReadScope::Readers, ReadPermission::Reader) | (ReadScope::Everything, _) => {
                RowAccess::All
            }
        }
    }

    /// Whether the output table of a pipeline of the configuration exists for whoever has the
    /// scope. It says of no row whose it is, so that none is a miner's.
    pub fn of_user_table(&self, table: &UserTable) -> bool {
        match self {
            ReadScope::Nothing | ReadScope::Miner(_) | ReadScope::MinerPlaces { .. } => false,
            ReadScope::Readers => table.read == ReadPermission::Reader,
            ReadScope::Everything => true,
        }
    }

    /// The miner whose rows are all that is read.
    pub fn miner(&self) -> Option<&str> {
        match self {
            ReadScope::Miner(address) | ReadScope::MinerPlaces { address, .. } => Some(address),
            _ => None,
        }
    }

    /// The condition that chooses among the miner's rows.
    pub fn condition(&self) -> Option<&str> {
        match self {
            ReadScope::MinerPlaces { condition, .. } => condition.as_deref(),
            _ => None,
        }
    }
}

impl Principal {
    /// What of the tables he may read, on every wire.
    pub fn read_scope(&self) -> ReadScope {
        match &self.role {
            None => ReadScope::Nothing,
            Some(Role::Miner(address)) => ReadScope::Miner(address.to_string()),
            // Programs of this machine may give orders where they may read without a token.
            Some(Role::Viewer) if self.proof == Proof::LocalProgram => ReadScope::Everything,
            Some(Role::Viewer) => ReadScope::Readers,
            Some(Role::Operator | Role::Auditor | Role::Admin) => ReadScope::Everything,
        }
    }
}

impl RowAccess {
    /// Whether there is something to read.
    pub fn is_some(&self) -> bool {
        *self != RowAccess::Nothing
    }

    /// The columns of a stream that are shown: its own first, then where the row came from. Who
    /// does not see every row does not see the numbers that count everybody's.
    pub fn columns(&self, stream: &dyn Stream) -> Vec<Column> {
        let columns = stream.columns().iter();
        let mut columns: Vec<Column> = columns
            .filter(|column| self.shows(column.name))
            .copied()
            .collect();
        match self {
            RowAccess::Nothing => {}
            RowAccess::Own(own) => {
                columns.push(INGEST_TIME);
                if own.places {
                    columns.extend([SEQ, ROW]);
                }
            }
            RowAccess::All => {
                columns.extend([INGEST_TIME, SEQ, ROW]);
                columns.extend_from_slice(PRODUCER_COLUMNS);
            }
        }
        columns
    }

    /// Whether a column of the stream is shown.
    pub fn shows(&self, column: &str) -> bool {
        match self {
            RowAccess::Nothing => false,
            RowAccess::Own(rows) => !rows.hidden.contains(&column),
            RowAccess::All => true,
        }
    }
}

impl OwnRows {
    /// The rows of a batch that are the miner's, without the columns that are not shown. A batch
    /// without the miner's column is an error.
    pub fn of_batch(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = filter_record_batch(batch, &self.mask(batch)?)?;
        let shown: Vec<usize> = (0..rows.num_columns())
            .filter(|index| {
                !self
                    .hidden
                    .contains(&rows.schema_ref().field(*index).name().as_str())
            })
            .collect();
        rows.project(&shown)
    }

    /// Which rows of a batch are the miner's.
    pub fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let column = batch.column_by_name(self.column).ok_or_else(|| {
            ArrowError::SchemaError(format!("rows without the column {}", self.column))
        })?;
        let column = match column.data_type() {
            DataType::Utf8View => column.clone(),
            _ => cast(column, &DataType::Utf8View)?,
        };
        let own = Scalar::new(StringViewArray::from(vec![self.address.as_str()]));
        let mask = eq(&column, &own)?;
        // A row without a miner is nobody's.
        Ok(match mask.null_count() {
            0 => mask,
            _ => mask.iter().map(|own| Some(own == Some(true))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use headframe_schemas::stream;

    use super::*;

    #[test]
    fn each_scope_opens_what_the_streams_say_and_no_scope_opens_nothing() {
        let miner = ReadScope::Miner("4A".to_owned());
        for stream in stream::ALL {
            let name = stream.name();
            let access = |scope: &ReadScope| scope.of_stream(*stream);
            assert_eq!(access(&ReadScope::default()), RowAccess::Nothing, "{name}");
            assert_eq!(access(&ReadScope::Everything), RowAccess::All, "{name}");
            let is_personal = stream.read_permission() == ReadPermission::Personal;
            assert_eq!(
                access(&ReadScope::Readers).is_some(),
                !is_personal,
                "{name}"
            );
            match (access(&miner), stream.miner_rows()) {
                (RowAccess::Own(own), Some(rows)) => {
                    assert_eq!((own.column, own.address.as_str()), (rows.column, "4A"));
                }
                (access, rows) => assert_eq!((access, rows), (RowAccess::Nothing, None), "{name}"),
            }
        }
    }

    #[test]
    fn a_principal_reads_by_its_role() {
        let of = |role| Principal {
            role: Some(role),
            ..Principal::reader()
        };
        let miner = ReadScope::Miner("4A".to_owned());
        assert_eq!(of(Role::Miner("4A".into())).read_scope(), miner);
        assert_eq!(Principal::reader().read_scope(), ReadScope::Readers);
        assert_eq!(Principal::local().read_scope(), ReadScope::Everything);
        assert_eq!(Principal::anonymous().read_scope(), ReadScope::Nothing);
        for role in [Role::Operator, Role::Auditor, Role::Admin] {
            assert_eq!(of(role).read_scope(), ReadScope::Everything);
        }
    }

    #[test]
    fn a_batch_keeps_the_rows_of_its_miner_and_shows_no_hidden_column() {
        let own = OwnRows {
            column: "miner",
            address: "4A".to_owned(),
            hidden: &["ip"],
            places: false,
        };
        let fields = ["miner", "ip"].map(|name| Field::new(name, DataType::Utf8, true));
        let mut fields = fields.to_vec();
        fields.push(Field::new("work", DataType::Int64, true));
        let miners = StringArray::from(vec![Some("4A"), None, Some("4a"), Some("4AB"), Some("4A")]);
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(miners.clone()),
            Arc::new(miners),
            Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5])),
        ];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let rows = own.of_batch(&batch).unwrap();
        assert_eq!(rows.num_columns(), 2);
        let work = rows.column_by_name("work").unwrap();
        assert_eq!(work.as_ref(), &Int64Array::from(vec![1, 5]) as &dyn Array);
        assert!(own.of_batch(&batch.project(&[2]).unwrap()).is_err());
    }
}

//! What a table must be like for the guarantees to hold: identity, protocol, properties and
//! columns.

use headframe_schemas::Table;

use crate::delta::action::{PROTOCOL, delta_type, schema_types};
use crate::delta::log::LogState;
use crate::error::SinkError;

/// Refuses a table whose protocol, properties or columns would break the guarantees.
pub(crate) fn check_table(table: &Table, state: &LogState) -> Result<(), SinkError> {
    let refuse = |what: String| {
        Err(SinkError::Unsupported {
            table: table.name.clone(),
            what,
        })
    };
    if state.protocol.min_reader_version > PROTOCOL.min_reader_version
        || state.protocol.min_writer_version > PROTOCOL.min_writer_version
    {
        return refuse(
            "another program raised its Delta protocol version; restore it from a copy or move the \
             table away"
                .to_owned(),
        );
    }
    if state
        .meta_data
        .configuration
        .contains_key("delta.setTransactionRetentionDuration")
    {
        return refuse(
            "delta.setTransactionRetentionDuration is set, which lets the offset expire; unset \
             that property"
                .to_owned(),
        );
    }
    let Some(found) = schema_types(&state.meta_data.schema_string) else {
        return refuse("its schema cannot be read".to_owned());
    };
    for (name, kind) in found {
        match table.column(&name) {
            Some(column) if delta_type(column.kind) == kind => {}
            Some(column) => {
                return refuse(format!(
                    "column {name} is {kind} and must be {}",
                    delta_type(column.kind)
                ));
            }
            None => {
                return refuse(format!(
                    "column {name} is not known to this version of headframe; run the version that \
                     wrote it"
                ));
            }
        }
    }
    Ok(())
}

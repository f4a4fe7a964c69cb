//! Tables of the catalogue that are made here: the settings, the roles, and those without rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use headframe_query_front::wire::postgres::settings::DEFAULTS;

use crate::catalog::CATALOG;

/// The number of the owner of everything.
pub const OWNER: i32 = 10;

/// What a session begins with. What it has changed is told by `SHOW` and `current_setting()`.
pub fn settings() -> Result<RecordBatch> {
    let text = |value: fn(&(&str, &str)) -> Option<String>| -> ArrayRef {
        Arc::new(DEFAULTS.iter().map(value).collect::<StringArray>())
    };
    let some = |value: &(&str, &str)| Some(value.1.to_owned());
    let none = |_: &(&str, &str)| None;
    let no: ArrayRef = Arc::new(BooleanArray::from(vec![false; DEFAULTS.len()]));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", text(|value| Some(value.0.to_owned()))),
        ("setting", text(some)),
        ("unit", text(none)),
        ("category", text(|_| Some("Session".to_owned()))),
        ("short_desc", text(|_| Some(String::new()))),
        ("extra_desc", text(none)),
        ("context", text(|_| Some("user".to_owned()))),
        ("vartype", text(|_| Some("string".to_owned()))),
        ("source", text(|_| Some("default".to_owned()))),
        ("min_val", text(none)),
        ("max_val", text(none)),
        ("enumvals", text(none)),
        ("boot_val", text(some)),
        ("reset_val", text(some)),
        ("sourcefile", text(none)),
        (
            "sourceline",
            new_null_array(&DataType::Int32, DEFAULTS.len()),
        ),
        ("pending_restart", no),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?)
}

/// The owner of everything, who cannot log in. Who can is told to nobody.
pub fn roles() -> Result<RecordBatch> {
    let no = || -> ArrayRef { Arc::new(BooleanArray::from(vec![false])) };
    let number = |value: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![value])) };
    let text = |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let list = DataType::new_list(DataType::Utf8, true);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("oid", number(OWNER)),
        ("rolname", text(Some(CATALOG))),
        ("rolsuper", no()),
        ("rolinherit", no()),
        ("rolcreaterole", no()),
        ("rolcreatedb", no()),
        ("rolcanlogin", no()),
        ("rolreplication", no()),
        ("rolconnlimit", number(-1)),
        ("rolpassword", text(None)),
        ("rolvaliduntil", text(None)),
        ("rolbypassrls", no()),
        ("rolconfig", new_null_array(&list, 1)),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?)
}

/// What older clients read for the owner of a table.
pub const USERS: [&str; 2] = ["pg_user", "pg_shadow"];

/// The same owner as a user.
pub fn users() -> Result<RecordBatch> {
    let no = || -> ArrayRef { Arc::new(BooleanArray::from(vec![false])) };
    let text = |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let list = DataType::new_list(DataType::Utf8, true);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("usename", text(Some(CATALOG))),
        ("usesysid", Arc::new(Int32Array::from(vec![OWNER]))),
        ("usecreatedb", no()),
        ("usesuper", no()),
        ("userepl", no()),
        ("usebypassrls", no()),
        ("passwd", text(None)),
        ("valuntil", text(None)),
        ("useconfig", new_null_array(&list, 1)),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?)
}

/// Tables that clients ask for and that have no rows here.
pub const EMPTY: &[(&str, &[(&str, DataType)])] = &[
    (
        "pg_stat_activity",
        &[
            ("datid", DataType::Int32),
            ("datname", DataType::Utf8),
            ("pid", DataType::Int32),
            ("usename", DataType::Utf8),
            ("application_name", DataType::Utf8),
            ("client_addr", DataType::Utf8),
            ("state", DataType::Utf8),
            ("query", DataType::Utf8),
            ("backend_type", DataType::Utf8),
        ],
    ),
    (
        "pg_cursors",
        &[
            ("name", DataType::Utf8),
            ("statement", DataType::Utf8),
            ("is_holdable", DataType::Boolean),
        ],
    ),
    (
        "pg_prepared_statements",
        &[("name", DataType::Utf8), ("statement", DataType::Utf8)],
    ),
    (
        "pg_locks",
        &[
            ("locktype", DataType::Utf8),
            ("pid", DataType::Int32),
            ("granted", DataType::Boolean),
        ],
    ),
    (
        "pg_indexes",
        &[
            ("schemaname", DataType::Utf8),
            ("tablename", DataType::Utf8),
            ("indexname", DataType::Utf8),
            ("tablespace", DataType::Utf8),
            ("indexdef", DataType::Utf8),
        ],
    ),
    (
        "pg_available_extensions",
        &[
            ("name", DataType::Utf8),
            ("default_version", DataType::Utf8),
            ("installed_version", DataType::Utf8),
            ("comment", DataType::Utf8),
        ],
    ),
    (
        "pg_policies",
        &[
            ("schemaname", DataType::Utf8),
            ("tablename", DataType::Utf8),
            ("policyname", DataType::Utf8),
            ("permissive", DataType::Utf8),
            ("cmd", DataType::Utf8),
            ("qual", DataType::Utf8),
            ("with_check", DataType::Utf8),
        ],
    ),
    (
        "pg_sequences",
        &[
            ("schemaname", DataType::Utf8),
            ("sequencename", DataType::Utf8),
            ("sequenceowner", DataType::Utf8),
            ("data_type", DataType::Utf8),
            ("last_value", DataType::Int64),
        ],
    ),
    (
        "pg_rules",
        &[
            ("schemaname", DataType::Utf8),
            ("tablename", DataType::Utf8),
            ("rulename", DataType::Utf8),
            ("definition", DataType::Utf8),
        ],
    ),
];

/// Whether a table of the catalogue has this name and is made here alone.
pub fn is_ours(name: &str) -> bool {
    USERS.contains(&name) || EMPTY.iter().any(|(empty, _)| *empty == name)
}

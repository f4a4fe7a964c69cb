//! Functions of PostgreSQL that clients call and `datafusion-pg-catalog` has not.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, new_empty_array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, not_impl_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::pg_catalog::time_bucket;

/// The numbers of relations and what is known of them.
#[derive(Debug, Default)]
pub struct Relations {
    /// The number of each relation by its name.
    pub numbers: HashMap<String, i32>,
    /// What a relation (column 0) or a column means.
    pub comments: HashMap<(i32, i32), String>,
}

/// The version that `version()` tells: of the catalogue, and of ours.
fn version() -> String {
    format!(
        "PostgreSQL {} (Headframe {})",
        headframe_query_front::wire::postgres::settings::SERVER_VERSION,
        env!("CARGO_PKG_VERSION")
    )
}

/// All of them.
pub fn all(relations: &Arc<Relations>) -> Vec<ScalarUDF> {
    let mut all = fixed();
    all.push(time_bucket::function());
    all.extend(["json_build_object", "jsonb_build_object"].map(|name| {
        ScalarUDF::new_from_impl(Uncallable {
            name,
            signature: Signature::variadic_any(Volatility::Volatile),
        })
    }));
    all.extend([
        of_relations(
            "obj_description",
            DataType::Utf8,
            relations,
            |relations, args, row| comment(relations, int(args.first()?, row)?, 0),
        ),
        of_relations(
            "col_description",
            DataType::Utf8,
            relations,
            |relations, args, row| {
                comment(relations, int(args.first()?, row)?, int(args.get(1)?, row)?)
            },
        ),
        of_relations(
            "quote_literal",
            DataType::Utf8,
            relations,
            |_, args, row| {
                Some(format!(
                    "'{}'",
                    text(args.first()?, row)?.replace('\'', "''")
                ))
            },
        ),
        of_relations(
            "pg_size_pretty",
            DataType::Utf8,
            relations,
            |_, args, row| Some(format!("{} bytes", text(args.first()?, row)?)),
        ),
        of_relations("format", DataType::Utf8, relations, |_, args, row| {
            formatted(args, row)
        }),
        of_relations(
            "pg_char_to_encoding",
            DataType::Int32,
            relations,
            |_, args, row| {
                let name = text(args.first()?, row)?.to_ascii_uppercase();
                Some(if name.starts_with("UTF") { "6" } else { "-1" }.to_owned())
            },
        ),
    ]);
    all
}

/// Functions that have nothing to tell here.
const ABSENT: [&str; 21] = [
    "shobj_description",
    "pg_advisory_unlock_all",
    "pg_describe_object",
    "pg_get_expr",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_function_sqlbody",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_ruledef",
    "pg_get_serial_sequence",
    "pg_get_statisticsobjdef",
    "pg_get_triggerdef",
    "pg_get_viewdef",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "pg_postmaster_start_time",
    "txid_current_if_assigned",
];

/// Functions whose value depends on nothing.
fn fixed() -> Vec<ScalarUDF> {
    let text = |value: &str| ScalarValue::Utf8(Some(value.to_owned()));
    let none = || ScalarValue::Utf8(None);
    let yes = || ScalarValue::Boolean(Some(true));
    let no = || ScalarValue::Boolean(Some(false));
    let zero = || ScalarValue::Int64(Some(0));
    let mut all: Vec<(&'static str, ScalarValue)> = vec![
        ("pg_is_in_recovery", no()),
        ("pg_is_other_temp_schema", no()),
        ("pg_cancel_backend", no()),
        ("pg_terminate_backend", no()),
        ("pg_try_advisory_lock", yes()),
        ("row_security_active", no()),
        ("pg_relation_is_publishable", no()),
        ("pg_has_role", yes()),
        ("pg_my_temp_schema", ScalarValue::Int32(Some(0))),
        ("pg_database_size", zero()),
        ("pg_table_size", zero()),
        ("pg_indexes_size", zero()),
        ("pg_tablespace_size", zero()),
        ("txid_current", zero()),
        ("getdatabaseencoding", text("UTF8")),
        ("pg_client_encoding", text("UTF8")),
        ("pg_tablespace_location", text("")),
        ("version", text(&version())),
    ];
    let visible = [
        "pg_type_is_visible",
        "pg_function_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_collation_is_visible",
        "pg_conversion_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
        "has_column_privilege",
        "has_function_privilege",
        "has_language_privilege",
        "has_sequence_privilege",
        "has_tablespace_privilege",
        "has_type_privilege",
    ];
    all.extend(visible.map(|name| (name, yes())));
    all.extend(ABSENT.map(|name| (name, none())));
    let function = |(name, value)| ScalarUDF::new_from_impl(Fixed::new(name, value));
    all.into_iter().map(function).collect()
}

/// `format('%s, %I, %L and %%', …)`.
fn formatted(args: &[ArrayRef], row: usize) -> Option<String> {
    let (form, values) = args.split_first()?;
    let form = text(form, row)?;
    let mut values = values.iter().map(|value| text(value, row));
    let mut written = String::new();
    let mut chars = form.chars();
    while let Some(char) = chars.next() {
        match (char, if char == '%' { chars.next() } else { None }) {
            ('%', Some('s')) => written += &values.next()?.unwrap_or_default(),
            ('%', Some('I')) => {
                written += &format!("\"{}\"", values.next()??.replace('"', "\"\""));
            }
            ('%', Some('L')) => match values.next()? {
                Some(value) => written += &format!("'{}'", value.replace('\'', "''")),
                None => written += "NULL",
            },
            ('%', other) => written.extend(other),
            (char, _) => written.push(char),
        }
    }
    Some(written)
}

fn comment(relations: &Relations, relation: i32, column: i32) -> Option<String> {
    relations.comments.get(&(relation, column)).cloned()
}

/// A function that gives the same whatever it is asked.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Fixed {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl Fixed {
    /// Of this name and value.
    pub fn new(name: &'static str, value: ScalarValue) -> Self {
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        Self {
            name,
            value,
            signature: Signature::one_of(any, Volatility::Stable),
        }
    }
}

impl ScalarUDFImpl for Fixed {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

/// A function that clients name for rows that are not there.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Uncallable {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Uncallable {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.number_rows {
            0 => Ok(ColumnarValue::Array(new_empty_array(&DataType::Utf8))),
            _ => not_impl_err!("{} is not a function of this server", self.name),
        }
    }
}

/// The value of one row, whose arguments are text; `None` is NULL.
type OfRow = fn(&Relations, &[ArrayRef], usize) -> Option<String>;

/// A function that is told what there is.
#[derive(Debug)]
struct OfRelations {
    name: &'static str,
    returns: DataType,
    relations: Arc<Relations>,
    of_row: OfRow,
    signature: Signature,
}

fn of_relations(
    name: &'static str,
    returns: DataType,
    relations: &Arc<Relations>,
    of_row: OfRow,
) -> ScalarUDF {
    ScalarUDF::new_from_impl(OfRelations {
        name,
        returns,
        relations: relations.clone(),
        of_row,
        signature: Signature::variadic_any(Volatility::Stable),
    })
}

impl PartialEq for OfRelations {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OfRelations {}

impl Hash for OfRelations {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for OfRelations {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let text = |array: &ArrayRef| cast(array, &DataType::Utf8);
        let arrays = arrays.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let rows = arrays.first().map_or(1, |array| array.len());
        let value = |row| (self.of_row)(&self.relations, &arrays, row);
        let values: StringArray = (0..rows).map(value).collect();
        Ok(ColumnarValue::Array(cast(&values, &self.returns)?))
    }
}

fn text(array: &ArrayRef, row: usize) -> Option<String> {
    let texts: &StringArray = array.as_string();
    texts.is_valid(row).then(|| texts.value(row).to_owned())
}

fn int(array: &ArrayRef, row: usize) -> Option<i32> {
    text(array, row)?.parse().ok()
}

//! Numbers and names of what the catalogue lists, as the types `regclass`, `regtype`, `regproc`,
//! `regnamespace` and `regrole` turn one into the other.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// A type whose values are numbers and are written as names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegType {
    /// A table or view.
    Class,
    /// A type.
    Type,
    /// A function.
    Proc,
    /// A schema.
    Namespace,
    /// A role.
    Role,
}

impl RegType {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Class,
        Self::Type,
        Self::Proc,
        Self::Namespace,
        Self::Role,
    ];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Class => "regclass",
            Self::Type => "regtype",
            Self::Proc => "regproc",
            Self::Namespace => "regnamespace",
            Self::Role => "regrole",
        }
    }

    /// The function that makes a number of a name, as PostgreSQL calls it.
    pub fn input(self) -> &'static str {
        match self {
            Self::Class => "regclassin",
            Self::Type => "regtypein",
            Self::Proc => "regprocin",
            Self::Namespace => "regnamespacein",
            Self::Role => "regrolein",
        }
    }

    /// The function that makes a name of a number.
    pub fn output(self) -> &'static str {
        match self {
            Self::Class => "regclassout",
            Self::Type => "regtypeout",
            Self::Proc => "regprocout",
            Self::Namespace => "regnamespaceout",
            Self::Role => "regroleout",
        }
    }

    /// The function that clients call for the same.
    fn lookup(self) -> &'static str {
        match self {
            Self::Class => "to_regclass",
            Self::Type => "to_regtype",
            Self::Proc => "to_regproc",
            Self::Namespace => "to_regnamespace",
            Self::Role => "to_regrole",
        }
    }
}

/// Columns of `pg_type` that name functions: numbers that are shown as names.
pub const PROC_COLUMNS: [&str; 8] = [
    "typinput",
    "typoutput",
    "typreceive",
    "typsend",
    "typmodin",
    "typmodout",
    "typanalyze",
    "typsubscript",
];

/// Numbers by their names, and names by their numbers.
#[derive(Debug, Default)]
struct Listing {
    numbers: HashMap<String, i32>,
    names: HashMap<i32, String>,
}

/// Names of everything.
#[derive(Debug, Default)]
pub struct Names {
    of: HashMap<RegType, Listing>,
}

impl Names {
    /// Takes in what a table of the catalogue lists. Of two that have the same name the first is
    /// found.
    pub fn list(&mut self, kind: RegType, batch: &RecordBatch, name: &str) -> Result<()> {
        let missing = || DataFusionError::Internal(format!("the catalogue has no column {name}"));
        let numbers = batch.column_by_name("oid").ok_or_else(missing)?;
        let numbers = numbers.as_primitive::<Int32Type>();
        let names = cast(
            batch.column_by_name(name).ok_or_else(missing)?,
            &DataType::Utf8,
        )?;
        let names: &StringArray = names.as_string();
        let listed = self.of.entry(kind).or_default();
        for row in 0..batch.num_rows() {
            let (number, name) = (numbers.value(row), names.value(row));
            listed.numbers.entry(name.to_owned()).or_insert(number);
            listed.names.insert(number, name.to_owned());
        }
        Ok(())
    }

    /// The number of a name as it is written in SQL; a number in digits is itself.
    pub fn number(&self, kind: RegType, text: &str) -> Option<i32> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Some(number);
        }
        if text == "-" {
            return Some(0);
        }
        let listed = self.of.get(&kind)?;
        if kind == RegType::Type {
            return listed.numbers.get(&type_name(text)).copied();
        }
        let name = text.rsplit('.').next()?.split('(').next()?;
        listed.numbers.get(&unquoted(name)).copied()
    }

    /// The name of a number; the number itself where nothing has it.
    pub fn name(&self, kind: RegType, number: i32) -> String {
        if number == 0 {
            return "-".to_owned();
        }
        let name = self.of.get(&kind).and_then(|of| of.names.get(&number));
        let Some(name) = name else {
            return number.to_string();
        };
        match kind {
            RegType::Type => long_type_name(name),
            _ => name.clone(),
        }
    }
}

fn unquoted(name: &str) -> String {
    match name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
    {
        Some(name) => name.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

/// Names of types in the standard, and PostgreSQL's own.
const LONG_NAMES: &[(&str, &str)] = &[
    ("boolean", "bool"),
    ("smallint", "int2"),
    ("integer", "int4"),
    ("int", "int4"),
    ("bigint", "int8"),
    ("real", "float4"),
    ("double precision", "float8"),
    ("float", "float8"),
    ("decimal", "numeric"),
    ("character varying", "varchar"),
    ("character", "bpchar"),
    ("\"char\"", "char"),
    ("timestamp without time zone", "timestamp"),
    ("timestamp with time zone", "timestamptz"),
    ("time without time zone", "time"),
    ("time with time zone", "timetz"),
    ("bit varying", "varbit"),
];

/// The name under which the catalogue lists a type.
fn type_name(text: &str) -> String {
    let text = text.strip_prefix("pg_catalog.").unwrap_or(text);
    let (text, is_array) = match text.strip_suffix("[]") {
        Some(item) => (item, true),
        None => (text, false),
    };
    let without_modifier = text.split('(').next().unwrap_or(text).trim().to_lowercase();
    let mut long = LONG_NAMES.iter();
    let name = match long.find(|(long, _)| *long == without_modifier) {
        Some((_, name)) => (*name).to_owned(),
        None => unquoted(text.split('(').next().unwrap_or(text).trim()),
    };
    match is_array {
        true => format!("_{name}"),
        false => name,
    }
}

/// The name that a type is shown by.
fn long_type_name(name: &str) -> String {
    let (item, end) = match name.strip_prefix('_') {
        Some(item) => (item, "[]"),
        None => (name, ""),
    };
    let shown = LONG_NAMES
        .iter()
        .filter(|(long, _)| !matches!(*long, "int" | "float" | "decimal"));
    let long = shown.into_iter().find(|(_, short)| *short == item);
    format!("{}{end}", long.map_or(item, |(long, _)| long))
}

/// The functions that turn names into numbers and back.
pub fn functions(names: &Arc<Names>) -> Vec<ScalarUDF> {
    let function = |name, kind, gives_names| {
        ScalarUDF::new_from_impl(RegFunction {
            name,
            kind,
            gives_names,
            names: names.clone(),
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    };
    let of_kind = |kind: RegType| {
        [
            function(kind.input(), kind, false),
            function(kind.lookup(), kind, false),
            function(kind.output(), kind, true),
        ]
    };
    let format_type = function("format_type", RegType::Type, true);
    let of_kinds = RegType::ALL.into_iter().flat_map(of_kind);
    of_kinds.chain([format_type]).collect()
}

/// A type with its modifier, as PostgreSQL packs it.
fn with_modifier(name: String, modifier: Option<i32>) -> String {
    let Some(modifier) = modifier.filter(|modifier| *modifier >= 4) else {
        return name;
    };
    let modifier = modifier - 4;
    match name.as_str() {
        "numeric" => format!("numeric({},{})", modifier >> 16, modifier & 0x7ff),
        "character varying" | "character" => format!("{name}({modifier})"),
        _ => name,
    }
}

/// Gives the number of a name, or the name of a number.
#[derive(Debug)]
struct RegFunction {
    name: &'static str,
    kind: RegType,
    gives_names: bool,
    names: Arc<Names>,
    signature: Signature,
}

impl PartialEq for RegFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for RegFunction {}

impl Hash for RegFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for RegFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.gives_names {
            true => DataType::Utf8,
            false => DataType::Int32,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(given) = arrays.first() else {
            return Err(DataFusionError::Plan(format!(
                "{} needs a value",
                self.name
            )));
        };
        let given = cast(given, &DataType::Utf8)?;
        let given: &StringArray = given.as_string();
        let number = |text: &str| self.names.number(self.kind, text);
        Ok(ColumnarValue::Array(match self.gives_names {
            true => {
                let modifiers = arrays.get(1).filter(|_| self.kind == RegType::Type);
                let modifiers = modifiers.map(|given| cast(given, &DataType::Int32));
                let modifiers = modifiers.transpose()?;
                let modifiers = modifiers
                    .as_ref()
                    .map(|given| given.as_primitive::<Int32Type>());
                let name = |(row, text): (usize, Option<&str>)| {
                    let modifier =
                        modifiers.and_then(|given| given.is_valid(row).then(|| given.value(row)));
                    let name = self.names.name(self.kind, number(text?)?);
                    Some(with_modifier(name, modifier))
                };
                let names = given.iter().enumerate().map(name);
                Arc::new(names.collect::<StringArray>())
            }
            false => {
                let numbers = given.iter().map(|text| text.and_then(number));
                Arc::new(numbers.collect::<Int32Array>())
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_every_name_they_have() {
        for (text, expected) in [
            ("int8", "int8"),
            ("BIGINT", "int8"),
            ("pg_catalog.int4[]", "_int4"),
            ("double precision[]", "_float8"),
            ("character varying(20)", "varchar"),
            ("\"char\"", "char"),
        ] {
            assert_eq!(type_name(text), expected, "{text}");
        }
        assert_eq!(long_type_name("_int8"), "bigint[]");
        assert_eq!(long_type_name("text"), "text");
        let whole = (38 << 16) + 4;
        let shown = with_modifier(long_type_name("numeric"), Some(whole));
        assert_eq!(shown, "numeric(38,0)");
    }
}

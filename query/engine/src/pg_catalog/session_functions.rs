//! Functions that know whose session it is: its user, its number and its settings.

use std::collections::BTreeMap;

use arrow::array::{AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use headframe_query_front::sql::PostgresStatement;
use headframe_query_front::wire::postgres::settings::DEFAULTS;

/// A function of one session.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SessionFunction {
    name: &'static str,
    gives: Gives,
    signature: Signature,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Gives {
    /// This text.
    Text(String),
    /// This number.
    Number(i32),
    /// The setting that is named.
    Setting(BTreeMap<String, String>),
    /// The value that a setting is said to have; SET alone changes it.
    NewSetting,
}

/// All of them for this session.
pub fn all(statement: &PostgresStatement) -> Vec<SessionFunction> {
    let mut settings: BTreeMap<String, String> = DEFAULTS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    settings.insert("session_authorization".to_owned(), statement.user.clone());
    settings.extend(statement.settings.clone());
    [
        ("session_user", Gives::Text(statement.user.clone())),
        ("pg_backend_pid", Gives::Number(statement.backend)),
        ("current_setting", Gives::Setting(settings)),
        ("set_config", Gives::NewSetting),
    ]
    .into_iter()
    .map(|(name, gives)| SessionFunction {
        name,
        gives,
        signature: Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            Volatility::Stable,
        ),
    })
    .collect()
}

impl ScalarUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.gives {
            Gives::Number(_) => DataType::Int32,
            _ => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let settings = match &self.gives {
            Gives::Text(text) => return Ok(ColumnarValue::Scalar(text.as_str().into())),
            Gives::Number(number) => return Ok(ColumnarValue::Scalar((*number).into())),
            Gives::Setting(settings) => Some(settings),
            Gives::NewSetting => None,
        };
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let wanted = match (settings, arrays.as_slice()) {
            (Some(_), [name, ..]) => name,
            (None, [_, value, ..]) => value,
            _ => return exec_err!("{} needs the name of a setting", self.name),
        };
        // current_setting(name, missing_ok)
        let missing_ok = arrays.len() > 1;
        let wanted = cast(wanted, &DataType::Utf8)?;
        let wanted: &StringArray = wanted.as_string();
        let value = |name: Option<&str>| -> Result<Option<String>> {
            let (Some(name), Some(settings)) = (name, settings) else {
                return Ok(name.map(str::to_owned));
            };
            match settings.get(&name.to_lowercase()) {
                Some(value) => Ok(Some(value.clone())),
                None if missing_ok => Ok(None),
                None => exec_err!("there is no setting {name}"),
            }
        };
        let values = wanted.iter().map(value).collect::<Result<StringArray>>()?;
        Ok(ColumnarValue::Array(std::sync::Arc::new(values)))
    }
}

//! Numbers in the JSON of devices, which write them as numbers or as text, and have many ways to
//! say that there is none.

use bytes::Bytes;
use serde_json::Value;

/// A document. The error says where it breaks.
pub fn document(answer: Option<&Option<Bytes>>) -> Result<Value, String> {
    let body = answer
        .and_then(Option::as_ref)
        .ok_or("there is no answer to read")?;
    serde_json::from_slice(body).map_err(|error| format!("the answer is not JSON: {error}"))
}

/// A finite number, or the text of one. Empty text, dashes, `nan` and `inf` are none.
pub fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text_number(text),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// The number that a text begins and ends with; a unit after it is no number.
pub fn text_number(text: &str) -> Option<f64> {
    let text = text.trim();
    // Rust reads "infinity" and "nan" as numbers.
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let is_plain = text.chars().all(plain) && text.chars().any(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// The number of the first of these keys that the object has one for.
pub fn first_number(object: &Value, keys: &[&str]) -> Option<f64> {
    keys.iter()
        .find_map(|key| object.get(*key).and_then(number))
}

/// The number of a key.
pub fn number_at(object: &Value, key: &str) -> Option<f64> {
    object.get(key).and_then(number)
}

/// What a value says about progress: any plain value as text.
pub fn progress(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if !text.trim().is_empty() => Some(text.chars().take(64).collect()),
        _ => None,
    }
}

/// Degrees Celsius from Fahrenheit.
pub fn celsius(fahrenheit: f64) -> f64 {
    (fahrenheit - 32.0) / 1.8
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_reading_is_none_and_never_zero() {
        for none in [
            json!(""),
            json!("---"),
            json!("x.x"),
            json!("nan"),
            json!("inf"),
            json!("12 W"),
            json!(null),
            json!(true),
            json!([]),
            json!("1e999"),
            json!("e"),
        ] {
            assert_eq!(number(&none), None, "{none}");
        }
        assert_eq!(number(&json!(" 23.50 ")), Some(23.5));
        assert_eq!(number(&json!(0)), Some(0.0), "a real zero is a reading");
        assert_eq!(number(&json!("-4")), Some(-4.0));
    }
}

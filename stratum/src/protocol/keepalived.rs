//! `keepalived`: sent by XMRig after a minute of silence; a pool that does not answer it loses the
//! connection.

use serde_json::{Value, json};

/// The method's name.
pub const METHOD: &str = "keepalived";

/// The answer.
pub fn answer(id: &Value) -> String {
    super::answer::result(id, &json!({"status": "KEEPALIVED"}))
}

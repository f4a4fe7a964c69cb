//! Requests for subscriptions: begins that there are not, columns that there are not, conditions
//! that are none.

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use headframe_schemas::stream::shares::Shares;
use headframe_schemas::table::visible_columns;

use super::front::{ask, query_string};

/// The first byte chooses what the rest is.
pub fn run(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let value = query_string(rest, false);
    let query = match choice % 6 {
        0 => query_string(rest, true),
        1 => format!("where={value}"),
        2 => format!("columns={value}"),
        3 => format!("after={value}"),
        4 => format!("from={value}"),
        _ => String::new(),
    };
    let path = format!("/api/v1/streams/shares/rows?{query}");
    let mut request = Request::get(path).header("host", "127.0.0.1");
    if choice % 6 == 5 {
        let Ok(value) = HeaderValue::from_bytes(rest) else {
            return;
        };
        request = request.header("last-event-id", value);
    }
    let Ok(request) = request.body(Body::empty()) else {
        return;
    };
    let answer = ask(request, true);
    let status = answer.status.as_u16();
    assert!(
        status == 200 || (400..500).contains(&status),
        "{status} for {query}"
    );
    let text = std::str::from_utf8(rest);
    match (choice % 6, status) {
        (1, 200) => panic!("the engine of this test takes no condition: {query}"),
        (2, 200) => {
            let text = text.expect("columns are text");
            let known = visible_columns(&Shares);
            for name in text.split(',') {
                let is_known = known.iter().any(|column| column.name == name.trim());
                assert!(is_known, "{name:?} is no column");
            }
        }
        // The stream is empty, so that only its beginning is a place in it.
        (3, 200) => assert!(is_beginning(text.unwrap_or_default()), "{query}"),
        (5, 200) => {
            let text = text.unwrap_or_default();
            let text = text.trim_matches([' ', '\t']);
            assert!(text.is_empty() || is_beginning(text), "{text:?}");
        }
        _ => {}
    }
}

/// Whether it names the place before all messages, or a row of the message before the first.
fn is_beginning(text: &str) -> bool {
    let is_zero = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte == b'0');
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((seq, row)) => is_zero(seq) && is_number(row),
        None => is_zero(text),
    }
}

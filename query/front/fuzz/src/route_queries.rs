//! Query strings of every route that is asked with GET.

use axum::body::Body;
use axum::http::{Method, Request};
use headframe_query_front::route;
use serde_json::Value;

use super::front::{ask, query_string};

/// The first byte chooses the route, and the rest is the query string.
pub fn run(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let routes: Vec<_> = route::ALL
        .iter()
        .filter(|route| route.method == Method::GET)
        .collect();
    let route = routes[usize::from(*choice) % routes.len()];
    let path = route
        .path
        .replace("{stream}", "shares")
        .replace("{address}", "4Ann")
        .replace("{hash}", &"ab".repeat(32));
    let uri = format!("{path}?{}", query_string(rest, true));
    let request = Request::get(&uri).header("host", "127.0.0.1");
    let Ok(request) = request.body(Body::empty()) else {
        return;
    };
    // Subscriptions go on.
    let answer = ask(request, true);
    let status = answer.status.as_u16();
    assert!(status < 500, "{status} for {uri}");
    if status < 400 {
        return;
    }
    let error: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    for part in ["code", "message", "hint"] {
        let text = error["error"][part].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{uri} is refused without a {part}");
    }
}

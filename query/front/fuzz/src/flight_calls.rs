//! Calls of Flight: tickets, commands, actions and rows, as the body of a call has them.

use axum::body::Body;
use axum::http::Request;

use super::front::ask;

/// The calls.
const CALLS: &[&str] = &[
    "GetFlightInfo",
    "DoGet",
    "DoAction",
    "DoPut",
    "GetSchema",
    "PollFlightInfo",
    "ListFlights",
    "ListActions",
    "Handshake",
    "DoExchange",
];

/// The first byte chooses the call, and the rest is its only message. With its highest bit set the
/// rest is the body as it is, whose lengths may say anything.
pub fn run(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let call = CALLS[usize::from(choice & 0x7f) % CALLS.len()];
    let mut body = Vec::with_capacity(rest.len() + 5);
    if choice & 0x80 == 0 {
        body.push(0);
        body.extend((rest.len() as u32).to_be_bytes());
    }
    body.extend_from_slice(rest);
    let request = Request::post(format!("/arrow.flight.protocol.FlightService/{call}"))
        .header("host", "127.0.0.1")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::from(body));
    let Ok(request) = request else { return };
    let answer = ask(request, false);
    assert_eq!(answer.status.as_u16(), 200, "{call} has a status of HTTP");
    let status = answer.headers.get("grpc-status");
    let status = status.or_else(|| answer.trailers.get("grpc-status"));
    let code = status.and_then(|code| code.to_str().ok()?.parse::<u8>().ok());
    assert!(
        code.is_some_and(|code| code <= 16),
        "{call} has no status: {status:?}"
    );
}

//! Which requests are calls of gRPC. Their bodies are streams of messages, so that the wire that
//! answers them limits how long they take.

use axum::http::Uri;

/// What the paths of Flight's calls begin with.
const FLIGHT: &str = "/arrow.flight.protocol.FlightService/";

/// The name of the call that a request of this address is, if it is one.
pub(crate) fn call_of(uri: &Uri) -> Option<&str> {
    uri.path().strip_prefix(FLIGHT)
}

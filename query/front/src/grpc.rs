//! Which requests are calls of gRPC. Their bodies are streams of messages, so that the wire that
//! answers them limits how long they take.

use axum::http::Uri;
use headframe_schemas::resource::proto;

/// What the paths of Flight's calls begin with.
const FLIGHT: &str = "/arrow.flight.protocol.FlightService/";

/// Whether a request of this address is a call that a wire limits itself.
pub(crate) fn is_call(uri: &Uri) -> bool {
    let path = uri.path();
    let of_package = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(proto::PACKAGE));
    path.starts_with(FLIGHT) || of_package.is_some_and(|rest| rest.starts_with('.'))
}

/// The name of the call of Flight that a request of this address is, if it is one.
#[cfg(feature = "server")]
pub(crate) fn call_of(uri: &Uri) -> Option<&str> {
    uri.path().strip_prefix(FLIGHT)
}

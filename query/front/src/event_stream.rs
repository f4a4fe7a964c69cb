//! An answer of Server-Sent Events, which goes on until either side ends it.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use futures::stream;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The events that `next` makes of a state, until it makes none. Nobody may keep them.
pub(crate) fn answer<S: Send + 'static, F>(
    state: S,
    next: impl FnMut(S) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    let mut next = next;
    let pieces = stream::unfold(state, move |state| {
        let made = next(state);
        async move {
            let (event, state) = made.await?;
            Some((Ok::<Bytes, std::io::Error>(event), state))
        }
    });
    let mut response = Response::new(Body::from_stream(pieces));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that know it send each event on at once.
        (X_ACCEL_BUFFERING, "no"),
    ] {
        let headers = response.headers_mut();
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

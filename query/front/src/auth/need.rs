//! What a request must carry: nothing, the reader's token, or the operator's.
//!
//! Whatever is not listed as harmless needs the operator, so that a new route which changes
//! something is closed until somebody has thought about it.

use axum::http::Method;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Anybody: probes, which tell nothing about the data.
    Probe,
    /// Anybody, where the pool's pages are public.
    Page,
    /// Whoever may read everything.
    Reader,
    /// Whoever may change something.
    Operator,
}

/// The streams that money follows from: whoever can write them can credit himself.
const MONEY: &[&str] = &["shares", "blocks"];

/// Whether rows of this stream are anybody's who may read. What is not the plain name of a stream
/// is not.
fn harmless(stream: &str) -> bool {
    let plain =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
    !stream.is_empty() && stream.bytes().all(plain) && !MONEY.contains(&stream)
}

/// What this request needs. The path is the one that was sent: whoever answers decodes it only
/// later, so that an encoded one, which could turn into any other, is nobody's but the operator's
/// where something changes.
pub(super) fn of(method: &Method, path: &str) -> Need {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if reads && matches!(path, "/live" | "/ready" | "/health") {
        return Need::Probe;
    }
    if !reads && path.contains('%') {
        return Need::Operator;
    }
    let parts: Vec<&str> = path
        .strip_prefix("/api/v1/")
        .map(|rest| rest.split('/').collect())
        .unwrap_or_default();
    match (reads, parts.as_slice()) {
        (true, ["pool" | "blocks"] | ["payouts", "key"] | ["blocks", _, "payouts"]) => Need::Page,
        (true, ["miners", _] | ["miners", _, "workers" | "payouts" | "payments"]) => Need::Page,
        // It carries a proof of its own: the signature of the address.
        (false, ["miners", _, "threshold"]) if method == Method::POST => Need::Page,
        (true, _) => Need::Reader,
        // SQL only reads; who may ask a question may end it.
        (false, ["sql"]) if method == Method::POST => Need::Reader,
        (false, ["sql", _]) if method == Method::DELETE => Need::Reader,
        (false, ["ingest", stream]) if method == Method::POST && harmless(stream) => Need::Reader,
        (false, _) => Need::Operator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_needs_the_operator() {
        for (method, path, need) in [
            (Method::GET, "/ready", Need::Probe),
            (Method::POST, "/ready", Need::Operator),
            (Method::GET, "/metrics", Need::Reader),
            (Method::GET, "/api/v1/pool", Need::Page),
            (Method::HEAD, "/api/v1/blocks", Need::Page),
            (Method::GET, "/api/v1/blocks/ab/payouts", Need::Page),
            (Method::GET, "/api/v1/payouts/key", Need::Page),
            (Method::GET, "/api/v1/miners/4A", Need::Page),
            (Method::GET, "/api/v1/miners/4A/payments", Need::Page),
            (Method::POST, "/api/v1/miners/4A/threshold", Need::Page),
            (
                Method::DELETE,
                "/api/v1/miners/4A/threshold",
                Need::Operator,
            ),
            (Method::GET, "/api/v1/miners/4A/else", Need::Reader),
            (Method::GET, "/api/v1/ledger", Need::Reader),
            (Method::GET, "/api/v1/payments/state", Need::Reader),
            (Method::GET, "/api/v1/bans", Need::Reader),
            (Method::GET, "/api/v1/sql", Need::Reader),
            (Method::POST, "/api/v1/sql", Need::Reader),
            (Method::DELETE, "/api/v1/sql/q1", Need::Reader),
            (Method::POST, "/api/v1/ingest/sensors", Need::Reader),
            (Method::POST, "/api/v1/ingest/shares", Need::Operator),
            (Method::POST, "/api/v1/ingest/blocks", Need::Operator),
            (Method::POST, "/api/v1/ingest/%73hares", Need::Operator),
            (Method::POST, "/api/v1/ingest/bl%6fcks", Need::Operator),
            (Method::POST, "/api/v1/ingest/%2573hares", Need::Operator),
            (Method::POST, "/api/v1/%69ngest/sensors", Need::Operator),
            (Method::POST, "/api/v1/ingest/Shares", Need::Operator),
            (Method::POST, "/api/v1/ingest/shares/", Need::Operator),
            (Method::POST, "/api/v1/ingest/", Need::Operator),
            (
                Method::POST,
                "/api/v1/miners/4%41/threshold",
                Need::Operator,
            ),
            (Method::DELETE, "/api/v1/sql/q%31", Need::Operator),
            (
                Method::POST,
                "/api/v1/payments/instructions",
                Need::Operator,
            ),
            (Method::POST, "/api/v1/bans", Need::Operator),
            (Method::DELETE, "/api/v1/bans", Need::Operator),
            (Method::PUT, "/api/v1/anything", Need::Operator),
            (Method::POST, "/api/v1/pool/", Need::Operator),
            (Method::GET, "/api/v1/pool/", Need::Reader),
        ] {
            assert_eq!(of(&method, path), need, "{method} {path}");
        }
    }
}

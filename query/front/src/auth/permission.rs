//! What a request must carry: nothing, the reader's token, or the operator's.
//!
//! Whatever is not listed as harmless needs the operator, so that a new route which changes
//! something is closed until somebody has thought about it.

use axum::http::Method;
use headframe_schemas::{WritePermission, stream};

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// Anybody: probes, which tell nothing about the data.
    Probe,
    /// Anybody, where the pool's pages are public.
    Page,
    /// Whoever may read everything.
    Reader,
    /// Whoever may change something.
    Operator,
}

/// Whether whoever may read may also send rows of this stream. The stream itself decides; a name
/// that is no stream's needs the operator.
fn readers_may_write(name: &str) -> bool {
    stream::find(name).is_some_and(|stream| stream.write_permission() == WritePermission::Producer)
}

/// What this request needs. The path is the one that was sent: whoever answers decodes it only
/// later, so that an encoded one, which could turn into any other, is nobody's but the operator's
/// where something changes.
pub(super) fn required(method: &Method, path: &str) -> Permission {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if reads && matches!(path, "/live" | "/ready" | "/health") {
        return Permission::Probe;
    }
    if !reads && path.contains('%') {
        return Permission::Operator;
    }
    let parts: Vec<&str> = path
        .strip_prefix("/api/v1/")
        .map(|rest| rest.split('/').collect())
        .unwrap_or_default();
    match (reads, parts.as_slice()) {
        (true, ["pool" | "blocks"] | ["payouts", "key"] | ["blocks", _, "payouts"]) => {
            Permission::Page
        }
        (true, ["miners", _] | ["miners", _, "workers" | "payouts" | "payments"]) => {
            Permission::Page
        }
        // It carries a proof of its own: the signature of the address.
        (false, ["miners", _, "threshold"]) if method == Method::POST => Permission::Page,
        (true, _) => Permission::Reader,
        // SQL only reads; who may ask a question may end it.
        (false, ["sql"]) if method == Method::POST => Permission::Reader,
        (false, ["sql", _]) if method == Method::DELETE => Permission::Reader,
        (false, ["ingest", stream]) if method == Method::POST && readers_may_write(stream) => {
            Permission::Reader
        }
        (false, _) => Permission::Operator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_needs_the_operator() {
        for (method, path, permission) in [
            (Method::GET, "/ready", Permission::Probe),
            (Method::POST, "/ready", Permission::Operator),
            (Method::GET, "/metrics", Permission::Reader),
            (Method::GET, "/api/v1/pool", Permission::Page),
            (Method::HEAD, "/api/v1/blocks", Permission::Page),
            (Method::GET, "/api/v1/blocks/ab/payouts", Permission::Page),
            (Method::GET, "/api/v1/payouts/key", Permission::Page),
            (Method::GET, "/api/v1/miners/4A", Permission::Page),
            (Method::GET, "/api/v1/miners/4A/payments", Permission::Page),
            (
                Method::POST,
                "/api/v1/miners/4A/threshold",
                Permission::Page,
            ),
            (
                Method::DELETE,
                "/api/v1/miners/4A/threshold",
                Permission::Operator,
            ),
            (Method::GET, "/api/v1/miners/4A/else", Permission::Reader),
            (Method::GET, "/api/v1/ledger", Permission::Reader),
            (Method::GET, "/api/v1/payments/state", Permission::Reader),
            (Method::GET, "/api/v1/bans", Permission::Reader),
            (Method::GET, "/api/v1/sql", Permission::Reader),
            (Method::POST, "/api/v1/sql", Permission::Reader),
            (Method::DELETE, "/api/v1/sql/q1", Permission::Reader),
            (Method::POST, "/api/v1/ingest/sensors", Permission::Reader),
            (Method::POST, "/api/v1/ingest/shares", Permission::Operator),
            (Method::POST, "/api/v1/ingest/blocks", Permission::Operator),
            (
                Method::POST,
                "/api/v1/ingest/%73hares",
                Permission::Operator,
            ),
            (
                Method::POST,
                "/api/v1/ingest/bl%6fcks",
                Permission::Operator,
            ),
            (
                Method::POST,
                "/api/v1/ingest/%2573hares",
                Permission::Operator,
            ),
            (
                Method::POST,
                "/api/v1/%69ngest/sensors",
                Permission::Operator,
            ),
            (Method::POST, "/api/v1/ingest/Shares", Permission::Operator),
            (Method::POST, "/api/v1/ingest/shares/", Permission::Operator),
            (Method::POST, "/api/v1/ingest/", Permission::Operator),
            (
                Method::POST,
                "/api/v1/miners/4%41/threshold",
                Permission::Operator,
            ),
            (Method::DELETE, "/api/v1/sql/q%31", Permission::Operator),
            (
                Method::POST,
                "/api/v1/payments/instructions",
                Permission::Operator,
            ),
            (Method::GET, "/api/v1/unproven-blocks", Permission::Reader),
            (
                Method::POST,
                "/api/v1/unproven-blocks",
                Permission::Operator,
            ),
            (Method::POST, "/api/v1/bans", Permission::Operator),
            (Method::DELETE, "/api/v1/bans", Permission::Operator),
            (Method::PUT, "/api/v1/anything", Permission::Operator),
            (Method::POST, "/api/v1/pool/", Permission::Operator),
            (Method::GET, "/api/v1/pool/", Permission::Reader),
        ] {
            assert_eq!(required(&method, path), permission, "{method} {path}");
        }
    }

    #[test]
    fn each_stream_says_itself_who_may_send_its_rows() {
        for stream in stream::ALL {
            let path = format!("/api/v1/ingest/{}", stream.name());
            let expected = match stream.write_permission() {
                WritePermission::Producer => Permission::Reader,
                WritePermission::Operator | WritePermission::Internal => Permission::Operator,
            };
            assert_eq!(required(&Method::POST, &path), expected, "{path}");
        }
        let path = "/api/v1/ingest/nowhere";
        assert_eq!(required(&Method::POST, path), Permission::Operator);
    }
}

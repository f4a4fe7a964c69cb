//! Requests that a web page sends through a visitor's browser, and requests that a proxy passes on.
//!
//! A page of any site can make a browser ask a server on the visitor's machine. Browsers say so in
//! `Sec-Fetch-Site`, also where they send no `Origin`, as for an image.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri, header};

use crate::error::{ErrorCode, QueryError};
use crate::peer::peer_of;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a browser sends for a page of another site.
pub fn check_same_site(headers: &HeaderMap) -> Result<(), QueryError> {
    for value in headers.get_all(SEC_FETCH_SITE) {
        if !matches!(value.as_bytes(), b"same-origin" | b"none") {
            return Err(QueryError::new(
                ErrorCode::ForeignOrigin,
                "a web page of another site sent this request",
                "ask with a program, or open the address in the browser itself",
            ));
        }
    }
    Ok(())
}

/// Refuses what a browser sends for a page of another origin, when it does not say
/// `Sec-Fetch-Site`. A program sends neither.
pub fn check_own_origin(headers: &HeaderMap, uri: &Uri) -> Result<(), QueryError> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    if headers.contains_key(SEC_FETCH_SITE) {
        return Ok(());
    }
    let origin = origin.to_str().unwrap_or("an unreadable origin");
    let named = origin.split_once("://").map(|(_, authority)| authority);
    let host = text(headers, header::HOST).or_else(|| uri.authority().map(|name| name.as_str()));
    match named.is_some() && named == host {
        true => Ok(()),
        false => Err(QueryError::new(
            ErrorCode::ForeignOrigin,
            format!("a web page of {origin} sent this request"),
            "send it from a page of this server, or with a program",
        )),
    }
}

/// Refuses what does not come straight from a program of this machine: a connection from another
/// one, a foreign host or origin in the headers, or the mark of a proxy, behind which anybody may
/// be. Headers alone prove nothing: whoever sends them chooses them. A request without a connection
/// was made in this process.
pub fn check_local_program(request: &Parts) -> Result<(), QueryError> {
    let (headers, uri) = (&request.headers, &request.uri);
    let peer = peer_of(&request.extensions);
    if let Some(peer) = peer.filter(|peer| !peer.to_canonical().is_loopback()) {
        return Err(foreign_peer(peer));
    }
    let host = text(headers, header::HOST).or_else(|| uri.authority().map(|name| name.as_str()));
    if let Some(host) = host.filter(|host| !is_loopback(host)) {
        return Err(foreign(host));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("an unreadable origin");
        let named = origin.split_once("://").map(|(_, authority)| authority);
        if named.is_none() || named != host {
            return Err(foreign(origin));
        }
    }
    match headers.keys().find(|name| is_of_a_proxy(name)) {
        Some(name) => Err(QueryError::new(
            ErrorCode::Forwarded,
            format!(
                "this server answers programs on its own machine only, and a proxy passed the \
                 request on: it has the header {name}"
            ),
            "set query.token_file before a proxy passes requests on",
        )),
        None => Ok(()),
    }
}

/// Refuses what a browser sends: a page, even one of this machine, gives no orders without a token.
pub fn check_no_origin(headers: &HeaderMap) -> Result<(), QueryError> {
    match headers.get(header::ORIGIN) {
        Some(origin) => Err(foreign(origin.to_str().unwrap_or("an unreadable origin"))),
        None => Ok(()),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_of_a_proxy(name: &HeaderName) -> bool {
    matches!(name.as_str(), "forwarded" | "via" | "x-real-ip")
        || name.as_str().starts_with("x-forwarded-")
}

fn foreign_peer(peer: IpAddr) -> QueryError {
    QueryError::new(
        ErrorCode::ForeignOrigin,
        format!(
            "this server answers programs on its own machine only, and the request comes from \
             {peer}"
        ),
        "ask on the machine itself, or set query.token_file",
    )
}

fn foreign(name: &str) -> QueryError {
    let message = format!(
        "this server answers programs on its own machine only, and the request names {name}"
    );
    QueryError::new(
        ErrorCode::ForeignOrigin,
        message,
        "ask 127.0.0.1 directly, or set query.token_file",
    )
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;

    use axum::extract::ConnectInfo;
    use axum::http::Request;

    use super::{check_local_program, is_loopback};
    use crate::peer::PeerAddress;

    #[test]
    fn headers_do_not_make_a_program_of_another_machine_one_of_this() {
        let request = || Request::get("/").header("host", "localhost:5000");
        for (peer, is_taken) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.168.1.9", false),
            ("::ffff:192.168.1.9", false),
            ("fe80::1", false),
        ] {
            let address = peer.parse().unwrap();
            let ours = request().extension(PeerAddress(address));
            let axums = request().extension(ConnectInfo(SocketAddr::new(address, 4_711)));
            for request in [ours, axums] {
                let (parts, ()) = request.body(()).unwrap().into_parts();
                assert_eq!(check_local_program(&parts).is_ok(), is_taken, "{peer}");
            }
        }
        let (parts, ()) = request().body(()).unwrap().into_parts();
        assert!(check_local_program(&parts).is_ok(), "made in this process");
    }

    #[test]
    fn only_loopback_names_are_this_machine() {
        for name in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(is_loopback(name), "{name}");
        }
        for name in [
            "example.org",
            "10.0.0.1:8080",
            "localhost.example.org",
            "[fe80::1]:80",
            "127.0.0.1.example.org",
            "",
        ] {
            assert!(!is_loopback(name), "{name}");
        }
    }
}

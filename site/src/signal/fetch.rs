//! Fetches a body over HTTP: bounded, and never from another host than the one that is configured.

use bytes::Bytes;
use headframe_ingest::source::HttpRequest;
use url::Url;

use super::ReadContext;

/// Redirections within the host that are followed.
const MOST_REDIRECTIONS: usize = 5;

/// An address that a signal may have. The error names the key.
pub fn checked_url(text: &str) -> Result<Url, String> {
    let hint = || format!("url is {text:?}; write https://host/path");
    let url = Url::parse(text).map_err(|_| hint())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(hint());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("url carries a login; use user and secret_file or secret_env".to_owned());
    }
    Ok(url)
}

/// The body of a GET. Redirections are followed within the same scheme, host and port only. The
/// error is a sentence without the address.
pub async fn body(url: &Url, context: &ReadContext<'_>) -> Result<Bytes, String> {
    let mut url = url.clone();
    for _ in 0..=MOST_REDIRECTIONS {
        let accept = [(
            "Accept",
            "application/json, text/html;q=0.9, */*;q=0.5".to_owned(),
        )];
        let request = HttpRequest {
            credentials: context.credentials,
            headers: &accept,
            most: context.most,
            ..HttpRequest::get(url.to_string())
        };
        let answer = context.exchange.http(request).await;
        let answer = answer.map_err(|failure| failure.to_string())?;
        match answer.status {
            200 => return Ok(answer.body),
            301 | 302 | 303 | 307 | 308 => {
                let location = answer.headers.get("location");
                let next = location
                    .and_then(|location| location.to_str().ok())
                    .and_then(|location| url.join(location).ok())
                    .ok_or("it redirects to nowhere")?;
                if next.origin() != url.origin() {
                    let host = next.host_str().unwrap_or_default();
                    return Err(format!(
                        "it redirects to another host, {host:.100}, which is not followed"
                    ));
                }
                url = next;
            }
            status => return Err(format!("it answers HTTP {status}")),
        }
    }
    Err(format!("it redirects more than {MOST_REDIRECTIONS} times"))
}

//! HTTP with a login as the sources have it: by digest where the device asks for it, else basic. A
//! password is first sent after the device said which of both it wants.

use headframe_ingest::source::{Failure, HttpAnswer, HttpRequest, Method};

use super::Link;

/// Asks; when the device wants a login, asks again with it. An answer of another status than
/// success is a failure.
pub async fn ask(
    link: &Link<'_>,
    method: Method,
    address: &str,
    path: &str,
    body: Option<String>,
) -> Result<HttpAnswer, Failure> {
    let is_json = [("Content-Type", "application/json".to_owned())];
    let headers = if body.is_some() { &is_json[..] } else { &[] };
    let request = HttpRequest {
        method,
        url: format!("{address}{path}"),
        credentials: link.credentials,
        headers,
        body: body.map(Into::into),
        most: link.most,
    };
    let answer = link.exchange.http_by_challenge(request).await?;
    match answer.status {
        200..300 => Ok(answer),
        401 => Err(Failure::Refused(
            "the device wants another user or password (HTTP 401)".to_owned(),
        )),
        status => Err(Failure::Status(status)),
    }
}

//! HTTP with a login that the device asks for: by digest (RFC 7616, RFC 2617), else basic. A
//! password is first sent after the device said which of both it wants.

use digest_auth::{AuthContext, HttpMethod};
use reqwest::header::HeaderMap;

use super::{Credentials, Exchange, Failure, HttpAnswer, HttpRequest};

impl Exchange {
    /// One HTTP request; when the device wants a login, the same once more with it.
    pub async fn http_by_challenge(&self, request: HttpRequest<'_>) -> Result<HttpAnswer, Failure> {
        let Credentials::Basic { user, password } = request.credentials else {
            return self.http(request).await;
        };
        let first = HttpRequest {
            credentials: &Credentials::None,
            ..request.clone()
        };
        let answer = self.http(first).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let Some(challenge) = digest_challenge(&answer.headers) else {
            return self.http(request).await;
        };
        let login = authorization(challenge, (user, password), &request)?;
        let mut headers = request.headers.to_vec();
        headers.push(("Authorization", login));
        let again = HttpRequest {
            credentials: &Credentials::None,
            headers: &headers,
            ..request
        };
        self.http(again).await
    }
}

fn digest_challenge(headers: &HeaderMap) -> Option<&str> {
    let challenges = headers.get_all("www-authenticate").into_iter();
    let mut challenges = challenges.filter_map(|value| value.to_str().ok());
    challenges.find(|one| one.trim_start().starts_with("Digest"))
}

/// The header `Authorization` for a challenge.
fn authorization(
    challenge: &str,
    (user, password): (&str, &str),
    request: &HttpRequest<'_>,
) -> Result<String, Failure> {
    let malformed = |error: digest_auth::Error| {
        Failure::Malformed(format!("the device's digest challenge: {error}"))
    };
    // The crate cuts text at bytes, and would panic within a character of several.
    if !challenge.is_ascii() {
        return Err(Failure::Malformed(
            "the device's digest challenge is not ASCII".to_owned(),
        ));
    }
    let mut prompt = digest_auth::parse(challenge).map_err(malformed)?;
    let target = target(&request.url);
    let method = HttpMethod::from(request.method.as_str());
    let body = request.body.as_deref();
    let context = AuthContext::new_with_method(user, password, target, body, method);
    let answer = prompt.respond(&context).map_err(malformed)?;
    Ok(answer.to_header_string())
}

/// Path and query of an address as they are sent.
fn target(url: &str) -> String {
    let Ok(url) = url::Url::parse(url) else {
        return url.to_owned();
    };
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_answer_is_the_one_of_rfc_2617() {
        // Section 3.5 of the RFC, with its own nonce of the client.
        let challenge = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
                         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
                         opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let mut prompt = digest_auth::parse(challenge).unwrap();
        let mut context = AuthContext::new("Mufasa", "Circle Of Life", "/dir/index.html");
        context.set_custom_cnonce("0a4f113b");
        let answer = prompt.respond(&context).unwrap().to_header_string();
        assert!(
            answer.contains("response=\"6629fae49393a05397450978507c4ef1\""),
            "{answer}"
        );
    }

    proptest! {
        #[test]
        fn any_challenge_is_answered_or_refused(
            challenge in "Digest \\PC{0,120}|Digest [ -~]{0,120}|\
                          Digest (realm|nonce|qop|x)=\"?[a-z\", =]{0,60}|\\PC{0,60}") {
            let request = HttpRequest::get("http://127.0.0.1/".to_owned());
            authorization(&challenge, ("u", "p"), &request).ok();
        }
    }
}

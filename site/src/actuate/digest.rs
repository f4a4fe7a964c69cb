//! HTTP with a login: digest authentication (RFC 7616, RFC 2617) where the device asks for it, else
//! basic. A password is first sent after the device said which of both it wants.

use digest_auth::{AuthContext, HttpMethod};
use headframe_ingest::source::{Credentials, Failure, HttpAnswer, HttpRequest, Method};

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
    let first = match link.credentials {
        Credentials::Basic { .. } => &Credentials::None,
        other => other,
    };
    let url = format!("{address}{path}");
    let request = |credentials, headers| HttpRequest {
        method: method.clone(),
        url: url.clone(),
        credentials,
        headers,
        body: body.clone().map(Into::into),
        most: link.most,
    };
    let mut answer = link.exchange.http(request(first, headers)).await?;
    if answer.status == 401
        && let Credentials::Basic { user, password } = link.credentials
    {
        let challenges = answer.headers.get_all("www-authenticate");
        let challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<&str> = challenges.collect();
        let digest = challenges
            .iter()
            .find(|one| one.trim_start().starts_with("Digest"));
        answer = match digest {
            Some(challenge) => {
                let login = authorization(challenge, (user, password), &method, path, &body)?;
                let mut headers = headers.to_vec();
                headers.push(("Authorization", login));
                link.exchange
                    .http(request(&Credentials::None, &headers))
                    .await?
            }
            None => {
                link.exchange
                    .http(request(link.credentials, headers))
                    .await?
            }
        };
    }
    match answer.status {
        200..300 => Ok(answer),
        401 => Err(Failure::Refused(
            "the device wants another user or password (HTTP 401)".to_owned(),
        )),
        status => Err(Failure::Status(status)),
    }
}

/// The header `Authorization` for a challenge.
fn authorization(
    challenge: &str,
    (user, password): (&str, &str),
    method: &Method,
    path: &str,
    body: &Option<String>,
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
    let method = HttpMethod::from(method.as_str());
    let body = body.as_ref().map(String::as_bytes);
    let context = AuthContext::new_with_method(user, password, path, body, method);
    let answer = prompt.respond(&context).map_err(malformed)?;
    Ok(answer.to_header_string())
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
            authorization(&challenge, ("u", "p"), &Method::GET, "/", &None).ok();
        }
    }
}

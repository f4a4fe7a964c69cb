//! What a page with a password wants to see: an answer to its digest challenge.

use digest_auth::{AuthContext, AuthorizationHeader, HttpMethod};

use crate::simulator::device::USER;

/// What a page wants to see first.
pub const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"antMiner Configuration\", \
                             nonce=\"7f3c1a\", qop=\"auth\"\r\n";

/// Whether there is an answer to it; which password it proves is not looked at.
pub fn is_digest(login: Option<&str>) -> bool {
    let has = |part: &str| login.is_some_and(|login| login.contains(part));
    has("Digest ") && has("nonce=\"7f3c1a\"") && has("response=")
}

/// Whether a login proves that its sender knows the password, for this request.
pub fn proves(login: Option<&str>, password: &str, method: &str, path: &str) -> bool {
    let Some(login) = login.filter(|login| login.is_ascii() && is_digest(Some(login))) else {
        return false;
    };
    let Ok(mut said) = AuthorizationHeader::parse(login) else {
        return false;
    };
    if said.uri != path || said.username != USER {
        return false;
    }
    let sent = said.response.clone();
    let method = HttpMethod::from(method);
    let body: Option<&[u8]> = None;
    let mut context = AuthContext::new_with_method(USER, password, path, body, method);
    if let Some(cnonce) = said.cnonce.clone() {
        context.set_custom_cnonce(cnonce);
    }
    said.digest(&context);
    said.response == sent
}

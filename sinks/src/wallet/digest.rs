//! HTTP's digest login (RFC 7616, MD5 with `qop=auth`), which is the one that monero-wallet-rpc
//! knows.

use md5::{Digest, Md5};

use crate::wallet::credentials::Credentials;

/// A server's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// The answer before was right but for its nonce, which was another connection's or too old.
    pub is_stale: bool,
}

impl Challenge {
    /// The first challenge with plain MD5 and `qop=auth` in a `WWW-Authenticate` header; one header
    /// may hold several.
    pub fn parse(header: &str) -> Option<Self> {
        let starts: Vec<usize> = header
            .match_indices("Digest ")
            .map(|(index, _)| index)
            .collect();
        let ends = starts.iter().skip(1).copied().chain([header.len()]);
        starts
            .iter()
            .zip(ends)
            .find_map(|(&start, end)| Self::one(&header[start + "Digest ".len()..end]))
    }

    fn one(text: &str) -> Option<Self> {
        let mut challenge = Self {
            realm: String::new(),
            nonce: String::new(),
            opaque: None,
            is_stale: false,
        };
        for part in split(text) {
            let (name, value) = part.split_once('=')?;
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => value.clone_into(&mut challenge.realm),
                "nonce" => value.clone_into(&mut challenge.nonce),
                "stale" => challenge.is_stale = value.eq_ignore_ascii_case("true"),
                "opaque" => challenge.opaque = Some(value.to_owned()),
                "algorithm" if !value.eq_ignore_ascii_case("MD5") => return None,
                "qop" if !value.split(',').any(|qop| qop.trim() == "auth") => return None,
                _ => {}
            }
        }
        (!challenge.nonce.is_empty()).then_some(challenge)
    }

    /// The `Authorization` header for one request. `count` is how many requests used this
    /// challenge, this one included.
    pub fn answer(
        &self,
        login: &Credentials,
        method: &str,
        uri: &str,
        count: u32,
        cnonce: &str,
    ) -> String {
        let ha1 = hash(&format!("{}:{}:{}", login.user, self.realm, login.password));
        let ha2 = hash(&format!("{method}:{uri}"));
        let response = hash(&format!(
            "{ha1}:{}:{count:08x}:{cnonce}:auth:{ha2}",
            self.nonce
        ));
        let opaque = self
            .opaque
            .as_ref()
            .map(|opaque| format!(", opaque=\"{opaque}\""))
            .unwrap_or_default();
        format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", algorithm=MD5, \
             qop=auth, nc={count:08x}, cnonce=\"{cnonce}\", response=\"{response}\"{opaque}",
            login.user, self.realm, self.nonce
        )
    }
}

/// Splits at commas outside quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn hash(text: &str) -> String {
    Md5::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_example_of_the_standard_comes_out() {
        let header = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
                      nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
                      opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let login = Credentials {
            user: "Mufasa".to_owned(),
            password: "Circle Of Life".to_owned(),
        };
        let answer = Challenge::parse(header).unwrap().answer(
            &login,
            "GET",
            "/dir/index.html",
            1,
            "0a4f113b",
        );
        assert!(
            answer.contains("response=\"6629fae49393a05397450978507c4ef1\""),
            "{answer}"
        );
        assert!(
            answer.contains("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""),
            "{answer}"
        );
    }

    #[test]
    fn of_several_challenges_the_one_we_know_is_taken() {
        let both = "Digest \
                    qop=\"auth\",algorithm=MD5-sess,realm=\"monero-rpc\",nonce=\"second\",stale=false, \
                    Digest \
                    qop=\"auth\",algorithm=MD5,realm=\"monero-rpc\",nonce=\"T/Q1==\",stale=false";
        assert_eq!(Challenge::parse(both).unwrap().nonce, "T/Q1==");
        assert!(!Challenge::parse(both).unwrap().is_stale);
        let stale = "Digest qop=\"auth\",algorithm=MD5,realm=\"x\",nonce=\"n\",stale=true";
        assert!(Challenge::parse(stale).unwrap().is_stale);
        assert_eq!(Challenge::parse("Basic realm=\"x\""), None);
        assert_eq!(
            Challenge::parse("Digest qop=\"auth\",algorithm=SHA-256,realm=\"x\",nonce=\"n\""),
            None
        );
    }
}

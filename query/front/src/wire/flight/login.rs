//! The handshake: a name and a password in, the bearer token of all further calls out.
//!
//! Both travel in the header `authorization`, as every client of Flight SQL sends them.

use axum::http::header;
use axum::http::request::Parts;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::access::accounts::Wire;
use crate::access::{Guard, Permission};
use crate::error::{ErrorCode, QueryError};

/// Go's clients send no padding, others do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token of whoever sends this handshake.
pub(super) async fn token_of(guard: &Guard, request: &Parts) -> Result<String, QueryError> {
    let value = request.headers.get(header::AUTHORIZATION);
    let value = value.map(|value| value.to_str().unwrap_or_default());
    let (scheme, given) = match value.map(str::trim) {
        Some(value) => value.split_once(' ').unwrap_or((value, "")),
        None => ("Basic", "Og"),
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        guard.authorize(Permission::ReadRows, None, request)?;
        return Ok(given.trim().to_owned());
    }
    let (name, password) = scheme
        .eq_ignore_ascii_case("basic")
        .then(|| name_and_password(given.trim()))
        .flatten()
        .ok_or_else(unreadable)?;
    guard.log_in(Wire::Flight, &name, &password, request).await
}

/// A password may have colons, a name has none.
fn name_and_password(given: &str) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64.decode(given).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn unreadable() -> QueryError {
    QueryError::new(
        ErrorCode::Unauthorized,
        "the header authorization is neither a name and a password nor a token",
        "send Basic with base64 of name:password, or Bearer and a token",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_end_at_the_first_colon_and_padding_is_free() {
        let both = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(name_and_password("YTpiOmM="), both("a", "b:c"));
        assert_eq!(name_and_password("YTpiOmM"), both("a", "b:c"));
        assert_eq!(name_and_password("Og"), both("", ""));
        for wrong in ["", "YQ", "*", "YTpiOmM=="] {
            assert_eq!(name_and_password(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read(name in "[^:]{0,20}", password in ".{0,40}") {
            let text = BASE64.encode(format!("{name}:{password}"));
            prop_assert_eq!(name_and_password(&text), Some((name.clone(), password.clone())));
            let bare = text.trim_end_matches('=');
            prop_assert_eq!(name_and_password(bare), Some((name, password)));
        }

        #[test]
        fn no_text_confuses_it(text in ".{0,100}") {
            let _ = name_and_password(&text);
        }
    }
}

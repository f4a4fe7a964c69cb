//! The cipher of Whatsminer's API, version 2: commands that change something carry a token and are
//! encrypted with a key that both come from the machine's password.
//!
//! `get_token` gives `time`, `salt` and `newsalt`. The key is the SHA-256 of the hash part of
//! md5-crypt(password, salt); the token is the hash part of md5-crypt(that hash and time, newsalt).
//! A command is its JSON, filled up with zeros, in AES-256-ECB and Base64:
//! `{"enc": 1, "data": …}`; the answer is `{"enc": …}`. Read in pyasic's source; not tried on a
//! real machine.

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::cgminer::ask;
use super::{ActuateFailure, Link, malformed, refused};

/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// The alphabet of md5-crypt.
const ITOA64: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a salt that md5-crypt looks at.
const SALT: usize = 8;

/// Sends a command to a machine that wants it encrypted; the answer in clear.
pub async fn send(
    host: &str,
    password: &str,
    mut command: Value,
    link: &Link<'_>,
) -> Result<Value, ActuateFailure> {
    let answer = ask(host, &json!({"cmd": "get_token"}), link).await?;
    let text = |key: &str| {
        let value = answer.pointer(&format!("/Msg/{key}"))?;
        // The time comes as a text or as a number.
        let text = value.as_str().map(str::to_owned);
        text.or_else(|| value.as_u64().map(|number| number.to_string()))
    };
    let (Some(time), Some(salt), Some(newsalt)) = (text("time"), text("salt"), text("newsalt"))
    else {
        return Err(refused(format!(
            "the machine gives no token: {answer:.200}"
        )));
    };
    let key = md5_crypt(password, &salt);
    command["token"] = md5_crypt(&format!("{key}{time}"), &newsalt).into();
    let data = encrypted(&key, &command.to_string())?;
    let answer = ask(host, &json!({"enc": 1, "data": data}), link).await?;
    match answer.get("enc").and_then(Value::as_str) {
        Some(data) => decrypted(&key, data).map_err(malformed),
        // A refusal may come in clear.
        None => Ok(answer),
    }
}

fn cipher_key(key: &str) -> Result<UnboundCipherKey, String> {
    let key = digest(&SHA256, key.as_bytes());
    UnboundCipherKey::new(&AES_256, key.as_ref()).map_err(|_| "there is no key".to_owned())
}

fn encrypted(key: &str, text: &str) -> Result<String, ActuateFailure> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    let key = cipher_key(key).map_err(malformed)?;
    let cipher = EncryptingKey::ecb(key).and_then(|cipher| cipher.encrypt(&mut bytes));
    cipher.map_err(|_| malformed("the command cannot be encrypted"))?;
    Ok(BASE64_STANDARD.encode(bytes))
}

fn decrypted(key: &str, data: &str) -> Result<Value, String> {
    let wrong = || "the answer is not encrypted with the machine's password".to_owned();
    let mut bytes = BASE64_STANDARD
        .decode(data.replace('\n', ""))
        .map_err(|_| wrong())?;
    let cipher = DecryptingKey::ecb(cipher_key(key)?).map_err(|_| wrong())?;
    let text = cipher
        .decrypt(&mut bytes, DecryptionContext::None)
        .map_err(|_| wrong())?;
    let end = text
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    serde_json::from_slice(&text[..end]).map_err(|_| wrong())
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The hash part of md5-crypt, `$1$`: the algorithm of FreeBSD's crypt(3) by Poul-Henning Kamp.
fn md5_crypt(password: &str, salt: &str) -> String {
    let password = password.as_bytes();
    let salt = &salt.as_bytes()[..salt.len().min(SALT)];
    let alternate = md5(&[password, salt, password]);
    let mut first: Vec<u8> = [password, b"$1$", salt].concat();
    first.extend(alternate.iter().cycle().take(password.len()));
    let mut bits = password.len();
    while bits > 0 {
        let byte = if bits & 1 == 1 { 0 } else { password[0] };
        first.push(byte);
        bits >>= 1;
    }
    let mut hash = md5(&[&first]);
    for round in 0..1_000 {
        let (before, after): (&[u8], &[u8]) = match round % 2 {
            1 => (password, &hash),
            _ => (&hash, password),
        };
        let salt = if round % 3 == 0 { &[][..] } else { salt };
        let again = if round % 7 == 0 { &[][..] } else { password };
        hash = md5(&[before, salt, again, after]);
    }
    encoded(&hash)
}

fn encoded(hash: &[u8; 16]) -> String {
    let mut out = String::with_capacity(22);
    let mut push = |value: u32, count: usize| {
        for at in 0..count {
            out.push(char::from(ITOA64[(value >> (6 * at)) as usize & 0x3F]));
        }
    };
    for [high, middle, low] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let byte = |at: usize| u32::from(hash[at]);
        push(byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
    }
    push(u32::from(hash[11]), 2);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hashes_are_those_of_openssl_passwd_1() {
        for (password, salt, hash) in [
            ("admin", "BQ5hoXV9", "RxmaDUO33TS7O26yeMHZ81"),
            (
                "RxmaDUO33TS7O26yeMHZ815626",
                "jbzkfQls",
                "w.BNbkCV6n1aNWgiBWLzT/",
            ),
            (
                "a password that is longer than sixteen bytes",
                "abcd",
                "hH/gfMZM0RlFq/sr/WgkS1",
            ),
        ] {
            assert_eq!(md5_crypt(password, salt), hash, "{password}");
        }
    }

    #[test]
    fn a_command_is_encrypted_as_openssl_does_it() {
        let data = encrypted("RxmaDUO33TS7O26yeMHZ81", "{\"cmd\":\"power_on\"}").unwrap();
        assert_eq!(data, "WVz5U209eNn5F0vAECDsXsCFnp7ZwILehfTeOqXNv+4=");
        let clear = decrypted("RxmaDUO33TS7O26yeMHZ81", &data).unwrap();
        assert_eq!(clear, json!({"cmd": "power_on"}));
        assert!(decrypted("another", &data).is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(
            data in "[A-Za-z0-9+/]{0,64}=?|\\PC{0,30}", salt in "\\PC{0,12}",
        ) {
            decrypted("key", &data).ok();
            md5_crypt("password", &salt);
        }
    }
}

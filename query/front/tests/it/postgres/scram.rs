//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS as a client speaks them.

use aws_lc_rs::{digest, hmac};
use pgwire::api::auth::sasl::scram::gen_salted_password;

use super::client::{Client, Reply};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..three.len()].copy_from_slice(three);
        let [a, b, c] = group.map(u32::from);
        let number = a << 16 | b << 8 | c;
        for place in 0..4 {
            let digit = (number >> (18 - 6 * place)) as usize & 63;
            let is_there = place <= three.len();
            text.push(if is_there { DIGITS[digit].into() } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter(|byte| *byte != b'=');
    let digits: Vec<u32> = digits
        .map(|byte| DIGITS.iter().position(|digit| *digit == byte).unwrap() as u32)
        .collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let number = (0..4).fold(0, |sum, place| {
            sum << 6 | four.get(place).copied().unwrap_or_default()
        });
        bytes.extend(&number.to_be_bytes()[1..four.len()]);
    }
    bytes
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}

/// How a client says what its proof holds for.
pub struct Binding<'a> {
    pub mechanism: &'a str,
    /// What it can and wants, as its first message begins.
    pub header: &'a str,
    /// What it saw of the server.
    pub data: &'a [u8],
}

/// No binding, of a client that knows of none.
const UNBOUND: Binding<'static> = Binding {
    mechanism: "SCRAM-SHA-256",
    header: "n,,",
    data: b"",
};

/// Logs in; answers what the server said after the proof, up to the first ReadyForQuery.
pub async fn log_in(client: &mut Client, user: &str, password: &str) -> Vec<Reply> {
    log_in_bound(client, user, password, &UNBOUND).await.1
}

/// The same with a binding; answers the mechanisms that were offered as well.
pub async fn log_in_bound(
    client: &mut Client,
    user: &str,
    password: &str,
    binding: &Binding<'_>,
) -> (String, Vec<Reply>) {
    client.startup(&[("user", user)]).await;
    let (kind, offer) = client.reply().await.unwrap();
    if kind != b'R' || offer[..4] != [0, 0, 0, 10] {
        return (String::new(), vec![(kind, offer)]);
    }
    let offered = String::from_utf8_lossy(&offer[4..]).replace('\0', " ");
    let bare = "n=,r=abcdefghijklmnop";
    let first = format!("{}{bare}", binding.header);
    let length = (first.len() as u32).to_be_bytes();
    let body = [
        binding.mechanism.as_bytes(),
        b"\0",
        &length[..],
        first.as_bytes(),
    ]
    .concat();
    client.send(b'p', &body).await;
    let (kind, challenge) = client.reply().await.unwrap();
    if kind != b'R' {
        return (offered, vec![(kind, challenge)]);
    }
    let challenge = String::from_utf8(challenge[4..].to_vec()).unwrap();
    let parts: Vec<&str> = challenge.split(',').collect();
    let salt = from_base64(parts[1].strip_prefix("s=").unwrap());
    let rounds: usize = parts[2].strip_prefix("i=").unwrap().parse().unwrap();
    let salted = gen_salted_password(password, &salt, rounds);
    let client_key = sign(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, &client_key);
    let bound = [binding.header.as_bytes(), binding.data].concat();
    let without_proof = format!("c={},{}", base64(&bound), parts[0]);
    let said = format!("{bare},{challenge},{without_proof}");
    let signature = sign(stored_key.as_ref(), said.as_bytes());
    let proof: Vec<u8> = client_key
        .iter()
        .zip(signature)
        .map(|(a, b)| a ^ b)
        .collect();
    let last = format!("{without_proof},p={}", base64(&proof));
    client.send(b'p', last.as_bytes()).await;
    (offered, client.until_ready().await)
}

//! SCRAM-SHA-256, and in TLS SCRAM-SHA-256-PLUS, whose proof holds for the certificate that the
//! client saw and for no other.

use pgwire::api::auth::Password;
use pgwire::api::auth::sasl::scram::{ScramServerAuth, gen_salted_password};
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_certificate::CapturedX509Certificate;

use super::{malformed, password_message};
use crate::access::accounts::ScramSecret;
use crate::sqlstate::SqlState;
use crate::wire::postgres::outcome::{Ended, Input, Output};

const MECHANISM: &str = "SCRAM-SHA-256";
const BOUND_MECHANISM: &str = "SCRAM-SHA-256-PLUS";
/// What a client of the bound mechanism begins with: the only binding there is.
const BINDING: &[u8] = b"p=tls-server-end-point,";
const ITERATIONS: usize = 4_096;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// What SCRAM needs to check a password that this server knows.
pub(super) fn secret_of(password: &str) -> ScramSecret {
    let salt = uuid::Uuid::new_v4().into_bytes().to_vec();
    ScramSecret {
        salted_password: gen_salted_password(password, &salt, ITERATIONS),
        iterations: ITERATIONS as u32,
        salt,
    }
}

/// The two steps of SCRAM; false when the client does not know the password, or saw another
/// certificate than this.
pub(super) async fn prove(
    secret: &ScramSecret,
    certificate: Option<&CertificateDer<'static>>,
    input: &mut Input,
    output: &mut Output,
    deadline: tokio::time::Instant,
) -> Result<bool, Ended> {
    let mut scram = ScramServerAuth::new();
    scram.set_iterations(secret.iterations as usize);
    let binds = certificate.is_some_and(|certificate| bind(&mut scram, certificate));
    let offer = match binds {
        true => format!("{BOUND_MECHANISM}\0{MECHANISM}\0\0"),
        false => format!("{MECHANISM}\0\0"),
    };
    output.authentication(SASL, offer.as_bytes());
    output.flush().await?;
    let first = password_message(input, deadline).await?;
    let (mechanism, first) = initial_response(&first).ok_or_else(unsupported_mechanism)?;
    check_mechanism(mechanism, first, binds)?;
    let password = Password::new(Some(secret.salt.clone()), secret.salted_password.clone());
    let Ok((challenge, waiting)) = scram.on_client_first_message(first, password) else {
        return Err(malformed());
    };
    output.authentication(SASL_CONTINUE, challenge.as_bytes());
    output.flush().await?;
    let last = password_message(input, deadline).await?;
    let Ok(proof) = waiting.on_client_final_message(&last) else {
        return Ok(false);
    };
    output.authentication(SASL_FINAL, proof.as_bytes());
    Ok(true)
}

/// Binds the proof to a certificate; false where its signature has no hash of its own, as Ed25519's
/// has none.
fn bind(scram: &mut ScramServerAuth, certificate: &CertificateDer<'static>) -> bool {
    CapturedX509Certificate::from_der(certificate.to_vec()).is_ok_and(|leaf| {
        scram
            .configure_certificate(leaf.encode_pem().as_bytes())
            .is_ok()
    })
}

/// Refuses another mechanism than was offered, and a client that could bind and was told that this
/// server cannot: somebody between them has changed the offer.
fn check_mechanism(mechanism: &[u8], first: &[u8], binds: bool) -> Result<(), Ended> {
    let (is_bound, is_plain) = (
        mechanism == BOUND_MECHANISM.as_bytes(),
        mechanism == MECHANISM.as_bytes(),
    );
    match first.first() {
        Some(b'p') if is_bound && binds && first.starts_with(BINDING) => Ok(()),
        Some(b'n') if is_plain => Ok(()),
        Some(b'y') if is_plain && !binds => Ok(()),
        Some(b'y') if is_plain => {
            let message = "the client was not offered channel binding, although this server has \
                           it: somebody between them may have changed the offer";
            Err(Ended::Refused(
                SqlState::InvalidAuthorization,
                message.to_owned(),
            ))
        }
        _ if is_bound && !binds || !is_bound && !is_plain => Err(unsupported_mechanism()),
        _ => Err(malformed()),
    }
}

fn unsupported_mechanism() -> Ended {
    let message = format!("log in with {MECHANISM}, or in TLS with {BOUND_MECHANISM}");
    Ended::Refused(SqlState::InvalidAuthorization, message)
}

/// What a SASLInitialResponse says: the mechanism's name, and behind a length its data.
fn initial_response(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let (mechanism, rest) = (&body[..end], &body[end + 1..]);
    let (length, data) = rest.split_first_chunk::<4>()?;
    let is_whole = usize::try_from(i32::from_be_bytes(*length)).ok()? == data.len();
    is_whole.then_some((mechanism, data))
}

//! The status of a call of gRPC with the fields that are to blame, as `google.rpc.BadRequest`.

use bytes::Bytes;
use headframe_schemas::resource::FieldFault;
use prost::encoding::{self, WireType, encode_key, encode_varint};
use tonic::{Code, Status};

use crate::error::QueryError;
use crate::wire::flight::status;

/// Bytes of a message that the details repeat, and of the fields in them. Both travel in headers,
/// which some clients bound at 8 KiB.
const MAX_DETAILS_BYTES: usize = 1_000;
/// The message of the details that names fields.
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// The status of an error, and its fields.
pub(super) fn of_error(error: &QueryError) -> Status {
    let plain = status::of_error(error);
    if error.fields.is_empty() {
        return plain;
    }
    let (code, text) = (plain.code(), cut(plain.message(), MAX_DETAILS_BYTES));
    let details = details(code, text, &error.fields);
    Status::with_details_and_metadata(code, text, details, plain.metadata().clone())
}

/// As much of a text as so many bytes hold.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A `google.rpc.Status` with a `google.rpc.BadRequest`, which names as many fields as there is
/// space for.
fn details(code: Code, message: &str, faults: &[FieldFault]) -> Bytes {
    let mut request = Vec::new();
    for fault in faults {
        let mut violation = Vec::new();
        encoding::string::encode(1, &fault.field, &mut violation);
        encoding::string::encode(2, &fault.reason, &mut violation);
        if request.len() + violation.len() > MAX_DETAILS_BYTES {
            break;
        }
        message_field(1, &violation, &mut request);
    }
    let mut any = Vec::new();
    encoding::string::encode(1, &BAD_REQUEST.to_owned(), &mut any);
    message_field(2, &request, &mut any);
    let mut status = Vec::new();
    encoding::int32::encode(1, &(code as i32), &mut status);
    encoding::string::encode(2, &message.to_owned(), &mut status);
    message_field(3, &any, &mut status);
    status.into()
}

/// A field that is a message, or bytes.
pub(super) fn message_field(number: u32, part: &[u8], bytes: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, bytes);
    encode_varint(part.len() as u64, bytes);
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_in_the_details_and_headers_stay_short() {
        let fault = |n: usize| FieldFault::new(&format!("f{n}"), "ä".repeat(100));
        let error = QueryError {
            fields: (0..50).map(fault).collect(),
            ..QueryError::bad_request("ä".repeat(2_000), "what to do")
        };
        let headers = of_error(&error).into_http::<()>().headers().clone();
        let bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        assert!(bytes < 8_192, "{bytes}");
        let details = of_error(&error).details().to_vec();
        let has = |text: &str| {
            details
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        assert!(has(BAD_REQUEST) && has("f0") && has("field `f1`"));
    }
}

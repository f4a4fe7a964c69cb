//! What a call that fails is told: a gRPC status with our own words.

use arrow_flight::error::FlightError;
use axum::http::{HeaderMap, StatusCode};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::error::{ErrorCode, QueryError};

/// The key under which a status has `error.code` of HTTP.
const ERROR_CODE: &str = "headframe-error";
/// Characters of a message. It travels in a header, which some clients bound at 8 KiB, and each
/// may become three.
const MAX_MESSAGE_CHARS: usize = 2_000;

/// The status of an error.
pub(in crate::wire) fn of_error(error: &QueryError) -> Status {
    let mut status = Status::new(
        code_of(error.code),
        bounded(&format!("{}; {}", error.message, error.hint)),
    );
    let name = MetadataValue::from_static(error.code.parts().0);
    status.metadata_mut().insert(ERROR_CODE, name);
    status
}

/// A status with what is wrong and what to do about it.
pub(super) fn refusal(code: Code, message: &str, hint: &str) -> Status {
    Status::new(code, bounded(&format!("{message}; {hint}")))
}

/// A request that does not follow the protocol.
pub(super) fn malformed(what: &str, error: impl std::fmt::Display) -> Status {
    let hint = "send what Arrow Flight SQL has for it; docs/flight.md lists what is taken";
    refusal(
        Code::InvalidArgument,
        &format!("{what} cannot be read: {error}"),
        hint,
    )
}

/// What this server has not.
pub(super) fn unsupported(what: &str) -> Status {
    let message = format!("this server has no {what}");
    refusal(
        Code::Unimplemented,
        &message,
        "docs/flight.md says what there is",
    )
}

/// The error of an encoder or a decoder.
pub(super) fn of_flight(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => of_error(&QueryError::internal(other.to_string())),
    }
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn code_of(code: ErrorCode) -> Code {
    match code {
        ErrorCode::BadRequest
        | ErrorCode::SqlSyntax
        | ErrorCode::SqlPlan
        | ErrorCode::SqlExecution
        | ErrorCode::Parameters
        | ErrorCode::NotAcceptable
        | ErrorCode::UnsupportedMediaType => Code::InvalidArgument,
        ErrorCode::Unauthorized => Code::Unauthenticated,
        ErrorCode::Forbidden
        | ErrorCode::NoOperator
        | ErrorCode::ReadOnly
        | ErrorCode::ForeignOrigin
        | ErrorCode::Forwarded => Code::PermissionDenied,
        ErrorCode::Gone | ErrorCode::NotFound | ErrorCode::NoSuchVersion => Code::NotFound,
        ErrorCode::MethodNotAllowed => Code::Unimplemented,
        ErrorCode::RequestTimeout | ErrorCode::TimeLimit => Code::DeadlineExceeded,
        ErrorCode::IdInUse | ErrorCode::Exists => Code::AlreadyExists,
        ErrorCode::VersionChanged => Code::Aborted,
        ErrorCode::Conflict | ErrorCode::VersionRequired => Code::FailedPrecondition,
        ErrorCode::BodyTooLarge
        | ErrorCode::RowLimit
        | ErrorCode::RateLimit
        | ErrorCode::ConcurrencyLimit
        | ErrorCode::MemoryLimit => Code::ResourceExhausted,
        ErrorCode::ConnectionLimit | ErrorCode::WorkerLost | ErrorCode::Storage => {
            Code::Unavailable
        }
        ErrorCode::Cancelled => Code::Cancelled,
        ErrorCode::Internal => Code::Internal,
    }
}

/// The status of HTTP that says the same as the headers or the trailers of an answer, where they
/// have a status: refusals are held back and requests are noted by it.
pub(super) fn http_status(headers: &HeaderMap) -> Option<StatusCode> {
    let code = Status::from_header_map(headers)?.code();
    let name = headers.get(ERROR_CODE).map(|name| name.as_bytes());
    let is_it = |code: &&ErrorCode| Some(code.parts().0.as_bytes()) == name;
    let status = match ErrorCode::ALL.iter().find(is_it) {
        Some(code) => code.parts().1,
        _ => match code {
            Code::Ok => 200,
            Code::DeadlineExceeded => 504,
            Code::Cancelled => 499,
            Code::Unauthenticated => 401,
            Code::PermissionDenied => 403,
            Code::NotFound => 404,
            Code::AlreadyExists => 409,
            Code::ResourceExhausted => 429,
            Code::Internal | Code::Unknown | Code::DataLoss => 500,
            Code::Unavailable => 503,
            _ => 400,
        },
    };
    StatusCode::from_u16(status).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_status_with_its_words_and_its_code() {
        for code in ErrorCode::ALL {
            let status = of_error(&QueryError::new(*code, "what: 矿", "what to do"));
            assert_eq!(status.message(), "what: 矿; what to do");
            let name = status
                .metadata()
                .get(ERROR_CODE)
                .map(|name| name.as_bytes());
            assert_eq!(name, Some(code.parts().0.as_bytes()));
            assert_ne!(status.code(), Code::Ok);
            assert_ne!(status.code(), Code::Unknown);
            let headers = status.clone().into_http::<()>().into_parts().0.headers;
            let of_http = http_status(&headers).map(|status| status.as_u16());
            assert_eq!(of_http, Some(code.parts().1), "{code:?}");
            let is_ours = matches!(status.code(), Code::Internal);
            assert_eq!(is_ours, *code == ErrorCode::Internal, "{code:?}");
        }
        let long = QueryError::internal("ä".repeat(1 << 20));
        assert!(of_error(&long).message().len() < 8_192);
    }
}

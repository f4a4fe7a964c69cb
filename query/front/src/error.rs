//! What can go wrong with a question, each with a code, a status and a hint what to do.
//!
//! A client reads `error.code`; a person reads `error.message` and `error.hint`. A limit always
//! says which one it was.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headframe_schemas::resource::FieldFault;
use serde_json::{Value, json};

use crate::sqlstate::SqlState;

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// What kind it is; stable.
    pub code: ErrorCode,
    /// What was attempted and what is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// The SQLSTATE where it says more than the code does.
    pub sqlstate: Option<SqlState>,
    /// What is wrong with each field, where it is a resource that cannot be taken.
    pub fields: Vec<FieldFault>,
}

/// The kinds of error. The name in snake case is `error.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 400: the request itself is not understood.
    BadRequest,
    /// 400: the SQL cannot be parsed.
    SqlSyntax,
    /// 400: the SQL names something that is not there, or its types do not fit.
    SqlPlan,
    /// 400: the SQL failed on the data, such as a division by zero.
    SqlExecution,
    /// 400: parameters do not fit the statement.
    Parameters,
    /// 401: no or a wrong bearer token.
    Unauthorized,
    /// 403: somebody is known, and his role does not allow it.
    Forbidden,
    /// 403: an order, and the server has no operator's token that it could ask for.
    NoOperator,
    /// 403: the statement would change something, or the request comes from a foreign web page.
    ReadOnly,
    /// 403: the request comes from a web page of another site.
    ForeignOrigin,
    /// 403: a proxy passed the request on, and the server answers its own machine only.
    Forwarded,
    /// 404: no query of this id is running, or there is no such path.
    NotFound,
    /// 404: no such version or time.
    NoSuchVersion,
    /// 405: the path does not take this method.
    MethodNotAllowed,
    /// 406: none of the accepted formats is spoken here.
    NotAcceptable,
    /// 408: the body of the request came too slowly.
    RequestTimeout,
    /// 409: a query of this id is running already.
    IdInUse,
    /// 409: there is a resource of this id already.
    Exists,
    /// 409: another resource stands in the way.
    Conflict,
    /// 412: the resource is at another version than the one that was seen.
    VersionChanged,
    /// 428: a change has to name the version that it replaces.
    VersionRequired,
    /// 410: what the request would begin with is not kept any more, or never was.
    Gone,
    /// 413: the body of the request is larger than its route takes.
    BodyTooLarge,
    /// 413: the answer has more rows than allowed.
    RowLimit,
    /// 415: the body is of a type that its route does not read.
    UnsupportedMediaType,
    /// 429: too many requests of this kind came from one address, or for one account.
    RateLimit,
    /// 429: too many queries run already.
    ConcurrencyLimit,
    /// 503: too many connections are open.
    ConnectionLimit,
    /// 499: the query was cancelled.
    Cancelled,
    /// 500: our fault.
    Internal,
    /// 503: the process that ran the query went away.
    WorkerLost,
    /// 503: the tables or JetStream cannot be read just now.
    Storage,
    /// 504: the query ran longer than allowed.
    TimeLimit,
    /// 507: the query needs more memory, or more disk to spill to, than allowed.
    MemoryLimit,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: &[ErrorCode] = &[
        ErrorCode::BadRequest,
        ErrorCode::SqlSyntax,
        ErrorCode::SqlPlan,
        ErrorCode::SqlExecution,
        ErrorCode::Parameters,
        ErrorCode::Unauthorized,
        ErrorCode::Forbidden,
        ErrorCode::NoOperator,
        ErrorCode::ReadOnly,
        ErrorCode::ForeignOrigin,
        ErrorCode::NotFound,
        ErrorCode::NoSuchVersion,
        ErrorCode::NotAcceptable,
        ErrorCode::IdInUse,
        ErrorCode::Exists,
        ErrorCode::Conflict,
        ErrorCode::VersionChanged,
        ErrorCode::VersionRequired,
        ErrorCode::Gone,
        ErrorCode::RowLimit,
        ErrorCode::ConcurrencyLimit,
        ErrorCode::Cancelled,
        ErrorCode::Internal,
        ErrorCode::WorkerLost,
        ErrorCode::Storage,
        ErrorCode::TimeLimit,
        ErrorCode::MemoryLimit,
    ];

    /// `error.code` and the status.
    pub fn parts(self) -> (&'static str, u16) {
        match self {
            ErrorCode::BadRequest => ("bad_request", 400),
            ErrorCode::SqlSyntax => ("sql_syntax", 400),
            ErrorCode::SqlPlan => ("sql_plan", 400),
            ErrorCode::SqlExecution => ("sql_execution", 400),
            ErrorCode::Parameters => ("parameters", 400),
            ErrorCode::Unauthorized => ("unauthorized", 401),
            ErrorCode::Forbidden => ("forbidden", 403),
            ErrorCode::NoOperator => ("no_operator_token", 403),
            ErrorCode::ReadOnly => ("read_only", 403),
            ErrorCode::ForeignOrigin => ("foreign_origin", 403),
            ErrorCode::Forwarded => ("forwarded", 403),
            ErrorCode::NotFound => ("not_found", 404),
            ErrorCode::NoSuchVersion => ("no_such_version", 404),
            ErrorCode::MethodNotAllowed => ("method_not_allowed", 405),
            ErrorCode::NotAcceptable => ("not_acceptable", 406),
            ErrorCode::RequestTimeout => ("request_timeout", 408),
            ErrorCode::IdInUse => ("id_in_use", 409),
            ErrorCode::Exists => ("exists", 409),
            ErrorCode::Conflict => ("conflict", 409),
            ErrorCode::VersionChanged => ("version_changed", 412),
            ErrorCode::VersionRequired => ("version_required", 428),
            ErrorCode::Gone => ("gone", 410),
            ErrorCode::BodyTooLarge => ("body_too_large", 413),
            ErrorCode::UnsupportedMediaType => ("unsupported_media_type", 415),
            ErrorCode::RowLimit => ("row_limit", 413),
            ErrorCode::RateLimit => ("rate_limit", 429),
            ErrorCode::ConcurrencyLimit => ("concurrency_limit", 429),
            ErrorCode::ConnectionLimit => ("connection_limit", 503),
            ErrorCode::Cancelled => ("cancelled", 499),
            ErrorCode::Internal => ("internal", 500),
            ErrorCode::WorkerLost => ("worker_lost", 503),
            ErrorCode::Storage => ("storage", 503),
            ErrorCode::TimeLimit => ("time_limit", 504),
            ErrorCode::MemoryLimit => ("memory_limit", 507),
        }
    }

    /// Seconds after which trying again may help.
    fn retry_after(self) -> Option<&'static str> {
        match self {
            ErrorCode::ConcurrencyLimit
            | ErrorCode::ConnectionLimit
            | ErrorCode::WorkerLost
            | ErrorCode::Storage => Some("1"),
            ErrorCode::RateLimit => Some("60"),
            _ => None,
        }
    }
}

impl QueryError {
    /// An error of this code.
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: hint.into(),
            sqlstate: None,
            fields: Vec::new(),
        }
    }

    /// The same error with a SQLSTATE that says more than its code does.
    pub fn with_sqlstate(self, sqlstate: SqlState) -> Self {
        Self {
            sqlstate: Some(sqlstate),
            ..self
        }
    }

    /// A request that is not understood.
    pub fn bad_request(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, message, hint)
    }

    /// What the HTTP library said about a body that it could not read, with its status.
    pub fn unreadable_body(status: StatusCode, text: String, hint: &str) -> Self {
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorCode::UnsupportedMediaType,
            _ => ErrorCode::BadRequest,
        };
        Self::new(code, format!("the request cannot be read: {text}"), hint)
    }

    /// Whether the same with less to do may be within the limits.
    pub fn is_limit(&self) -> bool {
        matches!(self.code, ErrorCode::TimeLimit | ErrorCode::MemoryLimit)
    }

    /// `{"error": {code, message, hint}}`.
    pub fn to_json(&self) -> Value {
        json!({"error": {"code": self.code.parts().0, "message": self.message, "hint": self.hint}})
    }

    /// Tables that cannot be read.
    pub fn storage(why: &str) -> Self {
        Self::new(
            ErrorCode::Storage,
            format!("the tables cannot be read: {why}"),
            "see /ready; the query may be tried again",
        )
    }

    /// An error that is ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(
            ErrorCode::Internal,
            message,
            "this is a defect of Headframe; please report the statement",
        )
    }
}

impl QueryError {
    /// The state that an engine gave it, else that of its code.
    pub fn sqlstate(&self) -> SqlState {
        self.sqlstate.unwrap_or(match self.code {
            ErrorCode::BadRequest | ErrorCode::SqlSyntax => SqlState::Syntax,
            ErrorCode::SqlPlan => SqlState::SyntaxOrAccess,
            ErrorCode::SqlExecution => SqlState::DataException,
            ErrorCode::Parameters => SqlState::InvalidText,
            ErrorCode::Unauthorized => SqlState::InvalidPassword,
            ErrorCode::NoOperator
            | ErrorCode::ReadOnly
            | ErrorCode::Forbidden
            | ErrorCode::ForeignOrigin => SqlState::InsufficientPrivilege,
            ErrorCode::ConcurrencyLimit | ErrorCode::ConnectionLimit | ErrorCode::RateLimit => {
                SqlState::TooManyConnections
            }
            ErrorCode::Cancelled | ErrorCode::TimeLimit => SqlState::QueryCanceled,
            ErrorCode::MemoryLimit => SqlState::OutOfMemory,
            ErrorCode::RowLimit | ErrorCode::BodyTooLarge => SqlState::ProgramLimit,
            ErrorCode::WorkerLost | ErrorCode::Storage => SqlState::SystemError,
            _ => SqlState::Internal,
        })
    }
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        // Every code's number is a valid status, so the fallback is never used.
        let status =
            StatusCode::from_u16(self.code.parts().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.to_json())).into_response();
        if let Some(seconds) = self.code.retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if self.code == ErrorCode::Unauthorized {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Whoever answers in another form than JSON makes it of the error itself.
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

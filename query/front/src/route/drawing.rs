//! What routes that answer drawings have in common: their size, how far back they reach, and the
//! answer itself.

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::error::QueryError;
use crate::format::DEFAULT_WIDTH;
use crate::reports::ChartSpan;
use crate::route::schema::{Param, ValueType};

/// Pixels of a drawing: the least and the most, and what it has unless asked otherwise.
const WIDTHS: (i64, i64, u32) = (240, 2_000, DEFAULT_WIDTH);
const HEIGHTS: (i64, i64, u32) = (80, 1_000, 220);

pub(super) const WIDTH: Param =
    Param::integer("width", WIDTHS.0, WIDTHS.1, "Pixels from left to right.");
pub(super) const HEIGHT: Param =
    Param::integer("height", HEIGHTS.0, HEIGHTS.1, "Pixels from top down.");
pub(super) const SPAN: Param = Param::new(
    "span",
    ValueType::OneOf(ChartSpan::NAMES),
    "How far back it reaches; 24h unless asked otherwise.",
);

/// The size that was asked for.
pub(super) fn size(width: Option<i64>, height: Option<i64>) -> Result<(u32, u32), QueryError> {
    let within = |name: &str, value: Option<i64>, (least, most, default): (i64, i64, u32)| {
        let value = value.unwrap_or(i64::from(default));
        match u32::try_from(value) {
            Ok(pixels) if (least..=most).contains(&value) => Ok(pixels),
            _ => Err(QueryError::bad_request(
                format!("{name} is {value}"),
                format!("it is from {least} to {most} pixels"),
            )),
        }
    };
    Ok((
        within("width", width, WIDTHS)?,
        within("height", height, HEIGHTS)?,
    ))
}

/// The span that was asked for.
pub(super) fn span(name: Option<&str>) -> Result<&'static ChartSpan, QueryError> {
    let name = name.unwrap_or("24h");
    ChartSpan::find(name).ok_or_else(|| {
        QueryError::bad_request(
            format!("span is {name:?}"),
            format!("a span is one of {}", ChartSpan::NAMES.join(", ")),
        )
    })
}

/// The answer.
pub(super) fn answer(drawing: Bytes) -> Response {
    let mut response = drawing.into_response();
    let headers = response.headers_mut();
    let mut insert = |name: HeaderName, value| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    insert(header::CONTENT_TYPE, "image/svg+xml");
    // Opened by itself a drawing is a document, and nothing runs in it.
    insert(header::CONTENT_SECURITY_POLICY, "default-src 'none'");
    response
}

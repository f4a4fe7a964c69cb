//! What the routes of the registry take, made from the definitions of the kinds.

use axum::extract::{FromRequestParts, Query};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use headframe_schemas::Kind;
use headframe_schemas::column::Limits;
use headframe_schemas::resource::values::parse_time;
use headframe_schemas::resource::{self, Field, FieldFault, MAX_ID_BYTES, Resource, Values};

use crate::error::{ErrorCode, QueryError};
use crate::query_params::page_limit;
use crate::route::schema::{LIMIT, Param, ValueType};

/// More than any kind has.
const MOST: usize = 40;

/// Parameters made at compile time.
pub(super) struct Params {
    all: [Param; MOST],
    count: usize,
}

impl Params {
    pub(super) const fn as_slice(&'static self) -> &'static [Param] {
        self.all.split_at(self.count).0
    }

    const fn with(mut self, param: Param) -> Self {
        self.all[self.count] = param;
        self.count += 1;
        self
    }
}

const NONE: Params = Params {
    all: [Param::text("", ""); MOST],
    count: 0,
};
const ID: Param = Param::text(
    "id",
    "1 to 48 letters, digits, - and _, the first a letter or digit.",
);
pub(super) const AS_OF: Param = Param::new(
    "as_of",
    ValueType::Any,
    "A time such as 2026-01-31T12:00:00Z: what was registered then.",
);
pub(super) const PATH: &[Param] = &[Param::text("id", "The id of the resource.").required()];
pub(super) const IF_MATCH: &[Param] =
    &[Param::text("If-Match", "The ETag of the version that was seen.").required()];

/// The keys of the query string of a list: its page, its time, and each field as a filter.
pub(super) const fn list(kind: &'static Resource) -> Params {
    let mut params = NONE
        .with(LIMIT)
        .with(Param::text(
            "after",
            "The id that the page before named as `next`.",
        ))
        .with(AS_OF);
    let mut at = 0;
    while at < kind.fields.len() {
        let mut param = param(&kind.fields[at]);
        param.is_required = false;
        params = params.with(param);
        at += 1;
    }
    params
}

/// The fields of a new resource.
pub(super) const fn new(kind: &'static Resource) -> Params {
    with_fields(NONE.with(ID.required()), kind)
}

/// The fields of one that is there; its id may stand among them.
pub(super) const fn fields(kind: &'static Resource) -> Params {
    with_fields(NONE.with(ID), kind)
}

const fn with_fields(mut params: Params, kind: &'static Resource) -> Params {
    let mut at = 0;
    while at < kind.fields.len() {
        params = params.with(param(&kind.fields[at]));
        at += 1;
    }
    params
}

/// A field as requests and answers have it.
pub(in crate::route) const fn param(field: &'static Field) -> Param {
    let column = &field.column;
    let value = match (column.kind, column.limits) {
        (_, Limits::OneOf(words)) => ValueType::OneOf(words),
        (Kind::Int | Kind::SmallInt, Limits::Int(least, most)) => {
            ValueType::Integer { least, most }
        }
        (Kind::Float, _) => ValueType::Number,
        (Kind::Bool, _) => ValueType::Boolean,
        _ => ValueType::Text,
    };
    let param = Param::new(column.name, value, column.doc);
    match column.required {
        true => param.required(),
        false => param,
    }
}

/// The query string of a list.
pub(super) struct ListParams {
    pub(super) limit: usize,
    pub(super) after: String,
    pub(super) as_of_us: Option<i64>,
    pub(super) filter: Values,
}

impl<S: Send + Sync> FromRequestParts<S> for ListParams {
    type Rejection = QueryError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, QueryError> {
        let kind = kind(parts, state).await?;
        let mut params = Self {
            limit: page_limit(None, 100)?,
            after: String::new(),
            as_of_us: None,
            filter: Values::new(),
        };
        for (name, text) in pairs(parts, state).await? {
            match (name.as_str(), kind.field(&name)) {
                ("limit", _) => {
                    let number = text
                        .parse()
                        .map_err(|_| unusable(parts, "limit is no number"))?;
                    params.limit = page_limit(Some(number), 100)?;
                }
                ("after", _) => params.after = text,
                ("as_of", _) => params.as_of_us = Some(time(&text)?),
                (_, Some(field)) => {
                    let value = field.parse(&text);
                    let value = value
                        .map_err(|fault| QueryError::bad_request(fault.reason, super::HINT))?;
                    params.filter.insert(name.clone(), value);
                }
                (_, None) => return Err(unusable(parts, &format!("unknown field `{name}`"))),
            }
        }
        Ok(params)
    }
}

/// The query string of one resource.
pub(super) struct ItemParams {
    pub(super) as_of_us: Option<i64>,
}

impl<S: Send + Sync> FromRequestParts<S> for ItemParams {
    type Rejection = QueryError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, QueryError> {
        let mut as_of_us = None;
        for (name, text) in pairs(parts, state).await? {
            match name.as_str() {
                "as_of" => as_of_us = Some(time(&text)?),
                _ => return Err(unusable(parts, &format!("unknown field `{name}`"))),
            }
        }
        Ok(Self { as_of_us })
    }
}

async fn kind<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<&'static Resource, QueryError> {
    let super::RequestedKind(kind) = super::RequestedKind::from_request_parts(parts, state).await?;
    Ok(kind)
}

async fn pairs<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<Vec<(String, String)>, QueryError> {
    match Query::<Vec<(String, String)>>::from_request_parts(parts, state).await {
        Ok(Query(pairs)) => Ok(pairs),
        Err(error) => Err(unusable(parts, &error.body_text())),
    }
}

fn unusable(parts: &Parts, why: &str) -> QueryError {
    let path = parts.uri.path();
    QueryError::bad_request(
        format!("the query string of {path} cannot be used: {why}"),
        super::HINT,
    )
}

fn time(text: &str) -> Result<i64, QueryError> {
    let time = parse_time(text).map(|time| time.timestamp_micros());
    time.ok_or_else(|| {
        QueryError::bad_request(
            format!("as_of={text:?} is no time"),
            "write it as 2026-01-31T12:00:00Z",
        )
    })
}

/// The version that a request says it replaces.
pub(in crate::route) fn seen_version(header: Option<&HeaderValue>) -> Result<i64, QueryError> {
    let hint = "send If-Match with the ETag that GET answered, such as \"3\"";
    let Some(header) = header else {
        return Err(QueryError::new(
            ErrorCode::VersionRequired,
            "a change names the version that it replaces",
            hint,
        ));
    };
    let text = header.to_str().unwrap_or_default().trim();
    let tag = text.trim_start_matches("W/").strip_prefix('"');
    let version = tag.and_then(|tag| tag.strip_suffix('"')?.parse::<i64>().ok());
    version.filter(|version| *version > 0).ok_or_else(|| {
        QueryError::bad_request(format!("If-Match names no one version: {text:?}"), hint)
    })
}

fn id_fault(reason: String) -> FieldFault {
    FieldFault {
        field: resource::ID.name.to_owned(),
        reason,
    }
}

pub(crate) fn id_is_missing() -> FieldFault {
    id_fault("missing field `id`".to_owned())
}

pub(super) fn id_is_no_text() -> FieldFault {
    id_fault(format!(
        "field `id`: a text of 1 to {MAX_ID_BYTES} letters is needed"
    ))
}

pub(super) fn id_is_another(id: &str) -> FieldFault {
    id_fault(format!(
        "field `id`: the path names {id:?}; an id never changes"
    ))
}

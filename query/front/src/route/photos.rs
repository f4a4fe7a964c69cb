//! `POST /api/v1/inspections/{id}/photos` and `GET /api/v1/photos/{hash}`: photos of inspections.
//!
//! The bytes are stored first, under their SHA-256, and then the inspection names them: a crash in
//! between leaves bytes that nothing names.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::StreamExt;
use headframe_schemas::photo::{
    self, MAX_PHOTO_BYTES, MAX_PHOTOS, PhotoType, SIGNATURE_BYTES, is_digest,
};
use headframe_schemas::resource::inspections::{INSPECTIONS, PHOTOS};
use headframe_schemas::resource::{Action, ResourceVersion, Values};
use serde_json::Value;

use crate::access::{Permission, Principal};
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::etag::opaque_tags;
use crate::photo_store::{Photos, digest_of, named};
use crate::route::registry::{self, wrong_fields};
use crate::route::schema::{ItemShape, Param, RequestBody, ResponseBody, Schema};
use crate::route::{Handler, Route};

/// Changes of an inspection by others that a new photo gives way to.
const MAX_TRIES: usize = 10;

/// A photo opened by itself runs and loads nothing.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// Whoever keeps a photo asks whether he may still have it.
const KEPT: HeaderValue = HeaderValue::from_static("private, no-cache");

const HINT: &str = "send a photo as JPEG, PNG or WebP, of at most 5 MiB, as the body";

pub(crate) static UPLOAD: Route = Route {
    method: Method::POST,
    path: "/api/v1/inspections/{id}/photos",
    permission: Permission::Operate,
    doc: "Stores a photo (JPEG, PNG or WebP, at most 5 MiB) under its SHA-256 and names it in the \
          inspection, which is the answer: 201 with the photo as Location, or 200 where it names \
          it already.",
    schema: Schema {
        path: &[Param::text("id", "The id of the inspection.").required()],
        body: RequestBody::Bytes(PhotoType::MEDIA_TYPES),
        item: Some(ItemShape::Resource(INSPECTIONS.name)),
        statuses: &[200, 201],
        ..Schema::JSON
    },
    handler: Handler::Front(|| post(upload)),
};

pub(crate) static ONE: Route = Route {
    method: Method::GET,
    path: "/api/v1/photos/{hash}",
    permission: Permission::Read,
    doc: "The photo of this SHA-256, as it was uploaded.",
    schema: Schema {
        path: &[Param::text("hash", "Its SHA-256, 64 hex digits.").required()],
        response: ResponseBody::Bytes(PhotoType::MEDIA_TYPES),
        statuses: &[200, 304],
        ..Schema::JSON
    },
    handler: Handler::Front(|| get(one)),
};

async fn upload(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, QueryError> {
    let photos = photos(&app)?;
    inspection(&app, &id)?;
    let _upload = photos.uploads.try_acquire().map_err(|_| {
        QueryError::new(
            ErrorCode::ConcurrencyLimit,
            "as many photos come as may at once",
            "try again in a second",
        )
    })?;
    let bytes = received(body).await?;
    let digest = digest_of(&bytes);
    // What could not be named is not stored.
    with_photo(&inspection(&app, &id)?.values, &digest)?;
    photos.put(&digest, bytes).await?;
    let (status, inspection) = name_photo(&app, &principal, &id, &digest).await?;
    let mut response = registry::item(&INSPECTIONS, status, &inspection);
    if let Ok(path) = HeaderValue::try_from(format!("/api/v1/photos/{digest}")) {
        response.headers_mut().insert(header::LOCATION, path);
    }
    Ok(response)
}

async fn one(
    State(app): State<Arc<AppState>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, QueryError> {
    let photos = photos(&app)?;
    if !is_digest(&digest) {
        return Err(QueryError::bad_request(
            format!("{digest:?} is no SHA-256"),
            "write it as 64 hex digits in lower case, as the inspection does",
        ));
    }
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let is_known = known.flat_map(opaque_tags).any(|tag| tag == digest);
    if is_known && photos.has(&digest).await? {
        return Ok(with_tag(StatusCode::NOT_MODIFIED.into_response(), &digest));
    }
    let absent = || {
        QueryError::new(
            ErrorCode::NotFound,
            format!("there is no photo {digest}"),
            "an inspection names those that there are",
        )
    };
    let found = photos.find(&digest).await?.ok_or_else(absent)?;
    let pieces = photos.pieces(&digest).await?.ok_or_else(absent)?;
    let mut response = with_tag(Body::from_stream(pieces).into_response(), &digest);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(found.length));
    let kind = found.photo_type;
    let file = format!("inline; filename=\"{digest}.{}\"", kind.extension());
    if let Ok(file) = HeaderValue::try_from(file) {
        headers.insert(header::CONTENT_DISPOSITION, file);
    }
    let media_type = HeaderValue::from_static(kind.media_type());
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    Ok(response)
}

/// The bytes of a digest never change; whether somebody may still read them is asked each time.
fn with_tag(mut response: Response, digest: &str) -> Response {
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{digest}\"")) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, KEPT);
    response
}

fn photos(app: &AppState) -> Result<&Photos, QueryError> {
    app.photos.as_ref().ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            "this process has no photos",
            "ask one that runs the role query",
        )
    })
}

fn inspection(app: &AppState, id: &str) -> Result<ResourceVersion, QueryError> {
    let found = registry::registry(app)?.find(&INSPECTIONS, id);
    found.ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            format!("there is no inspection {id:?}"),
            "register it first",
        )
    })
}

/// A body that is a photo. One that is none, or too long, is refused before it has come whole.
async fn received(body: Body) -> Result<Bytes, QueryError> {
    if body.size_hint().lower() > MAX_PHOTO_BYTES as u64 {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let mut is_photo = false;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            QueryError::bad_request(format!("the photo cannot be read: {error}"), HINT)
        })?;
        if bytes.len() + piece.len() > MAX_PHOTO_BYTES {
            return Err(too_long());
        }
        bytes.extend_from_slice(&piece);
        if !is_photo && bytes.len() >= SIGNATURE_BYTES {
            PhotoType::from_signature(&bytes).ok_or_else(no_photo)?;
            is_photo = true;
        }
    }
    match is_photo {
        true => Ok(bytes.into()),
        false => Err(no_photo()),
    }
}

fn too_long() -> QueryError {
    QueryError::new(
        ErrorCode::BodyTooLarge,
        format!("a photo has at most {MAX_PHOTO_BYTES} bytes"),
        HINT,
    )
}

fn no_photo() -> QueryError {
    QueryError::new(
        ErrorCode::UnsupportedMediaType,
        "the body does not begin as JPEG, PNG or WebP does",
        HINT,
    )
}

/// Names a photo in an inspection, whoever else changes it meanwhile.
async fn name_photo(
    app: &AppState,
    principal: &Principal,
    id: &str,
    digest: &str,
) -> Result<(StatusCode, ResourceVersion), QueryError> {
    let mut tries = 0;
    loop {
        let found = inspection(app, id)?;
        let Some(values) = with_photo(&found.values, digest)? else {
            return Ok((StatusCode::OK, found));
        };
        let seen = found.version;
        let action = Action::Replace { values, seen };
        let made = registry::change(app, principal, &INSPECTIONS, id.to_owned(), action).await;
        tries += 1;
        match made {
            Err(error) if error.code == ErrorCode::VersionChanged && tries < MAX_TRIES => {}
            made => return Ok((StatusCode::CREATED, made?)),
        }
    }
}

/// The fields of an inspection with one photo more; none where it names it already.
fn with_photo(values: &Values, digest: &str) -> Result<Option<Values>, QueryError> {
    let mut digests: Vec<&str> = photo::digests(named(values, PHOTOS)).collect();
    if digests.contains(&digest) {
        return Ok(None);
    }
    if digests.len() >= MAX_PHOTOS {
        return Err(QueryError::new(
            ErrorCode::Conflict,
            format!("the inspection names {MAX_PHOTOS} photos, which are the most"),
            "register another inspection for those that follow",
        ));
    }
    digests.push(digest);
    let mut values = values.clone();
    values.insert(PHOTOS.to_owned(), Value::String(digests.join(" ")));
    let checked = INSPECTIONS.check(&values);
    checked
        .map(Some)
        .map_err(|faults| wrong_fields(&INSPECTIONS, faults))
}

//! `/api/v1/{kind}` and `/api/v1/{kind}/{id}` of every kind of resource of the registry: lists,
//! one, and changes that name the version that they replace.
//!
//! The routes are made from the definitions of the kinds, and one set of functions answers all of
//! them: which kind is meant is what the path says.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, MatchedPath, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json};
use headframe_schemas::Resource;
use headframe_schemas::resource::values::check_id;
use headframe_schemas::resource::{self, Action, Change, FieldFault, ResourceVersion, Values};
use serde_json::{Map, Value, json};

use crate::access::{Permission, Principal};
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::photo_store::Photos;
use crate::registry::{Registry, RegistryFailure, ResourcePage};
use crate::reports::PastResources;
use crate::route::schema::{ItemShape, RequestBody, ResponseBody, Schema};
use crate::route::{Handler, Route};

mod answer;
mod params;
mod past;

pub(super) use answer::item;
pub(crate) use answer::wrong_fields;
use answer::{list_json, refused};
use params::ListParams;
pub(crate) use params::id_is_missing;
pub(super) use params::{param, seen_version};

/// Routes of a kind.
const METHODS: usize = 5;
/// Kinds.
const KINDS: usize = resource::ALL.len();
/// How many routes there are.
pub(super) const COUNT: usize = METHODS * KINDS;

const HINT: &str = "docs/registry.md lists the fields of each kind";

/// Every route of the registry.
static ROUTES: [[Route; METHODS]; KINDS] = [
    Kind::<0>::ROUTES,
    Kind::<1>::ROUTES,
    Kind::<2>::ROUTES,
    Kind::<3>::ROUTES,
    Kind::<4>::ROUTES,
    Kind::<5>::ROUTES,
    Kind::<6>::ROUTES,
    Kind::<7>::ROUTES,
];

/// The route at this place among all of them.
pub(super) const fn at(at: usize) -> &'static Route {
    &ROUTES[at / METHODS][at % METHODS]
}

/// Whether a path is one of these routes.
pub(crate) fn has_path(path: &str) -> bool {
    let mut kinds = resource::ALL.iter();
    kinds.any(|kind| [kind.path, kind.item_path].contains(&path))
}

/// The kind at this place of [`resource::ALL`].
struct Kind<const AT: usize>;

impl<const AT: usize> Kind<AT> {
    const RESOURCE: &'static Resource = resource::ALL[AT];
    const LIST: &'static params::Params = &params::list(Self::RESOURCE);
    const NEW: &'static params::Params = &params::new(Self::RESOURCE);
    const FIELDS: &'static params::Params = &params::fields(Self::RESOURCE);

    const ROUTES: [Route; METHODS] = [
        Route {
            method: Method::GET,
            path: Self::RESOURCE.path,
            permission: Permission::Read,
            doc: "Resources of this kind by id; `?limit=` (100, at most 1000), `?after=` an id, \
                  `?as_of=` a time, and each field as a filter.",
            schema: Schema {
                query: Self::LIST.as_slice(),
                response: ResponseBody::Page { cursor: "after" },
                item: Some(ItemShape::Resource(Self::RESOURCE.name)),
                ..Schema::JSON
            },
            handler: Handler::Page(|| get(list)),
        },
        Route {
            method: Method::POST,
            path: Self::RESOURCE.path,
            permission: Permission::Operate,
            doc: "Registers a resource: 201, or 409 where there is one of this id.",
            schema: Schema {
                body: RequestBody::Json(Self::NEW.as_slice()),
                item: Some(ItemShape::Resource(Self::RESOURCE.name)),
                ..Schema::MADE
            },
            handler: Handler::Front(|| post(create)),
        },
        Route {
            method: Method::GET,
            path: Self::RESOURCE.item_path,
            permission: Permission::Read,
            doc: "One resource, with its version as ETag; `?as_of=` a time.",
            schema: Schema {
                path: params::PATH,
                query: &[params::AS_OF],
                item: Some(ItemShape::Resource(Self::RESOURCE.name)),
                ..Schema::JSON
            },
            handler: Handler::Page(|| get(one)),
        },
        Route {
            method: Method::PUT,
            path: Self::RESOURCE.item_path,
            permission: Permission::Operate,
            doc: "Gives a resource other fields, all of them; `If-Match` names the ETag that was \
                  seen: 412 where it is another by now.",
            schema: Schema {
                path: params::PATH,
                headers: params::IF_MATCH,
                body: RequestBody::Json(Self::FIELDS.as_slice()),
                item: Some(ItemShape::Resource(Self::RESOURCE.name)),
                ..Schema::JSON
            },
            handler: Handler::Front(|| put(replace)),
        },
        Route {
            method: Method::DELETE,
            path: Self::RESOURCE.item_path,
            permission: Permission::Operate,
            doc: "Takes a resource away that no other names, and answers what it was; `If-Match` \
                  names the ETag that was seen.",
            schema: Schema {
                path: params::PATH,
                headers: params::IF_MATCH,
                item: Some(ItemShape::Resource(Self::RESOURCE.name)),
                ..Schema::JSON
            },
            handler: Handler::Front(|| delete(remove)),
        },
    ];
}

/// The kind that the path of a request names.
struct RequestedKind(&'static Resource);

impl<S: Send + Sync> FromRequestParts<S> for RequestedKind {
    type Rejection = QueryError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, QueryError> {
        let path = MatchedPath::from_request_parts(parts, state).await;
        let path = path.map_err(|_| QueryError::internal("a path of the registry is not known"))?;
        let is_this = |kind: &&&Resource| [kind.path, kind.item_path].contains(&path.as_str());
        let kind = resource::ALL.iter().find(is_this);
        kind.copied()
            .map(Self)
            .ok_or_else(|| QueryError::internal("a path of the registry has no kind"))
    }
}

pub(super) fn registry(app: &AppState) -> Result<&dyn Registry, QueryError> {
    app.registry.as_deref().ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            "this process has no registry",
            "ask one that runs the role query",
        )
    })
}

async fn list(
    State(app): State<Arc<AppState>>,
    RequestedKind(kind): RequestedKind,
    params: ListParams,
) -> Result<Response, QueryError> {
    let page = ResourcePage {
        limit: params.limit,
        after: params.after,
        filter: params.filter,
    };
    match params.as_of_us {
        None => {
            let (rows, has_more) = registry(&app)?.page(kind, &page);
            let next = rows.last().filter(|_| has_more).map(|row| row.id.clone());
            Ok(list_json(kind, &rows, next))
        }
        Some(at_us) => {
            let (rows, next) = past::page(app.reports()?, kind, &page, at_us).await?;
            Ok(list_json(kind, &rows, next))
        }
    }
}

async fn one(
    State(app): State<Arc<AppState>>,
    RequestedKind(kind): RequestedKind,
    Path(id): Path<String>,
    params::ItemParams { as_of_us }: params::ItemParams,
) -> Result<Response, QueryError> {
    let found = match as_of_us {
        None => registry(&app)?.find(kind, &id),
        Some(at_us) => {
            let wanted = PastResources {
                kind: kind.name,
                at_us,
                id: Some(id.clone()),
                after: String::new(),
                limit: 1,
            };
            app.reports()?.past_resources(&wanted).await?.pop()
        }
    };
    let found = found.ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            format!("there is no {} {id:?}", kind.singular),
            format!("GET {} lists those that there are", kind.path),
        )
    })?;
    Ok(item(kind, StatusCode::OK, &found))
}

async fn create(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    RequestedKind(kind): RequestedKind,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, QueryError> {
    let given = object(body)?;
    let id = given.get("id").cloned();
    let id = match id {
        Some(Value::String(id)) => check_id(&id).map(|()| id),
        Some(_) => Err(params::id_is_no_text()),
        None => Err(params::id_is_missing()),
    };
    let (id, values) = match (id, kind.check(&given)) {
        (Ok(id), Ok(values)) => (id, values),
        (id, values) => {
            let faults = id
                .err()
                .into_iter()
                .chain(values.err().into_iter().flatten());
            return Err(wrong_fields(kind, faults));
        }
    };
    let made = change(&app, &principal, kind, id, Action::Create(values)).await?;
    Ok(item(kind, StatusCode::CREATED, &made))
}

async fn replace(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    RequestedKind(kind): RequestedKind,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, QueryError> {
    let given = object(body)?;
    let values = checked(kind, &id, &given)?;
    let seen = seen_version(headers.get(header::IF_MATCH))?;
    let action = Action::Replace { values, seen };
    let changed = change(&app, &principal, kind, id, action).await?;
    Ok(item(kind, StatusCode::OK, &changed))
}

async fn remove(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    RequestedKind(kind): RequestedKind,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, QueryError> {
    let seen = seen_version(headers.get(header::IF_MATCH))?;
    let deleted = change(&app, &principal, kind, id, Action::Delete { seen }).await?;
    Ok(Json(json!({"deleted": deleted.to_json()})))
}

/// Makes a change. Photos that it names are those that are stored.
pub(super) async fn change(
    app: &AppState,
    principal: &Principal,
    kind: &'static Resource,
    id: String,
    action: Action,
) -> Result<ResourceVersion, QueryError> {
    let registry = registry(app)?;
    if let Action::Create(values) | Action::Replace { values, .. } = &action {
        let before = registry.find(kind, &id).map(|found| found.values);
        let fault = Photos::check(app.photos.as_ref(), kind, before.as_ref(), values).await?;
        if let Some(fault) = fault {
            return Err(wrong_fields(kind, [fault]));
        }
    }
    let change = Change {
        resource: kind,
        id,
        action,
        actor: principal.name.to_string(),
        role: principal.role.as_ref().map(ToString::to_string),
    };
    let made = registry.change(change).await;
    made.map_err(|failure| match failure {
        RegistryFailure::Refused(refusal) => refused(&refusal),
        RegistryFailure::Unavailable(why) => QueryError::new(
            ErrorCode::Storage,
            why,
            "look at the resource before trying again",
        ),
    })
}

/// The fields of a body whose id, if it has one, is that of the path.
fn checked(
    kind: &'static Resource,
    id: &str,
    given: &Map<String, Value>,
) -> Result<Values, QueryError> {
    let other = given.get("id").filter(|other| other.as_str() != Some(id));
    let other = other.map(|_| params::id_is_another(id));
    match (other, kind.check(given)) {
        (None, Ok(values)) => Ok(values),
        (other, values) => {
            let faults: Vec<FieldFault> = other
                .into_iter()
                .chain(values.err().into_iter().flatten())
                .collect();
            Err(wrong_fields(kind, faults))
        }
    }
}

/// A body that is one JSON object.
fn object(body: Result<Bytes, BytesRejection>) -> Result<Map<String, Value>, QueryError> {
    let body =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), HINT))?;
    serde_json::from_slice(&body).map_err(|error| {
        QueryError::bad_request(format!("the body is no JSON object: {error}"), HINT)
    })
}

//! Builds the router from the list of routes: around each handler the guard of its permission and
//! the slots of its caller's class, around all of them what every answer has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, any, on};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};

use crate::access::{Guard, MessageLogin, OngoingAccess, Permission, Principal};
use crate::app_state::AppState;
use crate::console;
use crate::error::{ErrorCode, QueryError};
use crate::error_body;
use crate::held_body::HeldBody;
use crate::held_refusals::{HeldRefusals, RequestOrigin};
use crate::page_answer;
use crate::peer::LimitedAddress;
use crate::request_limits::{RequestLimits, limit_anonymous};
use crate::request_log::{LoggedRequest, RequestLog, status_of_head};
use crate::route::{self, Handler, Route, registry, registry_proto};
use crate::security_headers;
use crate::services::RouteHandler;
use crate::slot_quotas::HeldSlot;
use crate::slots::{DeferredSlot, Slots};
use crate::start_times::{self, SERVER_TIMING};
use crate::wire::{flight, registry_grpc};

/// A wait for a slot that an answer names.
const WORTH_NAMING: Duration = Duration::from_millis(1);

/// Every route of the server. `handlers` answer the routes of other crates.
pub(crate) fn build(app: &Arc<AppState>, guard: &Guard, handlers: &[RouteHandler]) -> Router {
    let slots = Slots::new(&app.config);
    let refusals = Arc::new(HeldRefusals::new(&app.config));
    let limits = RequestLimits::new(&app.config);
    let mut paths: BTreeMap<&'static str, MethodRouter> = BTreeMap::new();
    for route in route::ALL {
        let gate = Gate {
            guard: guard.clone(),
            permission: route.permission,
            slots: route.needs_slot().then(|| slots.clone()),
            defers_slot: route.defers_slot(),
            is_ongoing: route.is_ongoing(),
            takes_first_message: route.takes_first_message(),
            refusals: route.holds_refusals().then(|| refusals.clone()),
            limits: limits.clone().filter(|_| !route.holds_refusals()),
            log: app
                .request_log
                .clone()
                .filter(|_| route.path.starts_with("/api/")),
            name: format!("{} {}", route.method, route.path).into(),
        };
        let mut answered = handler_of(route, app, handlers);
        if route.answers_etag() {
            let page = page_answer::Page {
                route,
                app: app.clone(),
            };
            answered = answered.route_layer(from_fn_with_state(page, page_answer::finish));
        }
        let mut guarded = answered.route_layer(from_fn_with_state(gate, guard_route));
        if app.config.public_pages && route.permission.is_page() && route.method.is_safe() {
            guarded = guarded.route_layer(map_response(security_headers::mark_public));
        }
        let methods = paths.remove(route.path).unwrap_or_default();
        paths.insert(route.path, methods.merge(guarded));
    }
    let mut router = Router::new();
    let pages = console::POOL.routes();
    router = router.merge(pages.layer(from_fn_with_state(limits.clone(), limit_anonymous)));
    let of_flight = flight::routes(app, guard, (&refusals, &limits), handlers);
    let elsewhere = Elsewhere {
        guard: guard.clone(),
        limits,
    };
    let mut of_registry = Router::new();
    for (path, methods) in paths {
        let methods = methods.fallback_service(any(wrong_method).with_state(elsewhere.clone()));
        if registry::has_path(path) || path == registry_proto::ROUTE.path {
            of_registry = of_registry.route(path, methods.clone());
        }
        router = router.route(path, methods);
    }
    router = router.merge(of_flight);
    router = router.merge(registry_grpc::routes(app, of_registry));
    // Compressed formats gain nothing by being compressed again.
    let compressible = DefaultPredicate::new().and(NotForContentType::const_new(
        "application/vnd.apache.parquet",
    ));
    router
        .fallback_service(any(no_such_path).with_state(elsewhere))
        .layer(from_fn(error_body::unify))
        .layer(CompressionLayer::new().compress_when(compressible))
        .layer(map_response(security_headers::add))
}

fn handler_of(route: &Route, app: &Arc<AppState>, handlers: &[RouteHandler]) -> MethodRouter {
    match route.handler {
        Handler::Front(handler)
        | Handler::Page(handler)
        | Handler::MemoryPage(handler)
        | Handler::LongPoll(handler)
        | Handler::Statement(handler)
        | Handler::Subscription(handler)
        | Handler::Socket(handler) => handler().with_state(app.clone()),
        Handler::Service => handlers
            .iter()
            .find(|handler| handler.method == route.method && handler.path == route.path)
            .map_or_else(|| absent(route), |found| found.answers.clone()),
    }
}

/// What answers a route of another crate that this process does not run.
fn absent(route: &Route) -> MethodRouter {
    match MethodFilter::try_from(route.method.clone()) {
        Ok(filter) => on(filter, not_in_this_process),
        // Only extension methods have no filter, and the list has none.
        Err(_) => any(not_in_this_process),
    }
}

/// What the guard of one route knows.
#[derive(Clone)]
struct Gate {
    guard: Guard,
    permission: Permission,
    /// Where the route reads tables.
    slots: Option<Slots>,
    /// Whether the handler takes one of them itself.
    defers_slot: bool,
    /// Whether the answer goes on.
    is_ongoing: bool,
    takes_first_message: bool,
    /// Where the route runs what somebody typed.
    refusals: Option<Arc<HeldRefusals>>,
    /// Where the route runs nothing that somebody typed.
    limits: Option<Arc<RequestLimits>>,
    /// Where requests are noted; not those of probes and of Prometheus, which come all the time.
    log: Option<RequestLog>,
    /// As the log calls the route.
    name: Arc<str>,
}

/// Guards a route, notes the request, and holds the answer where it is a refusal that has to wait.
async fn guard_route(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let origin = RequestOrigin::from_request(&parts);
    let LimitedAddress(address) = LimitedAddress::from_request(&parts);
    let (log, route, refusals) = (gate.log.clone(), gate.name.clone(), gate.refusals.clone());
    let mut response = admit(gate, Request::from_parts(parts, body), next).await;
    let Some(origin) = origin else {
        return response;
    };
    if let Some(log) = log {
        let request = LoggedRequest {
            wire: "http",
            route,
            peer: address,
            begun,
        };
        response = log.watch(response, request, status_of_head);
    }
    // A WebSocket of nobody yet is neither a refusal nor a success.
    let is_arrival = response.status() == StatusCode::SWITCHING_PROTOCOLS
        && response.extensions().get::<Principal>().is_none();
    if let Some(refusals) = refusals.filter(|_| !is_arrival) {
        refusals.hold(&origin, response.status()).await;
    }
    response
}

/// Lets a request through to its handler, with its principal, when it has the route's permission.
async fn admit(gate: Gate, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let subject = match gate.permission {
        Permission::WriteStream | Permission::MinerPage => first_param(&mut parts).await,
        _ => None,
    };
    let authorized = gate
        .guard
        .authorize(gate.permission, subject.as_deref(), &parts);
    let limits = gate.limits.as_ref();
    if let Some(refusal) = limits.and_then(|limits| limits.refuse(authorized.as_ref(), &parts)) {
        return refusal;
    }
    let login = match gate.takes_first_message {
        true => MessageLogin::new(&gate.guard, gate.permission, subject.as_deref(), &parts),
        false => None,
    };
    let may_log_in = login.is_some();
    if let Some(login) = login {
        parts.extensions.insert(Arc::new(login));
    }
    let principal = match authorized {
        Ok(principal) => principal,
        Err(error) if may_log_in && MessageLogin::may_help(&error) => {
            return next.run(Request::from_parts(parts, body)).await;
        }
        Err(error) => {
            // Who is known and may not is named in the log.
            let known = gate.guard.authorize(Permission::Anybody, None, &parts).ok();
            return with_principal(error.into_response(), known);
        }
    };
    parts.extensions.insert(principal.clone());
    if gate.is_ongoing {
        let access = OngoingAccess::new(&gate.guard, gate.permission, subject, &principal, &parts);
        parts.extensions.insert(Arc::new(access));
    }
    let request = Request::from_parts(parts, body);
    let response = run_in_slot(&gate, &principal, request, next).await;
    with_principal(response, Some(principal))
}

/// Tells the request log who asked.
fn with_principal(mut response: Response, principal: Option<Principal>) -> Response {
    if let Some(principal) = principal {
        response.extensions_mut().insert(principal);
    }
    response
}

/// Runs the handler, in a slot of the caller's class where the route needs one.
async fn run_in_slot(gate: &Gate, principal: &Principal, request: Request, next: Next) -> Response {
    let Some(slots) = &gate.slots else {
        return next.run(request).await;
    };
    let begun = Instant::now();
    let (mut parts, body) = request.into_parts();
    let LimitedAddress(address) = LimitedAddress::from_request(&parts);
    if gate.defers_slot {
        let slot = DeferredSlot::new(slots, principal, address);
        parts.extensions.insert(slot);
        let mut response = next.run(Request::from_parts(parts, body)).await;
        return match response.extensions_mut().remove::<Arc<HeldSlot>>() {
            Some(slot) => response.map(|body| Body::new(HeldBody::new(body, slot))),
            None => response,
        };
    }
    let request = Request::from_parts(parts, body);
    match slots.acquire(principal, address).await {
        Ok(slot) => {
            let waited = begun.elapsed();
            let mut response = next.run(request).await;
            let timing = start_times::waited_for_slot(waited);
            if let Some(timing) = timing.filter(|_| waited >= WORTH_NAMING) {
                response.headers_mut().insert(SERVER_TIMING, timing);
            }
            response.map(|body| Body::new(HeldBody::new(body, slot)))
        }
        Err(error) => error.into_response(),
    }
}

/// What the path names first, decoded: a stream or an address. `None` where it cannot be decoded.
async fn first_param(parts: &mut Parts) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    params.iter().next().map(|(_, value)| value.to_owned())
}

/// The permission to learn that there is nothing at a path: what does not read needs the most.
fn permission_of_unknown(method: &Method) -> Permission {
    match method.is_safe() {
        true => Permission::Read,
        false => Permission::Operate,
    }
}

/// What answers where no route is.
#[derive(Clone)]
struct Elsewhere {
    guard: Guard,
    limits: Option<Arc<RequestLimits>>,
}

impl Elsewhere {
    /// The refusal of a caller who may not even learn that there is nothing.
    fn refuse(&self, request: &Parts) -> Option<Response> {
        let permission = permission_of_unknown(&request.method);
        let authorized = self.guard.authorize(permission, None, request);
        let limits = self.limits.as_ref();
        limits
            .and_then(|limits| limits.refuse(authorized.as_ref(), request))
            .or_else(|| Some(authorized.err()?.into_response()))
    }
}

async fn wrong_method(State(elsewhere): State<Elsewhere>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if let Some(refusal) = elsewhere.refuse(&parts) {
        return refusal;
    }
    QueryError::new(
        ErrorCode::MethodNotAllowed,
        format!("{} does not take {}", parts.uri.path(), parts.method),
        "docs/http.md lists every path with its methods",
    )
    .into_response()
}

async fn no_such_path(State(elsewhere): State<Elsewhere>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match elsewhere.refuse(&parts) {
        Some(refusal) => refusal,
        None => not_found(&parts.method, &parts.uri).into_response(),
    }
}

fn not_found(method: &Method, uri: &Uri) -> QueryError {
    QueryError::new(
        ErrorCode::NotFound,
        format!("there is nothing at {method} {}", uri.path()),
        "SQL is at /api/v1/sql, pools at /api/v1/pool; docs/http.md lists every path",
    )
}

async fn not_in_this_process(method: Method, uri: Uri) -> QueryError {
    QueryError::new(
        ErrorCode::NotFound,
        format!("this process does not answer {method} {}", uri.path()),
        "rows are taken by a process that runs the role query, bans by the one that runs the pool",
    )
}

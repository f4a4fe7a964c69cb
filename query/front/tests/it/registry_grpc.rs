//! The registry over gRPC: for every kind, it says and does what REST says and does. Messages are
//! written and read here by the file that clients generate their stubs from.

mod bed;
pub mod memory;
mod proto_file;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode};
use headframe_query_front::{QueryConfig, Services};
use headframe_schemas::Kind;
use headframe_schemas::column::Limits;
use headframe_schemas::resource::{self, Field, Format, Resource, Rule};
use serde_json::{Map, Value, json};
use tonic::Code;

use crate::account_store::{MemoryStore, accounts, token};
use crate::registry_grpc::bed::bed;
use crate::server::{READER, config, send, services, token_file};

/// The SHA-256 of a photo that the server has.
pub const PHOTO: &str = "abababababababababababababababababababababababababababababababab";

/// The names of a kind's calls.
struct Names {
    one: String,
    many: String,
}

impl Names {
    fn new(kind: &Resource) -> Self {
        let capitalized = |word: &str| word[..1].to_uppercase() + &word[1..];
        Self {
            one: capitalized(kind.singular),
            many: capitalized(kind.name),
        }
    }

    fn verb(&self, verb: &str) -> String {
        format!(
            "{verb}{}",
            if verb == "List" {
                &self.many
            } else {
                &self.one
            }
        )
    }
}

/// A resource with every field that it may have.
fn sample(kind: &Resource, id: &str) -> Value {
    let mut sample = Map::new();
    for (at, field) in kind.fields.iter().enumerate() {
        sample.insert(field.name().to_owned(), sample_value(field, at));
    }
    for rule in kind.rules {
        if let Rule::ExactlyOne(names) = rule {
            for name in &names[1..] {
                sample.remove(*name);
            }
        }
    }
    let checked = kind.check(&sample);
    assert!(checked.is_ok(), "{}: {checked:?}", kind.name);
    sample.insert("id".to_owned(), json!(id));
    Value::Object(sample)
}

fn sample_value(field: &Field, at: usize) -> Value {
    match (field.format, field.column.limits, field.column.kind) {
        (Format::Hours, ..) => json!("17:00-21:30"),
        (Format::TimeZone, ..) => json!("Europe/Oslo"),
        (Format::Country, ..) => json!("NO"),
        (Format::Photos, ..) => json!(PHOTO),
        (Format::HttpUrl, ..) => json!("https://site.example:5000/"),
        (Format::Reference(_), ..) => json!("r-1"),
        (_, Limits::OneOf(words), _) => json!(words[0]),
        (_, Limits::Float(least, most), _) => json!(61.25_f64.clamp(least, most)),
        (_, Limits::Int(least, most), Kind::Int | Kind::SmallInt) => json!(2.clamp(least, most)),
        (_, _, Kind::Timestamp) => json!(format!("2026-01-31T12:00:00.000{at:02}5Z")),
        (_, _, Kind::Bool) => json!(true),
        _ => json!(format!("a text of {}, ä & b=c", field.name())),
    }
}

/// A value that the field does not take.
fn wrong_value(field: &Field) -> Value {
    match field.column.kind {
        Kind::Float => json!(1e300),
        Kind::Int | Kind::SmallInt => json!(i64::MAX),
        Kind::Timestamp => json!("1990-01-01T00:00:00Z"),
        _ => json!(""),
    }
}

#[tokio::test]
async fn what_one_side_registers_the_other_reads_as_it_is() {
    let bed = bed(config(), services()).await;
    for kind in resource::ALL {
        let names = Names::new(kind);
        let (get, list) = (names.verb("Get"), names.verb("List"));
        let made = bed
            .call(
                &names.verb("Create"),
                json!({kind.singular: sample(kind, "a")}),
            )
            .await;
        let made = made.unwrap();
        assert_eq!(made["version"], json!(1), "{}", kind.name);
        assert_eq!(made, bed.read(&format!("{}/a", kind.name)).await);
        let registered = bed
            .rest(Method::POST, kind.name, None, sample(kind, "b"))
            .await;
        assert_eq!(
            registered.status,
            StatusCode::CREATED,
            "{}",
            registered.text
        );
        let registered: Value = serde_json::from_str(&registered.text).unwrap();
        assert_eq!(
            bed.call(&get, json!({"id": "b"})).await.unwrap(),
            registered
        );
        // Each field is a filter, and pages are the same.
        let mut pages = vec![(json!({}), String::new())];
        for (name, value) in registered.as_object().unwrap() {
            if kind.field(name).is_some() {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                let query = url::form_urlencoded::byte_serialize(text.as_bytes());
                pages.push((
                    json!({name: value}),
                    format!("&{name}={}", query.collect::<String>()),
                ));
            }
        }
        for (filter, query) in pages {
            let page = json!({"limit": 1, "after": "a", "filter": filter});
            let mut found = bed.call(&list, page).await.unwrap();
            found["next"] = found.get("next").cloned().unwrap_or_default();
            let rest = bed
                .read(&format!("{}?limit=1&after=a{query}", kind.name))
                .await;
            assert_eq!(found, rest, "{query}");
            assert_eq!(rest[kind.name].as_array().unwrap().len(), 1, "{query}");
        }
        let first = bed.call(&list, json!({"limit": 1})).await.unwrap();
        assert_eq!((&first["next"], &first[kind.name][0]), (&json!("a"), &made));
        let none = json!({"filter": {kind.fields[0].name(): "other"}});
        assert_eq!(bed.call(&list, none).await.unwrap(), json!({}));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_field_is_said_in_the_same_words_and_named() {
    let bed = bed(config(), services()).await;
    for kind in resource::ALL {
        let create = Names::new(kind).verb("Create");
        let mut refused = 0;
        for field in kind.fields {
            let mut wrong = sample(kind, "a");
            wrong[field.name()] = wrong_value(field);
            let rest = bed.rest(Method::POST, kind.name, None, wrong.clone()).await;
            assert_eq!(
                rest.status,
                StatusCode::BAD_REQUEST,
                "{}: {}",
                field.name(),
                rest.text
            );
            let status = bed
                .both_refuse(&create, json!({kind.singular: wrong}), rest)
                .await;
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(
                status
                    .message()
                    .contains(&format!("field `{}`", field.name()))
            );
            let details = String::from_utf8_lossy(status.details()).into_owned();
            assert!(details.contains("google.rpc.BadRequest"), "{details}");
            assert!(
                details.contains(&format!("\u{a}{}", length_and(field.name()))),
                "{details:?}"
            );
            refused += 1;
        }
        assert!(refused >= 9, "{}", kind.name);
        let rest = bed.rest(Method::POST, kind.name, None, json!({})).await;
        let status = bed.both_refuse(&create, json!({}), rest).await;
        assert!(status.message().contains("missing field `id`"), "{status}");
    }
    // A number that no field has is named as well, together with all else.
    let unknown = [0xf2, 0x7f, 1, b'a'];
    let site = [[0x0a, unknown.len() as u8].as_slice(), &unknown].concat();
    let status = bed
        .send_message("CreateSite", &site, &[])
        .await
        .unwrap_err();
    for part in [
        "unknown field `number 2046`",
        "missing field `name`",
        "missing field `id`",
    ] {
        assert!(status.message().contains(part), "{status}");
    }
    let status = bed
        .send_message("GetSite", &unknown, &[])
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

/// A text as messages have it, after the key of its field.
fn length_and(text: &str) -> String {
    format!("{}{text}", char::from(u8::try_from(text.len()).unwrap()))
}

#[tokio::test]
async fn changes_name_their_version_and_conflicts_are_the_same() {
    let bed = bed(config(), services()).await;
    for kind in resource::ALL {
        let names = Names::new(kind);
        let (create, update) = (names.verb("Create"), names.verb("Update"));
        let (get, delete) = (names.verb("Get"), names.verb("Delete"));
        let path = format!("{}/a", kind.name);
        let resource = || sample(kind, "a");
        bed.call(&create, json!({kind.singular: resource()}))
            .await
            .unwrap();
        let rest = bed.rest(Method::POST, kind.name, None, resource()).await;
        let status = bed
            .both_refuse(&create, json!({kind.singular: resource()}), rest)
            .await;
        assert_eq!(status.code(), Code::AlreadyExists);
        for (tag, seen, code) in [
            (None, 0, Code::FailedPrecondition),
            (Some("\"-3\""), -3, Code::InvalidArgument),
            (Some("\"7\""), 7, Code::Aborted),
        ] {
            let rest = bed.rest(Method::PUT, &path, tag, resource()).await;
            let change = json!({kind.singular: resource(), "expected_version": seen});
            let status = bed.both_refuse(&update, change, rest).await;
            assert_eq!(status.code(), code, "{status}");
            let rest = bed.rest(Method::DELETE, &path, tag, Value::Null).await;
            let gone = json!({"id": "a", "expected_version": seen});
            let status = bed.both_refuse(&delete, gone, rest).await;
            assert_eq!(status.code(), code, "{status}");
        }
        let change = json!({kind.singular: resource(), "expected_version": 1});
        let changed = bed.call(&update, change).await.unwrap();
        assert_eq!(
            (&changed["version"], &changed),
            (&json!(2), &bed.read(&path).await)
        );
        let gone = bed
            .call(&delete, json!({"id": "a", "expected_version": 2}))
            .await
            .unwrap();
        assert_eq!(gone, changed);
        let rest = bed.rest(Method::GET, &path, None, Value::Null).await;
        let status = bed.both_refuse(&get, json!({"id": "a"}), rest).await;
        assert_eq!(status.code(), Code::NotFound);
        // The past is asked of the tables, which are not there.
        let past = format!("{path}?as_of=2026-01-31T12:00:00Z");
        let rest = bed.rest(Method::GET, &past, None, Value::Null).await;
        let past = json!({"id": "a", "as_of": "2026-01-31T12:00:00Z"});
        bed.both_refuse(&get, past, rest).await;
    }
}

#[tokio::test]
async fn each_role_may_do_over_grpc_what_it_may_do_over_rest() {
    let reader = token_file(READER);
    let closed = QueryConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        token_file: Some(reader.path().to_owned()),
        ..config()
    };
    let accounts = accounts(&MemoryStore::new()).await;
    let services = Services {
        accounts: Some(accounts.clone()),
        ..services()
    };
    let mut bed = bed(closed, services).await;
    let mut tokens = vec![
        String::new(),
        "wrong-token-of-20-letters".to_owned(),
        READER.to_owned(),
    ];
    for role in headframe_query_front::access::Role::NAMES {
        tokens.push(token(&accounts, role).await);
    }
    let mut let_through = 0;
    for kind in resource::ALL {
        let names = Names::new(kind);
        let path = format!("{}/a", kind.name);
        let calls = [
            ("Get", Method::GET, path.as_str(), json!({"id": "a"})),
            ("List", Method::GET, kind.name, json!({})),
            (
                "Create",
                Method::POST,
                kind.name,
                json!({kind.singular: {"id": "a"}}),
            ),
            (
                "Update",
                Method::PUT,
                &path,
                json!({kind.singular: {"id": "a"}}),
            ),
            ("Delete", Method::DELETE, &path, json!({"id": "a"})),
        ];
        for given in &tokens {
            bed.token = Some(given.clone());
            for (verb, method, path, request) in &calls {
                let rest = bed.rest(method.clone(), path, None, Value::Null).await;
                let status = bed.call(&names.verb(verb), request.clone()).await;
                let code = status.map_or_else(|status| status.code(), |_| Code::Ok);
                match rest.status.as_u16() {
                    401 => assert_eq!(code, Code::Unauthenticated, "{verb} {path}"),
                    403 => assert_eq!(code, Code::PermissionDenied, "{verb} {path}"),
                    429 => panic!("{}", rest.text),
                    _ => {
                        assert!(!matches!(
                            code,
                            Code::Unauthenticated | Code::PermissionDenied
                        ));
                        let_through += 1;
                    }
                }
            }
        }
    }
    // Viewers, auditors and the reader's token two calls of each kind, operators and admins all.
    assert_eq!(let_through, resource::ALL.len() * (3 * 2 + 2 * 5));
}

#[tokio::test]
async fn a_page_of_another_site_and_a_proxy_are_refused_as_over_rest() {
    let bed = bed(config(), services()).await;
    let site = bed.file.encode(
        "CreateSiteRequest",
        &json!({"site": sample(&resource::sites::SITES, "a")}),
    );
    for headers in [
        ("sec-fetch-site", "cross-site"),
        ("x-forwarded-for", "192.0.2.1"),
    ] {
        let status = bed
            .send_message("CreateSite", &site, &[headers])
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
    // Headers about bodies and caches say nothing about who asks, and change nothing.
    let odd = [
        ("if-none-match", "*"),
        ("if-match", "\"7\""),
        ("accept", "application/problem+json"),
    ];
    bed.send_message("CreateSite", &site, &odd).await.unwrap();
    let get = bed.file.encode("GetSiteRequest", &json!({"id": "a"}));
    let read = bed.send_message("GetSite", &get, &odd).await.unwrap();
    assert_eq!(bed.file.decode("Site", &read)["version"], json!(1));
    let delete = bed.file.encode("DeleteSiteRequest", &json!({"id": "a"}));
    let status = bed
        .send_message("DeleteSite", &delete, &odd)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("expected_version"), "{status}");
}

#[tokio::test]
async fn what_is_no_call_or_too_large_a_one_is_refused() {
    let bed = bed(config(), services()).await;
    let path = "/headframe.registry.v1.Registry/GetSite";
    let form = bed.request(Method::POST, path, &[("content-type", "text/plain")]);
    let refused = send(&bed.router, form.body(Body::from("\0\0\0\0\0")).unwrap()).await;
    assert_eq!(
        refused.status_and_code(),
        (415, "unsupported_media_type".to_owned())
    );
    let nowhere = bed.request(Method::POST, "/headframe.registry.v1.Registry/GetMoon", &[]);
    let nowhere = nowhere.header("content-type", "application/grpc");
    let refused = send(&bed.router, nowhere.body(Body::empty()).unwrap()).await;
    assert_eq!(
        refused.status,
        StatusCode::NOT_FOUND,
        "which clients read as UNIMPLEMENTED"
    );
    let large = bed
        .send_message("GetSite", &vec![0; 70_000], &[])
        .await
        .unwrap_err();
    assert_eq!(large.code(), Code::ResourceExhausted, "{large}");
    for bytes in [b"\x0a\xff".as_slice(), b"\x08\x01", b"\x0f"] {
        let status = bed.send_message("GetSite", bytes, &[]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    for id in ["", "a/b", "../sites/a", "ä", &"a".repeat(49)] {
        let status = bed.call("GetSite", json!({"id": id})).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("field `id`"), "{status}");
    }
}

#[tokio::test]
async fn the_file_is_served() {
    let bed = bed(config(), services()).await;
    let request = bed.request(Method::GET, "/api/v1/registry.proto", &[]);
    let served = send(&bed.router, request.body(Body::empty()).unwrap()).await;
    assert_eq!(served.status, StatusCode::OK);
    assert_eq!(served.text, proto_file::TEXT);
    let kinds: HeaderMap = served.headers;
    assert_eq!(kinds["content-type"], "text/plain; charset=utf-8");
}

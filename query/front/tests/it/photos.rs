//! Photos of inspections: what is taken, what is refused, and how they are sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use futures::{StreamExt, stream};
use headframe_query_front::photo_store::PhotoPieces;
use headframe_query_front::{PhotoStore, PhotoStoreError, Services};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt;

use crate::registry_grpc::memory::MemoryRegistry;
use crate::server::{Answer, config, router, send, services};

const MAX_BYTES: usize = 5 << 20;

/// Photos in memory by their digests.
#[derive(Default)]
pub struct MemoryPhotos(Mutex<BTreeMap<String, Vec<u8>>>);

impl MemoryPhotos {
    /// With one photo, whose bytes do not matter.
    pub fn with(digest: &str) -> Self {
        Self(Mutex::new(BTreeMap::from([(
            digest.to_owned(),
            Vec::new(),
        )])))
    }
}

#[async_trait]
impl PhotoStore for MemoryPhotos {
    async fn put(&self, digest: &str, bytes: Bytes) -> Result<(), PhotoStoreError> {
        let mut all = self.0.lock().unwrap();
        all.insert(digest.to_owned(), bytes.to_vec());
        Ok(())
    }

    async fn read(&self, digest: &str) -> Result<Option<PhotoPieces>, PhotoStoreError> {
        let found = self.0.lock().unwrap().get(digest).cloned();
        let pieces = |bytes: Vec<u8>| {
            let pieces: Vec<Bytes> = bytes.chunks(7).map(Bytes::copy_from_slice).collect();
            stream::iter(pieces).map(Ok).boxed()
        };
        Ok(found.map(pieces))
    }

    async fn has(&self, digest: &str) -> Result<bool, PhotoStoreError> {
        Ok(self.0.lock().unwrap().contains_key(digest))
    }
}

/// A server with one inspection, `first`.
struct Bed {
    router: Router,
    photos: Arc<MemoryPhotos>,
}

impl Bed {
    async fn new() -> Self {
        let photos = Arc::new(MemoryPhotos::default());
        let services = Services {
            registry: Some(Arc::new(MemoryRegistry::default())),
            photos: Some(photos.clone()),
            ..services()
        };
        let bed = Self {
            router: router(config(), services).await,
            photos,
        };
        let mut first = fields();
        first["id"] = json!("first");
        let body = Body::from(first.to_string());
        let made = bed.send("POST", "inspections", &[], body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        bed
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("/api/v1/{path}"))
            .header("host", "127.0.0.1:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(&self.router, request.body(body).unwrap()).await
    }

    async fn upload(&self, bytes: impl Into<Body>) -> Answer {
        let path = "inspections/first/photos";
        let named = [("content-type", "image/png")];
        self.send("POST", path, &named, bytes.into()).await
    }

    /// The version of the inspection, and the photos that it names.
    async fn inspection(&self) -> (i64, String) {
        let found = self.send("GET", "inspections/first", &[], Body::empty());
        let found: Value = serde_json::from_str(&found.await.text).unwrap();
        let photos = found["photos"].as_str().unwrap_or_default().to_owned();
        (found["version"].as_i64().unwrap(), photos)
    }

    fn stored(&self) -> usize {
        self.photos.0.lock().unwrap().len()
    }
}

/// The fields of the inspection without photos.
fn fields() -> Value {
    json!({"site": "north", "type": "routine", "status": "done",
        "planned_at": "2026-01-31T12:00:00Z"})
}

/// A WebP file as far as its beginning tells, of letters that a test may print.
fn webp(text: &str) -> Vec<u8> {
    [b"RIFF\x24\0\0\0WEBP", text.as_bytes()].concat()
}

#[tokio::test]
async fn a_photo_is_stored_once_named_and_sent_as_it_came() {
    let bed = Bed::new().await;
    let made = bed.upload(webp("a fire door")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let body: Value = serde_json::from_str(&made.text).unwrap();
    let digest = body["photos"].as_str().unwrap().to_owned();
    assert_eq!(
        (&body["id"], &body["updated_by"]),
        (&json!("first"), &json!("local"))
    );
    assert_eq!(made.headers["etag"], "\"2\"");
    let path = format!("photos/{digest}");
    assert_eq!(made.headers["location"], format!("/api/v1/{path}").as_str());
    assert_eq!(bed.inspection().await, (2, digest.clone()));

    // The same again changes nothing.
    assert_eq!(bed.upload(webp("a fire door")).await.status, 200);
    assert_eq!(bed.inspection().await, (2, digest.clone()));
    assert_eq!(bed.stored(), 1);

    let found = bed.send("GET", &path, &[], Body::empty()).await;
    assert_eq!(
        (found.status.as_u16(), found.text.as_bytes()),
        (200, &*webp("a fire door"))
    );
    for (name, value) in [
        ("content-type", "image/webp"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cache-control", "private, no-cache"),
        ("content-length", "23"),
        ("etag", format!("\"{digest}\"").as_str()),
        (
            "content-disposition",
            format!("inline; filename=\"{digest}.webp\"").as_str(),
        ),
    ] {
        assert_eq!(found.headers[name], value, "{name}");
    }
    let known = format!("W/\"other\", \"{digest}\"");
    let known = [("if-none-match", known.as_str())];
    let unchanged = bed.send("GET", &path, &known, Body::empty()).await;
    assert_eq!(
        (unchanged.status.as_u16(), unchanged.text.as_str()),
        (304, "")
    );
    let absent = format!("photos/{}", "0".repeat(64));
    let tag = format!("\"{}\"", "0".repeat(64));
    let known = [("if-none-match", tag.as_str())];
    let refused = bed.send("GET", &absent, &known, Body::empty()).await;
    assert_eq!(refused.status, 404);
    for (path, status) in [
        (absent, 404),
        ("photos/..%2f..%2fetc%2fpasswd".to_owned(), 400),
        (path.to_uppercase().replace("PHOTOS", "photos"), 400),
    ] {
        let refused = bed.send("GET", &path, &[], Body::empty()).await;
        assert_eq!(refused.status.as_u16(), status, "{path}");
    }

    // One byte of it is another: it is not sent as what it was.
    bed.photos.0.lock().unwrap().get_mut(&digest).unwrap()[15] ^= 1;
    let changed = bed.send("GET", &path, &[], Body::empty()).await;
    assert_eq!(changed.status, 500);
    assert!(changed.text.contains("another SHA-256"), "{}", changed.text);
    // Whoever has it brings it back.
    assert_eq!(bed.upload(webp("a fire door")).await.status, 200);
    assert_eq!(bed.send("GET", &path, &[], Body::empty()).await.status, 200);
}

#[tokio::test]
async fn what_is_no_photo_or_too_much_is_refused_and_not_stored() {
    let bed = Bed::new().await;
    let svg = r#"<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>"#;
    let html = "<!DOCTYPE html><script>alert(1)</script>";
    let piece = Bytes::from(webp(&"x".repeat(1 << 16)));
    let endless = stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
    for (what, body, status, code) in [
        ("svg", Body::from(svg), 415, "unsupported_media_type"),
        ("html", Body::from(html), 415, "unsupported_media_type"),
        (
            "gif",
            Body::from("GIF89a_______"),
            415,
            "unsupported_media_type",
        ),
        ("short", Body::from("RIFF"), 415, "unsupported_media_type"),
        ("nothing", Body::empty(), 415, "unsupported_media_type"),
        (
            "long",
            Body::from(webp(&"x".repeat(MAX_BYTES))),
            413,
            "body_too_large",
        ),
        ("endless", Body::from_stream(endless), 413, "body_too_large"),
    ] {
        let refused = bed.upload(body).await;
        assert_eq!(
            refused.status_and_code(),
            (status, code.to_owned()),
            "{what}"
        );
    }
    let nowhere = "inspections/second/photos";
    let refused = bed.send("POST", nowhere, &[], webp("a").into()).await;
    assert_eq!(refused.status_and_code(), (404, "not_found".to_owned()));
    assert_eq!(bed.stored(), 0);

    // The largest there may be is taken, as are twenty.
    let largest = webp(&"x".repeat(MAX_BYTES - 12));
    assert_eq!(bed.upload(largest).await.status, 201);
    for number in 1..20 {
        assert_eq!(bed.upload(webp(&number.to_string())).await.status, 201);
    }
    let refused = bed.upload(webp("20")).await;
    assert_eq!(refused.status_and_code(), (409, "conflict".to_owned()));
    assert_eq!((bed.inspection().await.0, bed.stored()), (21, 20));
}

/// Who changes an inspection can take photos out of it, and name those alone that are stored.
#[tokio::test]
async fn a_photo_that_is_not_stored_cannot_be_named() {
    let bed = Bed::new().await;
    assert_eq!(bed.upload(webp("a")).await.status, 201);
    let (_, digest) = bed.inspection().await;
    let put = async |photos: &str, version: i64| {
        let mut fields = fields();
        fields["photos"] = json!(photos);
        let seen = format!("\"{version}\"");
        let headers = [
            ("if-match", seen.as_str()),
            ("content-type", "application/json"),
        ];
        let body = Body::from(fields.to_string());
        bed.send("PUT", "inspections/first", &headers, body).await
    };
    let absent = "ab".repeat(32);
    let refused = put(&format!("{digest} {absent}"), 2).await;
    assert_eq!(refused.status, 400);
    let expected = format!("field `photos`: no photo {absent} is stored");
    assert!(refused.text.contains(&expected), "{}", refused.text);
    // What it names already is not looked for again.
    bed.photos.0.lock().unwrap().clear();
    assert_eq!(put(&digest, 2).await.status, 200);
    bed.photos.put(&absent, Bytes::new()).await.unwrap();
    assert_eq!(put(&absent, 3).await.status, 200);
    assert_eq!(bed.inspection().await, (4, absent));
}

#[tokio::test]
async fn only_so_many_photos_come_at_once() {
    let bed = Bed::new().await;
    let (begun, mut begins) = mpsc::channel(16);
    let uploads: Vec<_> = (0..4)
        .map(|_| {
            let begun = begun.clone();
            let body = stream::poll_fn(move |_| {
                let _ = begun.try_send(());
                Poll::<Option<Result<Bytes, std::io::Error>>>::Pending
            });
            let request = Request::post("/api/v1/inspections/first/photos")
                .header("host", "127.0.0.1:8080")
                .body(Body::from_stream(body))
                .unwrap();
            tokio::spawn(bed.router.clone().oneshot(request))
        })
        .collect();
    for _ in 0..4 {
        begins.recv().await.unwrap();
    }
    let refused = bed.upload(webp("a")).await;
    assert_eq!(
        refused.status_and_code(),
        (429, "concurrency_limit".to_owned())
    );
    for upload in uploads {
        upload.abort();
        let _ = upload.await;
    }
    assert_eq!(bed.upload(webp("a")).await.status, 201);
}

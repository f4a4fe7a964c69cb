//! People who sign in with an identity provider, which a small one of the test's own stands in for.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use headframe_query_front::{AccessConfig, OidcConfig, QueryConfig, Server, Services};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::account_store::{MemoryStore, accounts};
use crate::jwt::now_s;
use crate::server::{Answer, READER, ask, config, router, send, services, token_file};

const SECRET: &str = "a secret: of 24 letters+";
const CALLBACK: &str = "https://mine.example.org/api/v1/login/oidc/callback";

/// What the provider was told to answer, and what it saw.
#[derive(Default)]
struct Script {
    issuer: String,
    /// What the next token is, once its code comes with the verifier of this hash.
    token: String,
    code_challenge: String,
    /// Keys that it publishes.
    keys: Vec<Value>,
    named_issuer: Option<String>,
    token_requests: usize,
}

type Shared = Arc<Mutex<Script>>;

/// A provider with a key of each kind.
struct Provider {
    script: Shared,
    rsa: KeyPair,
    ed25519: KeyPair,
}

async fn discovery(State(script): State<Shared>) -> Json<Value> {
    let script = script.lock().unwrap();
    let issuer = &script.issuer;
    Json(json!({
        "issuer": script.named_issuer.as_ref().unwrap_or(issuer),
        "authorization_endpoint": format!("{issuer}/authorize?tenant=a"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }))
}

async fn keys(State(script): State<Shared>) -> Json<Value> {
    Json(json!({"keys": script.lock().unwrap().keys}))
}

async fn token(
    State(script): State<Shared>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let mut script = script.lock().unwrap();
    script.token_requests += 1;
    let field = |name: &str| {
        let mut form = url::form_urlencoded::parse(body.as_bytes());
        let found = form.find(|(given, _)| given == name);
        found
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let hash = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        field("code_verifier").as_bytes(),
    );
    let basic = STANDARD.encode("a+client:a+secret%3A+of+24+letters%2B");
    let is_good = field("grant_type") == "authorization_code"
        && field("code") == "the code"
        && field("redirect_uri") == CALLBACK
        && URL_SAFE_NO_PAD.encode(hash) == script.code_challenge
        && headers["authorization"] == format!("Basic {basic}");
    match is_good {
        true => (
            StatusCode::OK,
            Json(json!({"access_token": "x", "token_type": "Bearer", "id_token": script.token})),
        ),
        false => (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        ),
    }
}

impl Provider {
    async fn start() -> Self {
        let script = Shared::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        // SEQUENCE { INTEGER of 257 bytes with a leading zero, INTEGER 65537 }
        let modulus = URL_SAFE_NO_PAD.encode(&rsa.der_bytes()[9..265]);
        let x = URL_SAFE_NO_PAD.encode(ed25519.der_bytes());
        {
            let mut script = script.lock().unwrap();
            script.issuer = format!("http://{}", listener.local_addr().unwrap());
            script.keys = vec![
                json!({"kty": "RSA", "kid": "rsa", "use": "sig", "n": modulus, "e": "AQAB"}),
                json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x}),
            ];
        }
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            script,
            rsa,
            ed25519,
        }
    }

    fn issuer(&self) -> String {
        self.script.lock().unwrap().issuer.clone()
    }

    fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let (kid, key) = match algorithm {
            Algorithm::RS256 => (
                "rsa",
                EncodingKey::from_rsa_pem(self.rsa.serialize_pem().as_bytes()).unwrap(),
            ),
            Algorithm::HS256 => ("ed", EncodingKey::from_secret(self.ed25519.der_bytes())),
            _ => (
                "ed",
                EncodingKey::from_ed_der(self.ed25519.serialized_der()),
            ),
        };
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(algorithm)
        };
        encode(&header, claims, &key).unwrap()
    }
}

struct Bed {
    provider: Provider,
    store: Arc<MemoryStore>,
    router: Router,
    _files: (TempDir, tempfile::NamedTempFile),
}

/// What a browser has after it was sent to the provider.
struct Begun {
    cookie: String,
    state: String,
    nonce: String,
}

fn oidc(issuer: &str, secret_file: std::path::PathBuf) -> AccessConfig {
    let roles = [("mine-admins", "admin"), ("staff", "viewer")];
    let roles = roles.map(|(text, role)| (text.to_owned(), role.to_owned()));
    AccessConfig {
        oidc: OidcConfig {
            issuer: Some(issuer.to_owned()),
            client_id: "a client".to_owned(),
            client_secret_file: Some(secret_file),
            redirect_url: CALLBACK.to_owned(),
            scopes: vec!["profile".to_owned()],
            name_claim: "preferred_username".to_owned(),
            role_claim: "groups".to_owned(),
            roles: roles.into(),
            ..OidcConfig::default()
        },
        ..AccessConfig::default()
    }
}

impl Bed {
    async fn start() -> Self {
        let (provider, store) = (Provider::start().await, MemoryStore::new());
        let (folder, token) = (tempfile::tempdir().unwrap(), token_file(READER));
        let secret = folder.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let query = QueryConfig {
            token_file: Some(token.path().to_owned()),
            ..config()
        };
        let services = Services {
            accounts: Some(accounts(&store).await),
            access: oidc(&provider.issuer(), secret),
            token_key_file: Some(folder.path().join("access.key")),
            ..services()
        };
        Self {
            router: router(query, services).await,
            provider,
            store,
            _files: (folder, token),
        }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path).header("host", "mine.example.org");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(&self.router, request.body(Body::empty()).unwrap()).await
    }

    async fn begin(&self) -> Begun {
        let answer = self.get("/api/v1/login/oidc", &[]).await;
        assert_eq!(answer.status.as_u16(), 303, "{}", answer.text);
        let address = Url::parse(answer.headers["location"].to_str().unwrap()).unwrap();
        let field = |name: &str| {
            let found = address.query_pairs().find(|(given, _)| given == name);
            found
                .unwrap_or_else(|| panic!("no {name} in {address}"))
                .1
                .into_owned()
        };
        assert_eq!(address.path(), "/authorize");
        assert_eq!(field("tenant"), "a", "what the endpoint has itself stays");
        assert_eq!(field("response_type"), "code");
        assert_eq!(field("client_id"), "a client");
        assert_eq!(field("redirect_uri"), CALLBACK);
        assert_eq!(field("scope"), "openid profile");
        assert_eq!(field("code_challenge_method"), "S256");
        self.provider.script.lock().unwrap().code_challenge = field("code_challenge");
        let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.starts_with("__Host-headframe_oidc="), "{cookie}");
        assert!(
            cookie.contains("HttpOnly; SameSite=Lax; Secure"),
            "{cookie}"
        );
        Begun {
            cookie: cookie.split(';').next().unwrap().to_owned(),
            state: field("state"),
            nonce: field("nonce"),
        }
    }

    /// Good claims about ann, with some of them changed.
    fn claims(&self, begun: &Begun, changes: &Value) -> Value {
        let now = now_s();
        let mut claims = json!({
            "iss": self.provider.issuer(), "aud": "a client", "sub": "1234", "iat": now,
            "exp": now + 300, "nonce": begun.nonce, "preferred_username": "ann",
            "groups": ["everybody", "staff", "mine-admins"],
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    async fn come_back(&self, begun: &Begun, query: &str) -> Answer {
        let path = format!("/api/v1/login/oidc/callback?{query}&session_state=x");
        // A page of the provider sends the browser here.
        let headers = [
            ("cookie", begun.cookie.as_str()),
            ("sec-fetch-site", "cross-site"),
        ];
        self.get(&path, &headers).await
    }

    async fn sign_in(&self, begun: &Begun, token: String) -> Answer {
        self.provider.script.lock().unwrap().token = token;
        let query = format!("code=the%20code&state={}", begun.state);
        self.come_back(begun, &query).await
    }

    /// `outcome reason` of the last row.
    fn last_row(&self) -> String {
        let row = self.store.rows().pop().unwrap();
        assert_eq!((row.wire.as_str(), row.action.as_str()), ("http", "login"));
        format!("{} {}", row.outcome, row.reason.unwrap_or_default())
    }
}

#[tokio::test]
async fn a_provider_signs_people_in_with_either_kind_of_key() {
    let bed = Bed::start().await;
    for algorithm in [Algorithm::RS256, Algorithm::EdDSA] {
        let begun = bed.begin().await;
        let token = bed
            .provider
            .sign(algorithm, &bed.claims(&begun, &json!({})));
        let answer = bed.sign_in(&begun, token.clone()).await;
        assert_eq!(answer.status.as_u16(), 303, "{}", answer.text);
        assert_eq!(answer.headers["location"], "/");
        let cookies = answer.headers.get_all("set-cookie").iter();
        let cookies: Vec<&str> = cookies.map(|cookie| cookie.to_str().unwrap()).collect();
        assert!(
            cookies[0].starts_with("__Host-headframe_session=eyJ"),
            "{cookies:?}"
        );
        assert!(
            cookies[1].starts_with("__Host-headframe_oidc=; Path=/; Max-Age=0"),
            "{cookies:?}"
        );
        let session = cookies[0].split(';').next().unwrap();
        let me = bed.get("/api/v1/me", &[("cookie", session)]).await;
        let me: Value = serde_json::from_str(&me.text).unwrap();
        let expected =
            json!({"name": "oidc:ann", "role": "admin", "address": null, "proof": "session"});
        assert_eq!(me, expected, "the strongest of the roles");
        let row = bed.store.rows().pop().unwrap();
        assert_eq!(
            (
                row.actor.as_deref(),
                row.role.as_deref(),
                row.outcome.as_str()
            ),
            (Some("oidc:ann"), Some("admin"), "ok")
        );
        // The same answer again is nobody's.
        let again = bed.sign_in(&begun, token).await;
        assert_eq!(again.status.as_u16(), 401);
        assert_eq!(bed.last_row(), "refused the answer was used before");
    }
    assert_eq!(bed.provider.script.lock().unwrap().token_requests, 2);
    // No page of another site uses the session that it began.
    let foreign = [("sec-fetch-site", "cross-site")];
    assert_eq!(
        bed.get("/api/v1/login/oidc", &foreign)
            .await
            .status
            .as_u16(),
        403
    );
}

#[tokio::test]
async fn a_token_that_is_not_for_this_sign_in_proves_nothing() {
    let bed = Bed::start().await;
    let now = now_s();
    let not_taken = "the provider's token is not taken: ";
    let cases: [(Algorithm, Value, u16, &str); 10] = [
        (
            Algorithm::RS256,
            json!({"nonce": "another"}),
            401,
            "another nonce",
        ),
        (
            Algorithm::EdDSA,
            json!({"nonce": null}),
            401,
            "another nonce",
        ),
        (
            Algorithm::EdDSA,
            json!({"aud": "somebody else"}),
            401,
            "InvalidAudience",
        ),
        (
            Algorithm::EdDSA,
            json!({"aud": ["a client", "b"]}),
            401,
            "another party",
        ),
        (Algorithm::EdDSA, json!({"azp": "b"}), 401, "another party"),
        (
            Algorithm::RS256,
            json!({"exp": now - 120}),
            401,
            "ExpiredSignature",
        ),
        (
            Algorithm::EdDSA,
            json!({"iss": "https://id.example.org"}),
            401,
            "InvalidIssuer",
        ),
        (Algorithm::HS256, json!({}), 401, "no key of the provider"),
        (
            Algorithm::EdDSA,
            json!({"preferred_username": "a\nb"}),
            401,
            "is no name",
        ),
        (
            Algorithm::EdDSA,
            json!({"groups": "everybody"}),
            403,
            "access.oidc.roles",
        ),
    ];
    for (number, (algorithm, changes, status, why)) in cases.into_iter().enumerate() {
        let begun = bed.begin().await;
        bed.provider.script.lock().unwrap().token =
            bed.provider.sign(algorithm, &bed.claims(&begun, &changes));
        let path = format!(
            "/api/v1/login/oidc/callback?code=the%20code&state={}",
            begun.state
        );
        // Each from an address of its own, so that no limit hides a reason.
        let from = format!("198.51.100.{number}");
        let headers = [
            ("cookie", begun.cookie.as_str()),
            ("x-forwarded-for", &from),
        ];
        let answer = bed.get(&path, &headers).await;
        assert_eq!(answer.status.as_u16(), status, "{changes}: {}", answer.text);
        assert!(!answer.headers.contains_key("set-cookie"));
        let row = bed.last_row();
        assert!(
            row.starts_with("refused ") && row.contains(why),
            "{why}: {row}"
        );
        assert!(status == 403 || row.contains(not_taken), "{row}");
        assert!(
            status == 403 || !answer.text.contains(why),
            "strangers learn nothing"
        );
    }
}

#[tokio::test]
async fn an_answer_counts_in_the_browser_that_began_and_in_no_other() {
    let bed = Bed::start().await;
    let (begun, other) = (bed.begin().await, bed.begin().await);
    let foreign = "refused the answer belongs to no sign-in that this browser began";
    for (cookie, state) in [
        (&begun.cookie, other.state.as_str()),
        (&begun.cookie, ""),
        (&"a=b".to_owned(), &begun.state),
        (&"__Host-headframe_oidc=AAAA".to_owned(), &begun.state),
    ] {
        let path = format!("/api/v1/login/oidc/callback?code=the%20code&state={state}");
        let answer = bed.get(&path, &[("cookie", cookie)]).await;
        assert_eq!(answer.status_and_code(), (401, "unauthorized".to_owned()));
        assert_eq!(bed.last_row(), foreign);
    }
    let denied = format!("error=access_denied%3Cb%3E&state={}", begun.state);
    let answer = bed.come_back(&begun, &denied).await;
    assert_eq!(answer.status.as_u16(), 401);
    let reason = "refused the identity provider refused: access_deniedb";
    assert_eq!(bed.last_row(), reason);
    let answer = bed.come_back(&begun, "error=x&state=y").await;
    assert_eq!(answer.status.as_u16(), 429, "attempts are throttled");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(bed.provider.script.lock().unwrap().token_requests, 0);
}

#[tokio::test]
async fn a_provider_is_asked_once_for_a_code_and_its_own_faults_are_nobodys() {
    let bed = Bed::start().await;
    let begun = bed.begin().await;
    bed.provider.script.lock().unwrap().code_challenge.clear();
    let answer = bed.sign_in(&begun, "x".to_owned()).await;
    assert_eq!(answer.status_and_code(), (401, "unauthorized".to_owned()));
    assert!(!answer.text.contains("127.0.0.1"), "{}", answer.text);
    assert!(bed.last_row().contains("/token: it answers 400"));
    // The provider is asked once for each sign-in that was begun.
    let answer = bed.sign_in(&begun, "y".to_owned()).await;
    assert_eq!(answer.status_and_code(), (401, "unauthorized".to_owned()));
    assert!(bed.last_row().contains("used before"), "{}", bed.last_row());

    let provider = Provider::start().await;
    provider.script.lock().unwrap().named_issuer = Some("https://id.example.org".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let start = async || {
        let services = Services {
            access: oidc(&provider.issuer(), secret.clone()),
            ..services()
        };
        Server::bind(config(), services).await
    };
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = start().await.err().unwrap().to_string();
    assert!(error.contains("has mode 644"), "{error}");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let router = start().await.unwrap().router();
    let answer = ask(&router, &Method::GET, "/api/v1/login/oidc", &[]).await;
    assert_eq!(answer.status_and_code(), (503, "storage".to_owned()));
}

//! Logins and sessions: what they give, what ends them, and what strangers learn.

use axum::body::Body;
use axum::http::Request;
use headframe_query_front::access::Proof;
use headframe_query_front::access::accounts::{LoginError, Wire};
use serde_json::json;

use crate::account_store::{PASSWORD, actor, token};
use crate::accounts::{Bed, PEER};
use crate::server::send;

#[tokio::test]
async fn a_login_gives_a_session_that_ends_with_the_logout() {
    let bed = Bed::with_ann().await;
    let answer = bed.log_in("ann", PASSWORD).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.starts_with("headframe_session=hf_session_"),
        "{cookie}"
    );
    for part in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=604800"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let (status, me) = bed.me(&[("cookie", &format!("a=b; {cookie}; c=d"))]).await;
    assert_eq!(
        (status, &me["name"], &me["proof"]),
        (200, &json!("ann"), &json!("session"))
    );
    let out = bed
        .post("/api/v1/logout", json!({}), &[("cookie", cookie)])
        .await;
    assert_eq!(out.status.as_u16(), 200);
    assert!(
        out.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    let (_, me) = bed.me(&[("cookie", cookie)]).await;
    assert_eq!(me["name"], json!("local"), "{me}");
    assert_eq!(
        bed.store.outcomes(),
        ["user_add ok", "login ok", "logout ok"]
    );

    // Behind a proxy the cookie is for HTTPS and this host alone.
    let proxied = [
        ("host", "mine.example.org"),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    let body = json!({"name": "ann", "password": PASSWORD}).to_string();
    let mut request = Request::post("/api/v1/login").header("content-type", "application/json");
    for (name, value) in proxied {
        request = request.header(name, value);
    }
    let answer = send(&bed.router, request.body(Body::from(body)).unwrap()).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-headframe_session="), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let there = [proxied[0], proxied[1], ("cookie", cookie)];
    assert_eq!(bed.me(&there).await.1["name"], json!("ann"));
    // Over plain HTTP on loopback that name counts nothing.
    assert_eq!(
        bed.me(&[("cookie", cookie)]).await.1["name"],
        json!("local")
    );
}

#[tokio::test]
async fn no_page_of_another_site_uses_a_session() {
    let bed = Bed::with_ann().await;
    let cookie = bed.cookie().await;
    let order = async |headers: &[(&str, &str)]| {
        let mut headers = headers.to_vec();
        headers.push(("cookie", cookie.as_str()));
        let answer = bed.post("/api/v1/bans", json!({}), &headers).await;
        answer.status_and_code()
    };
    assert_eq!(order(&[]).await.0, 201, "a program");
    let own = ("origin", "http://127.0.0.1:8080");
    assert_eq!(order(&[own]).await.0, 201, "a page of its own");
    assert_eq!(
        order(&[own, ("sec-fetch-site", "same-origin")]).await.0,
        201
    );
    let foreign = (403, "foreign_origin".to_owned());
    for headers in [
        &[("origin", "https://example.org")][..],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:9090")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), own],
    ] {
        assert_eq!(order(headers).await, foreign, "{headers:?}");
        let body = json!({"name": "ann", "password": PASSWORD});
        let login = bed.post("/api/v1/login", body, headers).await;
        assert_eq!(login.status_and_code(), foreign, "{headers:?}");
    }
}

#[tokio::test]
async fn sessions_end_with_their_user_and_with_another_password() {
    let bed = Bed::with_ann().await;
    let cookie = bed.cookie().await;
    let name = async |cookie: &str| bed.me(&[("cookie", cookie)]).await.1["name"].clone();
    assert_eq!(name(&cookie).await, json!("ann"));
    let changed = bed
        .accounts
        .set_password(actor(), "ann", "another sentence");
    changed.await.unwrap();
    assert_eq!(name(&cookie).await, json!("local"));
    assert_eq!(bed.log_in("ann", PASSWORD).await.status.as_u16(), 401);
    let answer = bed.log_in("ann", "another sentence").await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(name(cookie).await, json!("ann"));
    bed.accounts.revoke(actor(), "ann").await.unwrap();
    assert_eq!(name(cookie).await, json!("local"));
    // Somebody else of the same name has none of his sessions.
    bed.add_user("ann", "viewer").await;
    assert_eq!(name(cookie).await, json!("local"));
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_sessions() {
    let bed = Bed::with_ann().await;
    let ann = bed
        .accounts
        .check_password(Wire::Http, "ann", PASSWORD, PEER);
    let ann = ann.await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(bed.accounts.begin_session(&ann).await.unwrap());
    }
    let alive = ids.iter().filter(|id| bed.accounts.session(id).is_some());
    assert_eq!(alive.count(), 16);
    assert!(bed.accounts.session(&ids[19]).is_some(), "the newest");
}

#[tokio::test]
async fn strangers_learn_nothing_from_a_login_and_wait_longer_and_longer() {
    let bed = Bed::with_ann().await;
    let wrong = bed.log_in("ann", "a wrong sentence").await;
    let unknown = bed.log_in("bob", "a wrong sentence").await;
    assert_eq!(wrong.status_and_code(), (401, "unauthorized".to_owned()));
    assert_eq!(wrong.text, unknown.text);
    for _ in 0..3 {
        assert_eq!(
            bed.log_in("ann", "a wrong sentence").await.status.as_u16(),
            401
        );
    }
    let late = bed.log_in("ann", PASSWORD).await;
    assert_eq!(late.status_and_code(), (429, "rate_limit".to_owned()));
    let seconds: u64 = late.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=12).contains(&seconds), "{seconds}");
    let outcomes = bed.store.outcomes();
    assert_eq!(outcomes.last().unwrap(), "login throttled");
    let refused = outcomes
        .iter()
        .filter(|row| *row == "login refused")
        .count();
    assert_eq!(refused, 5, "{outcomes:?}");
    // Another address may still try another account.
    let ok = bed
        .accounts
        .check_password(Wire::Postgres, "carl", "x", PEER)
        .await;
    assert_eq!(ok, Err(LoginError::Wrong));
}

#[tokio::test]
async fn other_wires_check_passwords_and_tokens_too() {
    let bed = Bed::with_ann().await;
    let check = async |name: &str, password: &str| {
        let checked = bed
            .accounts
            .check_password(Wire::Postgres, name, password, PEER);
        checked.await.map(|who| (who.name.to_string(), who.proof))
    };
    assert_eq!(
        check("ann", PASSWORD).await,
        Ok(("ann".to_owned(), Proof::Password))
    );
    let token = token(&bed.accounts, "viewer").await;
    let service = Ok(("a-viewer".to_owned(), Proof::Token));
    assert_eq!(check("anything", &token).await, service);
    let long = "a".repeat(100_000);
    assert_eq!(check("ann", &long).await, Err(LoginError::Wrong));

    let secret = |name| bed.accounts.scram_secret(Wire::Postgres, name, PEER);
    let ann = secret("ann").unwrap();
    let salted = |password, salt: &[u8], rounds: u32| {
        pgwire::api::auth::sasl::scram::gen_salted_password(password, salt, rounds as usize)
    };
    assert_eq!(
        salted(PASSWORD, &ann.salt, ann.iterations),
        ann.salted_password
    );
    assert!(ann.salt.len() >= 12 && ann.iterations >= 4_096);
    // A name that nobody has looks the same at each asking.
    let (first, second) = (secret("nobody").unwrap(), secret("nobody").unwrap());
    assert_eq!(first.salt, second.salt);
    assert_eq!(
        (first.salt.len(), first.iterations),
        (ann.salt.len(), ann.iterations)
    );
    assert_ne!(first.salt, secret("else").unwrap().salt);
    let who = bed
        .accounts
        .scram_succeeded(Wire::Postgres, "ann", PEER)
        .unwrap();
    assert_eq!(who.name.as_ref(), "ann");
    let nobody = bed.accounts.scram_succeeded(Wire::Postgres, "nobody", PEER);
    assert_eq!(nobody, Err(LoginError::Wrong));
}

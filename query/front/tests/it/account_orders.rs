//! Users and tokens that an admin lists, makes and revokes over HTTP.

use axum::http::Method;
use serde_json::{Value, json};

use crate::account_store::{PASSWORD, token};
use crate::accounts::Bed;
use crate::server::{Answer, ask};

const PATH: &str = "/api/v1/accounts";
const ORIGIN: (&str, &str) = ("origin", "http://127.0.0.1:8080");

/// An order of ann's session.
async fn make(bed: &Bed, cookie: &str, body: Value) -> (u16, Value) {
    let answer = bed.post(PATH, body, &[("cookie", cookie), ORIGIN]).await;
    parts(&answer)
}

fn parts(answer: &Answer) -> (u16, Value) {
    let body = serde_json::from_str(&answer.text).unwrap_or_default();
    (answer.status.as_u16(), body)
}

async fn revoke(bed: &Bed, cookie: &str, name: &str) -> u16 {
    let path = format!("{PATH}/{name}");
    let headers = [("cookie", cookie), ORIGIN];
    let answer = ask(&bed.router, &Method::DELETE, &path, &headers).await;
    answer.status.as_u16()
}

fn user(name: &str) -> Value {
    json!({"kind": "user", "name": name, "role": "viewer", "own_password": PASSWORD})
}

#[tokio::test]
async fn what_an_admin_makes_works_until_it_is_revoked_and_is_shown_once() {
    let bed = Bed::with_ann().await;
    let cookie = bed.cookie().await;
    let (status, made) = make(&bed, &cookie, user("bob")).await;
    assert_eq!((status, &made["kind"]), (200, &json!("user")), "{made}");
    let password = made["secret"].as_str().unwrap();
    assert_eq!(bed.log_in("bob", password).await.status.as_u16(), 200);
    let wanted = json!({"kind": "token", "name": "gateway", "role": "miner", "address": "4Own",
        "may_send": ["sensors"], "expires_s": 3_600, "own_password": PASSWORD});
    let (status, made) = make(&bed, &cookie, wanted).await;
    assert_eq!(status, 200, "{made}");
    let secret = made["secret"].as_str().unwrap();
    let bearer = format!("Bearer {secret}");
    let (status, me) = bed.me(&[("authorization", &bearer)]).await;
    assert_eq!((status, &me["address"]), (200, &json!("4Own")));
    // A page after the other, and each names the next one.
    let mut found = Vec::new();
    let mut path = format!("{PATH}?limit=2");
    for _ in 0..2 {
        let page = ask(&bed.router, &Method::GET, &path, &[("cookie", &cookie)]).await;
        let link = page
            .headers
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        let (status, page) = parts(&page);
        assert_eq!(status, 200, "{page}");
        found.extend(
            page["accounts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].clone()),
        );
        let next = page["next"]
            .as_str()
            .map(|next| format!("{PATH}?limit=2&after={next}"));
        let linked = next.as_ref().map(|next| format!("<{next}>; rel=\"next\""));
        assert_eq!(link, linked);
        path = next.unwrap_or_default();
    }
    assert_eq!(
        (found, path.as_str()),
        (["ann", "bob", "gateway"].map(Value::from).to_vec(), "")
    );
    for wrong in ["limit=0", "after=x"] {
        let path = format!("{PATH}?{wrong}");
        let refused = ask(&bed.router, &Method::GET, &path, &[("cookie", &cookie)]).await;
        assert_eq!(refused.status.as_u16(), 400, "{wrong}");
    }
    let list = ask(&bed.router, &Method::GET, PATH, &[("cookie", &cookie)]).await;
    assert!(!list.text.contains(password) && !list.text.contains(secret));
    let (_, list) = parts(&list);
    let names: Vec<&Value> = list["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["ann", "bob", "gateway"]);
    assert_eq!(list["accounts"][2]["created_by"], "ann");
    assert!(list["accounts"][2]["expires_us"].is_i64(), "{list}");
    for (name, expected) in [
        ("bob", 200),
        ("gateway", 200),
        ("nobody", 404),
        ("ann", 409),
    ] {
        assert_eq!(revoke(&bed, &cookie, name).await, expected, "{name}");
    }
    assert_eq!(bed.log_in("bob", password).await.status.as_u16(), 401);
    assert_eq!(bed.me(&[("authorization", &bearer)]).await.0, 401);
    // Each change is a row of the stream, with who made it.
    let everything = bed.store.everything();
    for action in ["user_add", "token_add", "user_revoke", "token_revoke"] {
        assert!(everything.contains(action), "{action}");
    }
    assert!(!everything.contains(password) && !everything.contains(secret));
}

#[tokio::test]
async fn only_a_session_with_its_own_password_makes_an_account() {
    let bed = Bed::with_ann().await;
    bed.add_user("carl", "admin").await;
    bed.add_user("olga", "operator").await;
    let cookie = bed.cookie().await;
    let with =
        |own: &str| json!({"kind": "user", "name": "bob", "role": "admin", "own_password": own});
    assert_eq!(make(&bed, &cookie, with("not her password")).await.0, 401);
    // A token is no password, be it of another account or of an admin.
    let token = token(&bed.accounts, "admin").await;
    assert_eq!(make(&bed, &cookie, with(&token)).await.0, 401);
    let bearer = format!("Bearer {token}");
    let by_token = bed
        .post(PATH, with(PASSWORD), &[("authorization", &bearer)])
        .await;
    assert_eq!(by_token.status.as_u16(), 403, "{}", by_token.text);
    // Neither is a page of another site, nor an operator.
    let elsewhere = [
        ("cookie", cookie.as_str()),
        ("origin", "https://evil.example"),
    ];
    let answer = bed.post(PATH, with(PASSWORD), &elsewhere).await;
    assert_eq!(answer.status.as_u16(), 403, "{}", answer.text);
    let answer = bed.log_in("olga", PASSWORD).await;
    let olga = answer.headers["set-cookie"].to_str().unwrap();
    let olga = olga.split(';').next().unwrap();
    assert_eq!(make(&bed, olga, with(PASSWORD)).await.0, 403);
    assert_eq!(revoke(&bed, olga, "carl").await, 403);
    assert_eq!(
        bed.accounts.list().len(),
        4,
        "ann, carl, olga and the token"
    );
}

#[tokio::test]
async fn what_cannot_be_given_is_refused_with_its_reason() {
    let bed = Bed::with_ann().await;
    let cookie = bed.cookie().await;
    let with = |key: &str, value: Value| {
        let mut body =
            json!({"kind": "token", "name": "t", "role": "viewer", "own_password": PASSWORD});
        body[key] = value;
        body
    };
    for (body, status, says) in [
        (with("name", json!("Not a name")), 400, "cannot be a name"),
        (with("name", json!("ann")), 409, "already"),
        (with("role", json!("king")), 400, "there is no role"),
        (with("role", json!("miner")), 400, "needs the address"),
        (with("address", json!("4Own")), 400, "takes no address"),
        (
            with("may_send", json!(["payments"])),
            400,
            "money or access",
        ),
        (with("expires_s", json!(0)), 400, "expires_s is 0"),
        (with("expires_s", json!(i64::MAX)), 400, "expires_s is"),
        (with("kind", json!("robot")), 400, "robot"),
        (with("more", json!(1)), 400, "more"),
    ] {
        let (found, answer) = make(&bed, &cookie, body.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(
            found == status && message.contains(says),
            "{body}: {found} {answer}"
        );
    }
    let mut body = user("bob");
    body["expires_s"] = json!(60);
    assert_eq!(make(&bed, &cookie, body).await.0, 400);
    assert_eq!(bed.accounts.list().len(), 1);
}

//! Which answers a page of another site may read: the pool's public pages, and nothing else.

use axum::http::Method;
use headframe_query_front::access::Permission;
use headframe_query_front::{QueryConfig, route};

use crate::server::{READER, ask, config, router, services, token_file};

fn path_of(path: &str) -> String {
    path.replace("{stream}", "sensors")
        .replace("{address}", "4Own")
        .replace("{hash}", &"ab".repeat(32))
        .replace("{id}", "q1")
        .replace("{name}", "nobody")
}

#[tokio::test]
async fn pages_of_other_sites_may_read_public_pages_and_nothing_else() {
    let file = token_file(READER);
    let bearer = format!("Bearer {READER}");
    let mut open = 0;
    for public_pages in [false, true] {
        let config = QueryConfig {
            token_file: Some(file.path().to_owned()),
            public_pages,
            ..config()
        };
        let router = router(config, services()).await;
        for route in route::ALL {
            let is_page = matches!(
                route.permission,
                Permission::PublicPage | Permission::MinerPage
            );
            let path = path_of(route.path);
            for token in [None, Some(("authorization", bearer.as_str()))] {
                let mut headers = vec![("origin", "https://front.example")];
                headers.extend(token);
                let answer = ask(&router, &route.method, &path, &headers).await;
                let name = format!("{} {} public={public_pages}", route.method, route.path);
                let expected = is_page && public_pages && route.method == Method::GET;
                let allowed = answer.headers.get("access-control-allow-origin");
                assert_eq!(allowed.is_some(), expected, "{name}");
                assert!(allowed.is_none_or(|origin| origin == "*"), "{name}");
                let credentials = answer.headers.get("access-control-allow-credentials");
                assert_eq!(credentials, None, "{name}");
                let policy = &answer.headers["cross-origin-resource-policy"];
                let wanted = if expected {
                    "cross-origin"
                } else {
                    "same-origin"
                };
                assert_eq!(policy, wanted, "{name}");
                open += usize::from(expected);
            }
            // What needs a question beforehand is not for pages of other sites at all.
            let preflight = [
                ("origin", "https://front.example"),
                ("access-control-request-method", route.method.as_str()),
            ];
            let answer = ask(&router, &Method::OPTIONS, &path, &preflight).await;
            assert!(!answer.status.is_success(), "{}", route.path);
            let granted = answer.headers.keys();
            let granted = granted.filter(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(granted.count(), 0, "{}", route.path);
        }
    }
    assert!(open >= 2 * 8, "{open}");
}

//! Where the pages to sign in lead afterwards: to pages of this server and nowhere else.

use std::path::Path;
use std::process::Command;

/// A script of the console.
fn script(name: &str) -> String {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets");
    std::fs::read_to_string(assets.join(name)).unwrap()
}

/// What the pages make of each `to=` on a server of this origin; null leads home.
fn led_to(given: &[&str]) -> Vec<Option<String>> {
    let given = serde_json::to_string(given).unwrap();
    let shared = script("console.js");
    // The function that reads `to=`.
    let (_, rest) = shared.split_once("function pageOfThisServer").unwrap();
    let function = &rest[..rest.find("\n}\n").unwrap() + 2];
    let script = format!(
        "const location = {{ origin: 'https://pool.example' }};\n\
         function pageOfThisServer{function}\n\
         console.log(JSON.stringify({given}.map(pageOfThisServer)));"
    );
    let output = Command::new("node").args(["-e", &script]).output();
    let output = output.expect("node is there: deploy/setup.sh test brings it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_page_to_sign_in_leads_to_pages_of_this_server_alone() {
    let home = [
        "",
        "https://evil.example/",
        "http://pool.example/",
        "https://pool.example:444/",
        "https://pool.example.evil.example/",
        "https://pool.example@evil.example/",
        "//evil.example/operate",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "\n//evil.example",
        "///evil.example",
        "https:/\\evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "blob:https://evil.example/x",
    ];
    for (given, led) in home.iter().zip(led_to(&home)) {
        assert_eq!(led, None, "{given:?}");
    }
    let own = ["/operate", "/explore?q=SELECT%201#rows", "miner/4A"];
    let led = led_to(&own);
    assert_eq!(
        led,
        [
            "https://pool.example/operate",
            "https://pool.example/explore?q=SELECT%201#rows",
            "https://pool.example/miner/4A",
        ]
        .map(|page| Some(page.to_owned()))
    );
    // The pages lead nowhere without that function.
    let shared = script("console.js");
    let reads = shared.matches("get(\"to\")").count();
    assert_eq!((reads, shared.matches("pageOfThisServer(").count()), (1, 2));
    for name in ["sign-in.js", "coop-sign-in.js"] {
        let page = script(name);
        assert!(
            page.contains("const target = wantedPage() || home;"),
            "{name}"
        );
        for other in ["URLSearchParams", "location.search"] {
            assert!(!page.contains(other), "{name}: {other}");
        }
    }
}

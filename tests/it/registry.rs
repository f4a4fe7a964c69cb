//! The registry of the mine over a running server: REST, SQL, the past, and files.

use std::path::Path;
use std::process::{Command, Output};

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Headframe, free_port, http};

const ROLES: &str = "pipelines,query";

pub async fn nats(folder: &Path) -> ManagedServer {
    let config = ServerConfig::new(find_nats_server().unwrap(), folder.join("nats"));
    ManagedServer::start(config).await.unwrap()
}

pub async fn start(folder: &Path, nats: &ManagedServer) -> Headframe {
    let running = Headframe::start(folder, nats.url(), free_port(), ROLES);
    running.row("SELECT 1").await;
    running
}

pub struct Answer {
    pub status: StatusCode,
    pub etag: Option<String>,
    pub body: Value,
}

impl Answer {
    fn error(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }
}

pub async fn try_send(
    url: &str,
    method: Method,
    path: &str,
    tag: Option<&str>,
    body: Option<&Value>,
) -> reqwest::Result<Answer> {
    let mut request = http().request(method, format!("{url}/api/v1/{path}"));
    if let Some(tag) = tag {
        request = request.header("If-Match", tag);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await?;
    let status = answer.status();
    let etag = answer.headers().get("etag");
    let etag = etag.map(|tag| tag.to_str().unwrap().to_owned());
    let body = answer.json().await.unwrap_or_default();
    Ok(Answer { status, etag, body })
}

impl Headframe {
    async fn send(
        &self,
        method: Method,
        path: &str,
        tag: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        try_send(&self.url, method, path, tag, body).await.unwrap()
    }

    pub async fn read(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, None).await
    }

    pub async fn register(&self, kind: &str, body: &Value) -> Answer {
        self.send(Method::POST, kind, None, Some(body)).await
    }
}

pub fn site(id: &str) -> Value {
    json!({"id": id, "name": id, "location": "a fjord", "time_zone": "Europe/Oslo"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_is_registered_changed_and_deleted_and_its_past_stays() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let running = start(folder.path(), &nats).await;

    // What is wrong is said by field, and nothing is registered.
    let wrong = json!({"id": "north", "name": "", "zz": 1, "latitude_deg": 91,
        "controller": "https://ann:secret@10.0.0.5/"});
    let refused = running.register("sites", &wrong).await;
    assert_eq!(refused.status, 400);
    for part in [
        "unknown field `zz`",
        "missing field `location`",
        "field `name`",
        "field `latitude_deg`: 91 is outside -90 to 90",
        "field `controller`: it is no address such as",
    ] {
        assert!(refused.error().contains(part), "{part}: {}", refused.body);
    }
    assert!(!refused.error().contains("secret"), "{}", refused.body);
    let refused = running.register("sites", &json!([1])).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(running.read("sites/north").await.status, 404);

    let made = running.register("sites", &site("north")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(
        (made.etag.as_deref(), &made.body["version"]),
        (Some("\"1\""), &json!(1))
    );
    assert_eq!(made.body["updated_by"], "local");
    let first = made.body["updated_at"].as_str().unwrap().to_owned();
    let twice = running.register("sites", &site("north")).await;
    assert_eq!(
        (twice.status.as_u16(), &twice.body["error"]["code"]),
        (409, &json!("exists"))
    );

    // A change names the version that it replaces.
    let mut other = site("north");
    other["connection_kw"] = json!(1_000);
    other["controller"] = json!("http://10.0.0.5:5000/");
    let put = async |tag: Option<&'static str>| {
        running
            .send(Method::PUT, "sites/north", tag, Some(&other))
            .await
    };
    assert_eq!(put(None).await.status, 428);
    assert_eq!(put(Some("\"7\"")).await.status, 412);
    assert_eq!(put(Some("*")).await.status, 400);
    let changed = put(Some("\"1\"")).await;
    assert_eq!(
        (changed.status.as_u16(), changed.etag.as_deref()),
        (200, Some("\"2\""))
    );
    assert_eq!(changed.body["connection_kw"], json!(1_000.0));
    assert_eq!(changed.body["controller"], "http://10.0.0.5:5000/");
    assert_eq!(put(Some("\"1\"")).await.status, 412);
    // The same again is no change.
    assert_eq!(put(Some("\"2\"")).await.body["version"], json!(2));
    let found = running.read("sites/north").await;
    assert_eq!(
        (found.etag.as_deref(), &found.body["version"]),
        (Some("\"2\""), &json!(2))
    );
    let known = http().get(format!("{}/api/v1/sites/north", running.url));
    let known = known.header("If-None-Match", "\"2\"").send().await.unwrap();
    assert_eq!(known.status(), 304);

    // What names another needs it, and keeps it.
    let meter = json!({"id": "m1", "serial_number": "1", "site": "south", "measures": "site"});
    let refused = running.register("meters", &meter).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused
            .error()
            .contains("field `site`: there is no site \"south\"")
    );
    let meter = json!({"id": "m1", "serial_number": "1", "site": "north", "measures": "site"});
    assert_eq!(running.register("meters", &meter).await.status, 201);
    let same = json!({"id": "m2", "serial_number": "1", "site": "north", "measures": "site"});
    let refused = running.register("meters", &same).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["error"]["code"]),
        (409, &json!("conflict"))
    );
    let delete = async |path: &'static str, tag: Option<&'static str>| {
        running.send(Method::DELETE, path, tag, None).await
    };
    let refused = delete("sites/north", Some("\"2\"")).await;
    assert_eq!(refused.status, 409);
    assert!(refused.error().contains("meters/m1"), "{}", refused.body);
    assert_eq!(delete("meters/m1", Some("\"1\"")).await.status, 200);
    let gone = delete("sites/north", Some("\"2\"")).await;
    assert_eq!(
        (gone.status.as_u16(), &gone.body["deleted"]["version"]),
        (200, &json!(2))
    );
    assert_eq!(running.read("sites/north").await.status, 404);
    // Its versions never repeat.
    let again = running.register("sites", &site("north")).await;
    assert_eq!(
        (again.status.as_u16(), &again.body["version"]),
        (201, &json!(4))
    );

    the_past_is_in_the_tables(&running, &first).await;
    running.kill();
    nats.shutdown().await;
}

async fn the_past_is_in_the_tables(running: &Headframe, first: &str) {
    let past = running.read(&format!("sites/north?as_of={first}")).await;
    assert_eq!(
        (past.status.as_u16(), past.etag.as_deref()),
        (200, Some("\"1\"")),
        "{}",
        past.body
    );
    assert_eq!(past.body["connection_kw"], Value::Null);
    let past = running.read("sites/north?as_of=2020-01-01T00:00:00Z").await;
    assert_eq!(past.status, 404);
    let past = running
        .read(&format!("sites?as_of={first}&time_zone=Europe/Oslo"))
        .await;
    assert_eq!(past.body["sites"][0]["version"], json!(1), "{}", past.body);
    let past = running
        .read(&format!("sites?as_of={first}&time_zone=UTC"))
        .await;
    assert_eq!(past.body, json!({"sites": [], "next": null}));
    let row = running
        .row(
            "SELECT count(*) AS n, min(version) AS least, max(version) AS most, count(before) AS \
             b, count(after) AS a FROM registry WHERE resource = 'sites.north'",
        )
        .await;
    assert_eq!(row, json!({"n": 4, "least": 1, "most": 4, "b": 2, "a": 3}));
    let row = running
        .row("SELECT name, time_zone, connection_kw, version, updated_by FROM sites")
        .await;
    assert_eq!(
        row,
        json!({"name": "north", "time_zone": "Europe/Oslo", "connection_kw": null, "version": 4,
            "updated_by": "local"})
    );
    let row = running
        .row(&format!(
            "SELECT version, connection_kw FROM sites_history WHERE recorded_from <= '{first}' AND \
             (recorded_to > '{first}' OR recorded_to IS NULL)"
        ))
        .await;
    assert_eq!(row, json!({"version": 1, "connection_kw": null}));
    let row = running
        .row(
            "SELECT count(*) AS n, count(recorded_to) AS ended, max(connection_kw) AS kw FROM \
             sites_history",
        )
        .await;
    assert_eq!(row, json!({"n": 3, "ended": 2, "kw": 1_000.0}));
    assert_eq!(
        running.row("SELECT count(*) AS n FROM meters").await,
        json!({"n": 0})
    );
    assert_eq!(
        running.row("SELECT count(*) AS n FROM dead_letters").await,
        json!({"n": 0})
    );
}

fn registry(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headframe"))
        .arg("registry")
        .args(["--url", url])
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_in_and_come_out_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let running = start(folder.path(), &nats).await;
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        path(name)
    };
    let sites = "id,name,location,time_zone,connection_kw\r\n\
                 north,North,\"1, Fjord road\",Europe/Oslo,900\r\n\
                 so uth,South,there,UTC,1\r\n\
                 east,East,there,Mars/Base,1\r\n\
                 west,West,there,UTC,\r\n";
    let file = write("sites.csv", sites);
    let checked = registry(
        &running.url,
        &["import", &file, "--kind", "sites", "--check"],
    );
    assert!(!checked.status.success() && said(&checked).contains("2 refused"));
    assert_eq!(running.read("sites").await.body["sites"], json!([]));
    let import = registry(&running.url, &["import", &file, "--kind", "sites"]);
    let text = said(&import);
    assert!(!import.status.success(), "{text}");
    assert!(
        text.contains("line 3: field `id`: \"so uth\" is no id"),
        "{text}"
    );
    assert!(
        text.contains("line 4: field `time_zone`: \"Mars/Base\""),
        "{text}"
    );
    assert!(
        text.contains("2 created, 0 changed, 0 as they were, 2 refused"),
        "{text}"
    );

    // References are looked at by the server, row by row.
    let machines: String = (0..30)
        .map(|n| {
            let site = if n == 7 { "nowhere" } else { "north" };
            let id = format!("m{n:02}");
            let serial = n.to_string();
            json!({"id": id, "site": site, "model": "S21", "serial_number": serial}).to_string()
                + "\n"
        })
        .collect();
    let file = write("machines.ndjson", &machines);
    let import = registry(&running.url, &["import", &file, "--kind", "machines"]);
    let text = said(&import);
    assert!(
        text.contains("line 8: field `site`: there is no site \"nowhere\""),
        "{text}"
    );
    assert!(
        text.contains("29 created, 0 changed, 0 as they were, 1 refused"),
        "{text}"
    );
    let page = running.read("machines?limit=10&site=north&after=m05").await;
    let ids: Vec<&str> = page.body["machines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [
            "m06", "m08", "m09", "m10", "m11", "m12", "m13", "m14", "m15", "m16"
        ]
    );
    assert_eq!(page.body["next"], "m16");
    assert_eq!(
        running.read("machines?site=west").await.body["machines"],
        json!([])
    );

    // What comes out goes in again, here and into another registry.
    for (kind, format) in [
        ("sites", "csv"),
        ("machines", "csv"),
        ("machines", "ndjson"),
    ] {
        let file = path(&format!("out-{kind}.{format}"));
        let export = registry(&running.url, &["export", &file, "--kind", kind]);
        assert!(export.status.success(), "{}", said(&export));
        let again = registry(&running.url, &["import", &file, "--kind", kind]);
        let count = if kind == "sites" { 2 } else { 29 };
        let wanted = format!("0 created, 0 changed, {count} as they were, 0 refused");
        assert!(said(&again).contains(&wanted), "{}", said(&again));
    }
    let text = std::fs::read_to_string(folder.path().join("out-sites.csv")).unwrap();
    let changed = write("changed.csv", &text.replace("900", "950"));
    let refused = registry(&running.url, &["import", &changed, "--kind", "sites"]);
    assert!(
        said(&refused).contains("--update changes it"),
        "{}",
        said(&refused)
    );
    let update = registry(
        &running.url,
        &["import", &changed, "--kind", "sites", "--update"],
    );
    assert!(
        said(&update).contains("0 created, 1 changed, 1 as they were"),
        "{}",
        said(&update)
    );
    assert_eq!(
        running.read("sites/north").await.body["connection_kw"],
        json!(950.0)
    );
    running.kill();
    nats.shutdown().await;
}

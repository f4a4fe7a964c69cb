//! A client with XMRig's captured lines at the coordinator's own port: a byte of the nonces for
//! each connection, results that are recomputed before they go upstream.

use headframe_stratum::randomx::{Mode, SeedMemory, Vm};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::stand_in::{Peer, Running, StandIn, job, soon, until};

/// What stock XMRig 6.26 sent: a login, then shares.
const CAPTURED: &str = include_str!("../../../stratum/tests/data/xmrig-6.26-client-lines.ndjson");
/// The user of that login, whose rig is called rack7.
const USER: &str = "4AddrExample";
const FOREIGN: &str = "Invalid nonce; is miner not compatible with NiceHash?";

fn captured_login() -> &'static str {
    CAPTURED.lines().next().unwrap()
}

/// A coordinator that lets stock miners in.
async fn start(pool: &StandIn) -> Running {
    Running::start(&pool.address(), |config| {
        config.miners.listen = "127.0.0.1:0".parse().ok();
        config.miners.user = USER.to_owned();
    })
    .await
}

struct Xmrig {
    stream: BufReader<TcpStream>,
    job: Value,
    session: String,
}

impl Xmrig {
    async fn ask(stream: &mut BufReader<TcpStream>, line: &str) -> Value {
        stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        soon("an answer", stream.read_line(&mut answer))
            .await
            .unwrap();
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    async fn refused(coordinator: &Running, login: &str) -> String {
        let stream = TcpStream::connect(coordinator.miners.unwrap())
            .await
            .unwrap();
        let answer = Self::ask(&mut BufReader::new(stream), login).await;
        answer["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    async fn login(coordinator: &Running) -> Self {
        Self::login_with(coordinator, &["algo", "keepalive", "nicehash"]).await
    }

    /// A login whose answer has these extensions.
    async fn login_with(coordinator: &Running, extensions: &[&str]) -> Self {
        until("a login", async || {
            let stream = TcpStream::connect(coordinator.miners.unwrap())
                .await
                .unwrap();
            let mut stream = BufReader::new(stream);
            let answer = Self::ask(&mut stream, captured_login()).await;
            let result = &answer["result"];
            let session = result["id"].as_str()?.to_owned();
            assert_eq!(result["extensions"], json!(extensions));
            let job = result["job"].clone();
            Some(Self {
                stream,
                job,
                session,
            })
        })
        .await
    }

    /// The byte that is this miner's.
    fn byte(&self) -> u8 {
        hex::decode(self.job["blob"].as_str().unwrap()).unwrap()[42]
    }

    /// Waits for the next job.
    async fn take_job(&mut self) {
        let mut line = String::new();
        soon("a job", self.stream.read_line(&mut line))
            .await
            .unwrap();
        let pushed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(pushed["method"], "job");
        self.job = pushed["params"].clone();
    }

    async fn submit(&mut self, nonce: [u8; 4], result: &[u8; 32]) -> Result<(), String> {
        let params = json!({"id": self.session, "job_id": self.job["job_id"], "algo": "rx/0",
            "nonce": hex::encode(nonce), "result": hex::encode(result)});
        let line = json!({"id": 7, "jsonrpc": "2.0", "method": "submit", "params": params});
        let answer = Self::ask(&mut self.stream, &line.to_string()).await;
        assert_eq!(answer["id"], 7);
        match answer["error"]["message"].as_str() {
            Some(reason) => Err(reason.to_owned()),
            None => {
                assert_eq!(answer["result"]["status"], "OK");
                Ok(())
            }
        }
    }
}

/// What a miner finds for this nonce.
fn hash(memory: &Arc<SeedMemory>, job: &Value, nonce: [u8; 4]) -> [u8; 32] {
    let mut blob = hex::decode(job["blob"].as_str().unwrap()).unwrap();
    blob[39..43].copy_from_slice(&nonce);
    Vm::new(memory).unwrap().hash(&blob).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captured_shares_are_taken_with_the_connections_own_byte_alone() {
    let pool = StandIn::open().await;
    let coordinator = start(&pool).await;
    let mut upstream = pool.peer(&job("a", 1, 1, 1)).await;
    let memory = Arc::new(SeedMemory::build(&[1; 32], Mode::Light).unwrap());
    // Each share comes over a connection of its own, so that none is taken for a liar.
    let mut rigs = Vec::new();
    for line in CAPTURED.lines().skip(1) {
        let mut rig = Xmrig::login(&coordinator).await;
        let sent: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| sent["params"][key].as_str().unwrap().to_owned();
        let mut nonce = [0; 4];
        hex::decode_to_slice(text("nonce"), &mut nonce).unwrap();
        let own_job = rig.job["job_id"].as_str().unwrap().to_owned();

        // As it was sent, it is for a job of another pool.
        let answer = Xmrig::ask(&mut rig.stream, line).await;
        assert_eq!(
            (&answer["id"], &answer["error"]["message"]),
            (&sent["id"], &json!("Block expired"))
        );
        // Its miner had the last byte to itself, which is not so here.
        let line = line.replace(&text("job_id"), &own_job);
        let answer = Xmrig::ask(&mut rig.stream, &line).await;
        assert_eq!(
            (&answer["id"], &answer["error"]["message"]),
            (&sent["id"], &json!(FOREIGN))
        );
        let foreign = hex::encode(nonce);
        nonce[3] = rig.byte();
        let found = hex::encode(hash(&memory, &rig.job, nonce));
        let line = line
            .replace(&foreign, &hex::encode(nonce))
            .replace(&text("result"), &found);
        let (answer, ()) = tokio::join!(Xmrig::ask(&mut rig.stream, &line), async {
            let (id, share) = upstream.share().await;
            assert_eq!(
                (&share["nonce"], &share["result"]),
                (&json!(hex::encode(nonce)), &json!(found))
            );
            upstream.accept(id).await;
        });
        assert_eq!(
            (&answer["id"], &answer["result"]["status"]),
            (&sent["id"], &json!("OK")),
            "{answer}"
        );
        rigs.push(rig);
    }
    assert_eq!(rigs.len(), 5);
    let stats = coordinator.get("/api/stats").await;
    assert_eq!(stats["shares"]["accepted"], 5, "{stats}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_miners_have_a_byte_each_and_are_not_believed() {
    let pool = StandIn::open().await;
    let coordinator = start(&pool).await;
    // Every hash is enough for the pool.
    let mut upstream = pool.peer(&job("a", 1, 1, 1)).await;
    let mut rig = Xmrig::login(&coordinator).await;
    let other = Xmrig::login(&coordinator).await;
    assert!(rig.byte() != 0 && other.byte() != 0 && rig.byte() != other.byte());
    let foreign = captured_login().replace(USER, "someone");
    let said = Xmrig::refused(&coordinator, &foreign).await;
    assert!(said.starts_with("Invalid user"), "{said}");

    let memory = Arc::new(SeedMemory::build(&[1; 32], Mode::Light).unwrap());
    let hash = |job: &Value, nonce| hash(&memory, job, nonce);
    let nonce = [1, 2, 3, rig.byte()];
    let right = hash(&rig.job, nonce);
    let (answer, ()) = tokio::join!(rig.submit(nonce, &right), async {
        let (id, share) = upstream.share().await;
        assert_eq!(
            (&share["job_id"], &share["nonce"]),
            (&json!("a"), &json!(hex::encode(nonce)))
        );
        assert_eq!(share["result"], hex::encode(right));
        upstream.accept(id).await;
    });
    assert_eq!(answer, Ok(()));
    assert_eq!(
        rig.submit(nonce, &right).await,
        Err("Duplicate share".to_owned())
    );
    // Another miner's nonces are not this one's.
    let foreign = [1, 2, 3, other.byte()];
    let said = rig.submit(foreign, &hash(&rig.job, foreign)).await;
    assert_eq!(said, Err(FOREIGN.to_owned()));
    // The pool's words are told on, but do not make the miner leave.
    let nonce = [2, 2, 3, rig.byte()];
    let right = hash(&rig.job, nonce);
    let (answer, ()) = tokio::join!(rig.submit(nonce, &right), async {
        let (id, _) = upstream.share().await;
        upstream.refuse(id, "Block expired").await;
    });
    assert_eq!(answer, Err("The pool says: Block expired".to_owned()));
    let line = json!({"id": 9, "method": "keepalived", "params": {"id": rig.session}});
    let answer = Xmrig::ask(&mut rig.stream, &line.to_string()).await;
    assert_eq!(
        (&answer["id"], &answer["result"]["status"]),
        (&json!(9), &json!("KEEPALIVED"))
    );
    // Wrong results are not believed, however often, and the pool never sees one.
    for last in 4..6 {
        let said = rig.submit([last, 0, 0, rig.byte()], &[0; 32]).await;
        assert_eq!(said, Err("Rejected share: invalid result".to_owned()));
    }
    let said = rig.submit([9, 0, 0, rig.byte()], &[0; 32]).await;
    assert_eq!(
        said,
        Err("Too many wrong results; try again later".to_owned())
    );
    let shown = coordinator.get("/api/workers/xmrig-rack7").await;
    assert_eq!(
        (&shown["quarantined"], &shown["wrong"]),
        (&json!(true), &json!(2)),
        "{shown}"
    );
    assert_eq!(coordinator.get("/health").await["workers"], 2);
    // A new job is pushed to the other one, with a byte of its own.
    drop(rig);
    let mut other = other;
    upstream.push(&job("b", 2, 1, 1)).await;
    let before = other.job["job_id"].clone();
    other.take_job().await;
    assert_ne!(other.job["job_id"], before);
    assert_ne!(other.byte(), 0);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_pool_leases_extranonces_stock_miners_have_whole_ones() {
    let pool = StandIn::open().await;
    let coordinator = start(&pool).await;
    let stream = pool.connection().await;
    let extensions = ["algo", "keepalive", "lease"];
    let mut upstream = Peer::logged_in_with(stream, &job("a", 1, 1, 1), &extensions).await;
    let mut rig = Xmrig::login_with(&coordinator, &["algo", "keepalive"]).await;
    assert_ne!(
        rig.byte(),
        0,
        "until the pool leases it has a byte of its own"
    );
    let line = upstream.hear().await;
    assert_eq!(line["method"], "lease", "{line}");
    let marks = 10..10 + u8::try_from(line["params"]["count"].as_u64().unwrap()).unwrap();
    let jobs: Vec<Value> = marks
        .map(|mark| job(&format!("own-{mark}"), mark, 1, 1))
        .collect();
    let result = json!({"jobs": jobs, "status": "OK"});
    upstream
        .say(&json!({"id": line["id"], "jsonrpc": "2.0", "error": null, "result": result}))
        .await;
    rig.take_job().await;
    let other = Xmrig::login_with(&coordinator, &["algo", "keepalive"]).await;
    assert_ne!(rig.job["blob"], other.job["blob"]);
    for rig in [&rig, &other] {
        let blob = hex::decode(rig.job["blob"].as_str().unwrap()).unwrap();
        assert_eq!(blob[39..43], [0; 4], "all nonces are the miner's");
    }
    // A nonce whose last byte is nobody's, and the pool knows the job by its own name.
    let memory = Arc::new(SeedMemory::build(&[1; 32], Mode::Light).unwrap());
    let nonce = [1, 2, 3, 0x55];
    let right = hash(&memory, &rig.job, nonce);
    let own = jobs.iter().find(|job| job["blob"] == rig.job["blob"]);
    let own = own.expect("a job that was leased");
    let (answer, ()) = tokio::join!(rig.submit(nonce, &right), async {
        let (id, share) = upstream.share().await;
        assert_eq!(
            (&share["job_id"], &share["nonce"]),
            (&own["job_id"], &json!(hex::encode(nonce)))
        );
        upstream.accept(id).await;
    });
    assert_eq!(answer, Ok(()));
    coordinator.stop().await;
}

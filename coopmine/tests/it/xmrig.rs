//! A client with XMRig's captured login at the coordinator's own port: a byte of the nonces for
//! each connection, results that are recomputed before they go upstream.

use headframe_stratum::randomx::{Mode, SeedMemory, Vm};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::stand_in::{Running, StandIn, job, soon, until};

/// As XMRig 6.26 sent it, with another user.
const LOGIN: &str = r#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"farm.rig1","pass":"x","agent":"XMRig/6.26.0 (Linux x86_64) libuv/1.44.2 gcc/12.2.0","rigid":"rack7","algo":["rx/0","cn/1","cn/2","cn/r","rx/2","rx/wow","rx/arq","rx/graft","rx/sfx","rx/yada","argon2/chukwa","ghostrider"]}}"#;

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
        until("a login", async || {
            let stream = TcpStream::connect(coordinator.miners.unwrap())
                .await
                .unwrap();
            let mut stream = BufReader::new(stream);
            let answer = Self::ask(&mut stream, LOGIN).await;
            let result = &answer["result"];
            let session = result["id"].as_str()?.to_owned();
            assert_eq!(
                result["extensions"],
                json!(["algo", "keepalive", "nicehash"])
            );
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_miners_have_a_byte_each_and_are_not_believed() {
    let pool = StandIn::open().await;
    let coordinator = Running::start(&pool.address(), |config| {
        config.miners.listen = "127.0.0.1:0".parse().ok();
        config.miners.user = "farm".to_owned();
    })
    .await;
    // Every hash is enough for the pool.
    let mut upstream = pool.peer(&job("a", 1, 1, 1)).await;
    let mut rig = Xmrig::login(&coordinator).await;
    let other = Xmrig::login(&coordinator).await;
    assert!(rig.byte() != 0 && other.byte() != 0 && rig.byte() != other.byte());
    let said = Xmrig::refused(&coordinator, &LOGIN.replace("farm.", "someone.")).await;
    assert!(said.starts_with("Invalid user"), "{said}");

    let memory = Arc::new(SeedMemory::build(&[1; 32], Mode::Light).unwrap());
    let hash = |job: &Value, nonce: [u8; 4]| {
        let mut blob = hex::decode(job["blob"].as_str().unwrap()).unwrap();
        blob[39..43].copy_from_slice(&nonce);
        Vm::new(&memory).unwrap().hash(&blob).unwrap()
    };
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
    assert_eq!(
        said,
        Err("Invalid nonce; is miner not compatible with NiceHash?".to_owned())
    );
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
    let mut line = String::new();
    soon("a job", other.stream.read_line(&mut line))
        .await
        .unwrap();
    let pushed: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(pushed["method"], "job");
    assert_ne!(pushed["params"]["job_id"], other.job["job_id"]);
    other.job = pushed["params"].clone();
    assert_ne!(other.byte(), 0);
    coordinator.stop().await;
}

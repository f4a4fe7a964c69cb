//! The stand-in's door: JSON-RPC over HTTP with a user and a password, as a node of Bitcoin's
//! family opens it.

use bitcoin::consensus::serialize;
use bitcoin::{BlockHash, Transaction};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex as Plain};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;

use super::node::{Node, Rules};

/// `user:password`, in base 64.
pub const AUTHORIZED: (&str, &str) = ("pool:open sesame", "cG9vbDpvcGVuIHNlc2FtZQ==");

/// A node behind its port; both end when it is dropped.
pub struct StandIn {
    pub url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    node: Mutex<Node>,
    /// What the `Authorization` header must be, if it must be there.
    secret: Plain<Option<String>>,
    /// Long polls that were asked for.
    held: AtomicU64,
    /// Headers that were asked for.
    headers: AtomicU64,
}

impl StandIn {
    pub async fn open(rules: Rules) -> Self {
        Self::over(Node::new(rules)).await
    }

    pub async fn over(node: Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            node: Mutex::new(node),
            secret: Plain::new(None),
            held: AtomicU64::new(0),
            headers: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared.clone()));
        Self {
            url,
            shared,
            _tasks: tasks,
        }
    }

    pub async fn node(&self) -> MutexGuard<'_, Node> {
        self.shared.node.lock().await
    }

    /// How many long polls were asked for.
    pub fn held(&self) -> u64 {
        self.shared.held.load(SeqCst)
    }

    /// How many headers were asked for.
    pub fn headers(&self) -> u64 {
        self.shared.headers.load(SeqCst)
    }

    /// From now on only this, in base 64, opens the door.
    pub fn demand(&self, secret: &str) {
        *self.shared.secret.lock().unwrap() = Some(format!("Basic {secret}"));
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve(stream, shared.clone()));
    }
}

/// One connection, as many requests as come on it.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some((authorization, body)) = request(&mut stream).await {
        let Some((status, text)) = answer(&shared, authorization, &body).await else {
            return;
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        if stream
            .get_mut()
            .write_all(format!("{head}{text}").as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<(Option<String>, Value)> {
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap()
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.to_owned())
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((authorization, serde_json::from_slice(&body).unwrap()))
}

/// Status line and text; `None` when the answer gets lost.
async fn answer(
    shared: &Shared,
    authorization: Option<String>,
    request: &Value,
) -> Option<(&'static str, String)> {
    let demanded = shared.secret.lock().unwrap().clone();
    if demanded.is_some() && demanded != authorization {
        return Some(("401 Unauthorized", String::new()));
    }
    if let Some(known) = request["params"][0]["longpollid"].as_str() {
        shared.held.fetch_add(1, SeqCst);
        until(shared, known).await;
    }
    let mut node = shared.node.lock().await;
    if node.mood.busy {
        return Some((
            "503 Service Unavailable",
            "Work queue depth exceeded".to_owned(),
        ));
    }
    let method = request["method"].as_str().unwrap();
    if method == "getblockheader" {
        shared.headers.fetch_add(1, SeqCst);
    }
    let result = call(&mut node, method, &request["params"]).await;
    if method == "submitblock" && node.mood.lost_answers > 0 {
        node.mood.lost_answers -= 1;
        return None;
    }
    let id = &request["id"];
    Some(match result {
        Ok(result) => (
            "200 OK",
            json!({"result": result, "error": null, "id": id}).to_string(),
        ),
        Err((code, message)) => {
            let status = if code == -32601 {
                "404 Not Found"
            } else {
                "500 Internal Server Error"
            };
            (
                status,
                json!({"result": null, "error": {"code": code, "message": message}, "id": id})
                    .to_string(),
            )
        }
    })
}

/// Holds a long poll until there is another template, or for the minute a real node holds it.
async fn until(shared: &Shared, known: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
    while shared.node.lock().await.template()["longpollid"] == json!(known)
        && tokio::time::Instant::now() < deadline
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn call(node: &mut Node, method: &str, params: &Value) -> Result<Value, (i64, String)> {
    match method {
        "getblockchaininfo" => {
            let (height, hash) = node.tip();
            Ok(json!({
                "chain": node.mood.chain.unwrap_or("regtest"), "blocks": height,
                "headers": height + node.mood.headers_ahead,
                "bestblockhash": hash.to_string(),
                "initialblockdownload": node.mood.initial_download,
            }))
        }
        "getblocktemplate" => match params[0]["rules"].as_array() {
            Some(rules) if rules.contains(&json!("segwit")) => Ok(node.template()),
            _ => Err((
                -8,
                "getblocktemplate must be called with the segwit rule set (call with {\"rules\": \
                 [\"segwit\"]})"
                    .to_owned(),
            )),
        },
        "getblockhash" => {
            let hash = params[0]
                .as_u64()
                .and_then(|height| node.chain.get(&height));
            hash.map(|hash| json!(hash.to_string()))
                .ok_or((-8, "Block height out of range".to_owned()))
        }
        "getblockheader" => {
            let known = params[0]
                .as_str()
                .and_then(|hash| hash.parse().ok())
                .and_then(|hash| node.header(hash));
            let (height, header, confirmations) =
                known.ok_or((-5, "Block not found".to_owned()))?;
            Ok(match params[1] {
                Value::Bool(false) => json!(header.map(|header| hex::encode(serialize(&header)))),
                _ => json!({"height": height, "confirmations": confirmations}),
            })
        }
        "getblock" => {
            let block = params[0]
                .as_str()
                .and_then(|hash| hash.parse().ok())
                .and_then(|hash: BlockHash| node.blocks.get(&hash));
            let block = block.ok_or((-5, "Block not found".to_owned()))?;
            let ids: Vec<String> = block
                .txdata
                .iter()
                .map(|transaction| transaction.compute_txid().to_string())
                .collect();
            Ok(
                json!({"tx": ids, "previousblockhash": block.header.prev_blockhash.to_string(),
                "bits": format!("{:08x}", block.header.bits.to_consensus())}),
            )
        }
        "getrawtransaction" => {
            let block = params[2]
                .as_str()
                .and_then(|hash| hash.parse().ok())
                .and_then(|hash: BlockHash| node.blocks.get(&hash));
            let wanted = |transaction: &&Transaction| {
                json!(transaction.compute_txid().to_string()) == params[0]
            };
            let found = block.and_then(|block| block.txdata.iter().find(wanted));
            found
                .map(|transaction| json!(hex::encode(serialize(transaction))))
                .ok_or((-5, "No such transaction found".to_owned()))
        }
        "submitblock" => node
            .submit(params[0].as_str().unwrap())
            .await
            .map(|verdict| json!(verdict)),
        _ => Err((-32601, "Method not found".to_owned())),
    }
}

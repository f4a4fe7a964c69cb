//! A stand-in for a node of Bitcoin's kind with a wallet: what a payer sees of it over HTTP, with
//! the node's own words and codes, and with what goes wrong on the way.
//!
//! It never forgets what it sent, pays whatever `sendmany` is told however often, and believes no
//! name twice: whether somebody was paid twice is for the test to see.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::violations::now_us;

/// How nodes of an age speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// As up to 0.18: a refusal is HTTP status 500, the balance is in `getwalletinfo`, there is no
    /// `getbalances`.
    Old,
    /// As from 30 on: a refusal of JSON-RPC 2.0 is HTTP status 200, the balance is in `getbalances`
    /// alone.
    New,
}

/// What goes wrong with a `sendmany`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is sent, and the connection is cut instead of an answer.
    AnswerLost,
    /// It is sent, and the connection is cut in the middle of the answer.
    AnswerCut,
    /// The connection is cut before the node reads it.
    NotHeard,
    /// The node is so busy that it sends when the caller has given up.
    Late,
    /// It is sent, and the node dies; it comes back with its wallet locked.
    Crash,
    /// Somebody spent the coins a moment ago.
    Poor,
    /// Somebody locked the wallet a moment ago.
    Locked,
}

/// A transaction of the wallet. Amounts in atomic units.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub id: String,
    pub comment: String,
    pub outputs: Vec<(String, i128)>,
    pub fee: i128,
    /// The block it is in.
    pub height: Option<i64>,
    pub time: i64,
}

pub struct Inside {
    pub age: Age,
    /// What can be spent.
    pub money: i128,
    pub sent: Vec<Transaction>,
    pub faults: VecDeque<Fault>,
    pub unlocked: bool,
    /// So many calls more are answered with `-28`.
    pub warming: u32,
    /// Calls by method.
    pub calls: BTreeMap<String, u64>,
    /// How far back anybody has read its history, in entries.
    pub deepest: usize,
    /// Whether nobody is answered.
    down: bool,
    height: i64,
}

/// The node, and its server.
pub struct Node {
    inside: Arc<Mutex<Inside>>,
    pub url: String,
    _server: JoinSet<()>,
}

/// The login in base64, and as it is written into a file.
const LOGIN: (&str, &str) = ("Basic cG9vbDpzM2NyZXQ=", "pool:s3cret");

type Refusal = (i64, String);

fn refuse<T>(code: i64, message: impl Into<String>) -> Result<T, Refusal> {
    Err((code, message.into()))
}

impl Node {
    /// A node with so much to spend, and with `old` payments that were made long ago.
    pub async fn start(age: Age, money: i128, old: usize) -> Self {
        let past = |number: usize| Transaction {
            id: format!("{number:064x}"),
            comment: format!("main-{number}"),
            outputs: vec![(
                "sy1qsomebodywhowaspaidlongago".to_owned(),
                1_000 + number as i128,
            )],
            fee: 141,
            height: Some(1),
            time: 1_500_000_000 + number as i64,
        };
        let inside = Inside {
            age,
            money,
            sent: (1..=old).map(past).collect(),
            faults: VecDeque::new(),
            unlocked: true,
            warming: 0,
            calls: BTreeMap::new(),
            deepest: 0,
            down: false,
            height: 1_000,
        };
        let inside = Arc::new(Mutex::new(inside));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/wallet/pool", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(serve(listener, inside.clone()));
        Self {
            inside,
            url,
            _server: server,
        }
    }

    pub fn login() -> &'static str {
        LOGIN.1
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// Makes blocks; the first takes in what waits.
    pub fn mine(&self, count: i64) {
        let mut inside = self.inside();
        let height = inside.height + 1;
        inside
            .sent
            .iter_mut()
            .filter(|tx| tx.height.is_none())
            .for_each(|tx| tx.height = Some(height));
        inside.height += count;
    }

    /// The operator starts it again; the wallet wants its passphrase.
    pub fn restart(&self) {
        let mut inside = self.inside();
        (inside.down, inside.warming, inside.unlocked) = (false, 3, false);
    }

    pub fn is_down(&self) -> bool {
        self.inside().down
    }
}

impl Inside {
    /// How often anybody has read its history.
    fn looks(&self) -> u64 {
        self.calls.get("listtransactions").copied().unwrap_or(0)
    }

    fn call(&mut self, method: &str, params: &Value) -> Result<Value, Refusal> {
        if self.warming > 0 {
            self.warming -= 1;
            return refuse(-28, "Loading wallet…");
        }
        match method {
            "getblockchaininfo" => Ok(
                json!({"chain": "regtest", "blocks": self.height, "headers": self.height,
                    "initialblockdownload": false}),
            ),
            "getwalletinfo" => {
                let mut info = json!({"walletname": "pool", "walletversion": 169_900,
                    "txcount": self.sent.len(),
                    "unlocked_until": if self.unlocked { 1_900_000_000 } else { 0 }});
                if self.age == Age::Old {
                    info["balance"] = coins(self.money);
                    info["immature_balance"] = coins(5_000_000_000);
                }
                Ok(info)
            }
            "getbalances" if self.age == Age::New => Ok(
                json!({"mine": {"trusted": coins(self.money), "untrusted_pending": coins(0),
                    "immature": coins(5_000_000_000)}}),
            ),
            "validateaddress" => Ok(json!({"isvalid": valid(params[0].as_str().unwrap())})),
            "sendmany" => self.send_many(params),
            "listtransactions" => self.list(params),
            "gettransaction" => self.one(&params[0]),
            "walletpassphrase" => {
                self.unlocked = true;
                Ok(Value::Null)
            }
            _ => refuse(-32_601, "Method not found"),
        }
    }

    /// In the order of the node: the parameters, the passphrase, then the coins.
    fn send_many(&mut self, params: &Value) -> Result<Value, Refusal> {
        if params[0] != "" {
            return refuse(-8, "Dummy value must be set to \"\"");
        }
        let Some(wanted) = params[1].as_object() else {
            return refuse(-3, "JSON value is not an object as expected");
        };
        let mut outputs = Vec::new();
        for (address, amount) in wanted {
            if !valid(address) {
                return refuse(-5, format!("Invalid Bitcoin address: {address}"));
            }
            let Some(amount) = amount.as_str().and_then(atomic) else {
                return refuse(-3, "Invalid amount");
            };
            if amount <= 0 {
                return refuse(-3, "Amount out of range");
            }
            outputs.push((address.clone(), amount));
        }
        if !self.unlocked {
            return refuse(
                -13,
                "Error: Please enter the wallet passphrase with walletpassphrase first.",
            );
        }
        if outputs.iter().any(|(_, amount)| *amount < 294) {
            return refuse(-6, "Transaction amount too small");
        }
        let fee = 110 + 31 * outputs.len() as i128 + self.sent.len() as i128 % 7;
        let total = outputs.iter().map(|(_, amount)| amount).sum::<i128>() + fee;
        if total > self.money {
            return refuse(-6, "Insufficient funds");
        }
        self.money -= total;
        let id = format!("{:064x}", 0xfeed_0000 + self.sent.len());
        let comment = params[3].as_str().unwrap_or_default().to_owned();
        let now = now_us() / 1_000_000;
        self.sent.push(Transaction {
            id: id.clone(),
            comment,
            outputs,
            fee,
            height: None,
            time: now,
        });
        Ok(json!(id))
    }

    fn entries(&self, tx: &Transaction) -> Vec<Value> {
        let entry = |(vout, (address, amount)): (usize, &(String, i128))| {
            json!({"address": address, "category": "send", "amount": coins(-amount), "vout": vout,
                "fee": coins(-tx.fee),
                "confirmations": tx.height.map_or(0, |height| self.height - height + 1),
                "txid": tx.id, "walletconflicts": [],
                "time": tx.time, "timereceived": tx.time, "bip125-replaceable": "no",
                "abandoned": false, "comment": tx.comment})
        };
        tx.outputs.iter().enumerate().map(entry).collect()
    }

    /// Of all entries the newest `count` after the newest `skip`, oldest first.
    fn list(&mut self, params: &Value) -> Result<Value, Refusal> {
        let (count, skip) = (
            params[1].as_u64().unwrap() as usize,
            params[2].as_u64().unwrap() as usize,
        );
        self.deepest = self.deepest.max(skip + count);
        let newest = self
            .sent
            .iter()
            .rev()
            .flat_map(|tx| self.entries(tx).into_iter().rev());
        let mut page: Vec<Value> = newest.skip(skip).take(count).collect();
        page.reverse();
        Ok(json!(page))
    }

    fn one(&self, id: &Value) -> Result<Value, Refusal> {
        let Some(tx) = self.sent.iter().find(|tx| id == tx.id.as_str()) else {
            return refuse(-5, "Invalid or non-wallet transaction id");
        };
        let total: i128 = tx.outputs.iter().map(|(_, amount)| amount).sum();
        let mut details = self.entries(tx);
        for entry in details.iter_mut().filter_map(Value::as_object_mut) {
            entry.retain(|key, _| {
                ["address", "category", "amount", "vout", "fee", "abandoned"]
                    .contains(&key.as_str())
            });
        }
        Ok(
            json!({"amount": coins(-total), "fee": coins(-tx.fee), "txid": tx.id, "time": tx.time,
                "comment": tx.comment,
            "confirmations": tx.height.map_or(0, |height| self.height - height + 1),
            "details": details}),
        )
    }
}

fn valid(address: &str) -> bool {
    address.starts_with("sy1q")
        && address
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// An amount as nodes print it, always with eight digits. It is a text until [`print`] takes the
/// marks away, because a number would lose them.
fn coins(amount: i128) -> Value {
    let sign = if amount < 0 { "-" } else { "" };
    json!(format!(
        "<{sign}{}.{:08}>",
        amount.abs() / 100_000_000,
        amount.abs() % 100_000_000
    ))
}

fn print(value: &Value) -> String {
    value.to_string().replace("\"<", "").replace(">\"", "")
}

/// Exactly, or not at all: more than eight digits are an error of the caller.
fn atomic(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 8
        && !whole.is_empty()
        && whole
            .bytes()
            .chain(fraction.bytes())
            .all(|byte| byte.is_ascii_digit());
    digits
        .then(|| format!("{whole}{fraction:0<8}").parse().ok())
        .flatten()
}

async fn serve(listener: TcpListener, inside: Arc<Mutex<Inside>>) {
    let mut talks = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let inside = inside.clone();
        talks.spawn(async move {
            let mut stream = BufReader::new(stream);
            while talk(&mut stream, &inside).await.is_some() {}
        });
        while talks.try_join_next().is_some() {}
    }
}

/// One request of a connection; `None` when it is closed.
async fn talk(stream: &mut BufReader<TcpStream>, inside: &Mutex<Inside>) -> Option<()> {
    let (path, login, body) = request(stream).await?;
    let request: Value = serde_json::from_slice(&body).unwrap();
    let (method, params) = (request["method"].as_str().unwrap(), &request["params"]);
    let fault = {
        let mut inside = inside.lock().unwrap();
        if inside.down {
            return None;
        }
        *inside.calls.entry(method.to_owned()).or_default() += 1;
        if method == "sendmany" {
            inside.faults.pop_front()
        } else {
            None
        }
    };
    let call = || inside.lock().unwrap().call(method, params);
    let answer = match fault {
        _ if !login => return write(stream, "401 Unauthorized", "").await,
        _ if path != "/wallet/pool" => {
            refuse(-18, "Requested wallet does not exist or is not loaded")
        }
        None => call(),
        Some(Fault::NotHeard) => return None,
        Some(Fault::Poor) => refuse(-6, "Insufficient funds"),
        Some(Fault::Locked) => {
            inside.lock().unwrap().unlocked = false;
            call()
        }
        Some(Fault::Late) => {
            // The caller loses its connection, and looks for the payment before it is made.
            stream.get_mut().shutdown().await.ok()?;
            let looks = || inside.lock().unwrap().looks();
            let before = looks();
            let mut pauses = tokio::time::interval(std::time::Duration::from_millis(5));
            while looks() == before {
                pauses.tick().await;
            }
            call().unwrap();
            return None;
        }
        Some(Fault::AnswerLost) => {
            call().unwrap();
            return None;
        }
        Some(Fault::Crash) => {
            call().unwrap();
            inside.lock().unwrap().down = true;
            return None;
        }
        Some(Fault::AnswerCut) => {
            let text = print(&call().unwrap());
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{{\"result\":{}",
                text.len() + 40,
                &text[..30]
            );
            stream.get_mut().write_all(head.as_bytes()).await.ok()?;
            return None;
        }
    };
    let age = inside.lock().unwrap().age;
    match (answer, age) {
        (Ok(result), Age::Old) => {
            write(
                stream,
                "200 OK",
                &print(&json!({"result": result, "error": null, "id": request["id"]})),
            )
            .await
        }
        (Ok(result), Age::New) => {
            write(
                stream,
                "200 OK",
                &print(&json!({"jsonrpc": "2.0", "result": result, "id": request["id"]})),
            )
            .await
        }
        (Err((code, message)), age) => {
            let error = json!({"code": code, "message": message});
            match (age, code) {
                (Age::New, _) => {
                    write(
                        stream,
                        "200 OK",
                        &json!({"jsonrpc": "2.0", "error": error, "id": request["id"]}).to_string(),
                    )
                    .await
                }
                (Age::Old, code) => {
                    let status = if code == -32_601 {
                        "404 Not Found"
                    } else {
                        "500 Internal Server Error"
                    };
                    write(
                        stream,
                        status,
                        &json!({"result": null, "error": error, "id": request["id"]}).to_string(),
                    )
                    .await
                }
            }
        }
    }
}

/// Path, whether the login is right, and the body of a request.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, bool, Vec<u8>)> {
    let (mut path, mut length, mut login) = (String::new(), 0, false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let (name, value) = line
            .trim_end()
            .split_once(": ")
            .unwrap_or((line.trim_end(), ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => login = value == LOGIN.0,
            "" => break,
            other => {
                if let Some(rest) = other.strip_prefix("post ") {
                    path = rest.split(' ').next().unwrap_or_default().to_owned();
                }
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, login, body))
}

async fn write(stream: &mut BufReader<TcpStream>, status: &str, text: &str) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    stream
        .get_mut()
        .write_all(format!("{head}{text}").as_bytes())
        .await
        .ok()
}

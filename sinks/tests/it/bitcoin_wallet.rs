//! The wallet of Bitcoin's kind against a stand-in that answers as a node does: codes, lost
//! answers, pages, coins with a point.

use std::sync::{Arc, Mutex};

use headframe_sinks::wallet::{AddressCheck, Output, WalletKind};
use headframe_sinks::{Wallet, WalletConfig, WalletError};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a node knows.
#[derive(Default)]
struct Node {
    locked: bool,
    syncing: bool,
    /// Executes the next call and closes the connection instead of answering.
    lose_answer: bool,
    sent: Vec<Transaction>,
    confirmations: i64,
}

/// Name, comment, and destinations with amounts as nodes print them: with eight digits.
type Transaction = (String, String, Vec<(String, String)>);

const LOGIN: &str = "Basic cG9vbDpzM2NyZXQ=";

impl Node {
    fn call(&mut self, method: &str, params: &Value) -> Result<Value, (i64, &'static str)> {
        let entry = |(tx, comment, to): &Transaction| -> Vec<String> {
            let one = |(address, amount): &(String, String)| {
                format!(
                    "{{\"category\":\"send\",\"address\":\"{address}\",\"amount\":-{amount},\
                     \"fee\":-0.00001230,\"txid\":\"{tx}\",\"comment\":\"{comment}\",\
                     \"confirmations\":{}}}",
                    self.confirmations
                )
            };
            to.iter().map(one).collect()
        };
        let text = |list: Vec<String>| {
            serde_json::from_str::<Value>(&format!("[{}]", list.join(","))).unwrap()
        };
        match method {
            "getblockchaininfo" => {
                Ok(json!({"initialblockdownload": self.syncing, "blocks": 5, "headers": 9}))
            }
            "getwalletinfo" if self.locked => Ok(json!({"balance": 1.5, "unlocked_until": 0})),
            "getwalletinfo" => Ok(serde_json::from_str(
                "{\"balance\":20999999.97690002,\"immature_balance\":50.00000000}",
            )
            .unwrap()),
            "validateaddress" => {
                Ok(json!({"isvalid": params[0].as_str().unwrap().starts_with("syl1")}))
            }
            "verifymessage" if params[0] == "syl1own" => {
                Ok(json!(params[1] == "good" && params[2] == "text"))
            }
            "verifymessage" => Err((-3, "Address does not refer to key")),
            "sendmany" if self.locked => Err((
                -13,
                "Please enter the wallet passphrase with walletpassphrase first.",
            )),
            "sendmany" => {
                let to = params[1].as_object().unwrap();
                if let Some(bad) = to.keys().find(|address| !address.starts_with("syl1")) {
                    assert_eq!(bad, "bad1");
                    return Err((-5, "Invalid Bitcoin address: bad1"));
                }
                let tx = format!("{:064x}", self.sent.len() + 1);
                let to = to
                    .iter()
                    .map(|(address, amount)| (address.clone(), amount.as_str().unwrap().to_owned()))
                    .collect();
                self.sent
                    .push((tx.clone(), params[3].as_str().unwrap().to_owned(), to));
                Ok(json!(tx))
            }
            "listtransactions" => {
                let all: Vec<String> = self.sent.iter().flat_map(entry).collect();
                let (count, skip) = (
                    params[1].as_u64().unwrap() as usize,
                    params[2].as_u64().unwrap() as usize,
                );
                // The newest `count` after skipping the newest `skip`, oldest first.
                let end = all.len().saturating_sub(skip);
                Ok(text(all[end.saturating_sub(count)..end].to_vec()))
            }
            "gettransaction" => {
                let found = self
                    .sent
                    .iter()
                    .find(|(tx, ..)| params[0] == *tx.as_str())
                    .ok_or((-5, "Invalid or non-wallet transaction id"))?;
                Ok(json!({"confirmations": self.confirmations, "details": text(entry(found))}))
            }
            _ => Err((-32601, "Method not found")),
        }
    }
}

async fn serve(listener: TcpListener, node: Arc<Mutex<Node>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let node = node.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            while talk(&mut stream, &node).await.is_some() {}
        });
    }
}

/// One request of a connection; `None` when it is closed.
async fn talk(stream: &mut BufReader<TcpStream>, node: &Mutex<Node>) -> Option<()> {
    let (mut length, mut login) = (0, false);
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
            "authorization" => login = value == LOGIN,
            "" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let request: Value = serde_json::from_slice(&body).unwrap();
    let (answer, lost) = {
        let mut node = node.lock().unwrap();
        let lost = std::mem::take(&mut node.lose_answer);
        (
            login.then(|| node.call(request["method"].as_str().unwrap(), &request["params"])),
            lost,
        )
    };
    if lost {
        return None;
    }
    let (status, text) = match answer {
        None => ("401 Unauthorized", String::new()),
        Some(Ok(result)) => (
            "200 OK",
            json!({"result": result, "error": null, "id": "headframe"}).to_string(),
        ),
        // A node says its refusals under this status.
        Some(Err((code, message))) => (
            "500 Internal Server Error",
            json!({"result": null, "error": {"code": code, "message": message}, "id": "headframe"})
                .to_string(),
        ),
    };
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

async fn start() -> (Arc<Mutex<Node>>, Arc<dyn Wallet>, tempfile::TempDir) {
    start_with("pool:s3cret").await
}

async fn start_with(login: &str) -> (Arc<Mutex<Node>>, Arc<dyn Wallet>, tempfile::TempDir) {
    let node = Arc::new(Mutex::new(Node::default()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/wallet/pool", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, node.clone()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("login"), login).unwrap();
    let login_file = Some(folder.path().join("login"));
    let config = WalletConfig {
        kind: WalletKind::Bitcoin,
        url,
        login_file,
        timeout_s: 5,
        ..WalletConfig::default()
    };
    config.validate().unwrap();
    (node, config.open().unwrap().unwrap(), folder)
}

fn outputs() -> Vec<Output> {
    vec![
        Output {
            address: "syl1a".to_owned(),
            amount: 1,
        },
        Output {
            address: "syl1b".to_owned(),
            amount: 2_099_999_997_690_000,
        },
    ]
}

#[tokio::test]
async fn a_lost_answer_is_found_again_by_the_payments_name() {
    let (node, wallet, _folder) = start().await;
    assert_eq!(
        wallet.funds().await.unwrap().unlocked,
        2_099_999_997_690_002,
        "to the last unit"
    );
    wallet.prepare("main-1", &outputs()).await.unwrap();
    assert_eq!(wallet.find("main-1", None, 0).await.unwrap(), None);
    node.lock().unwrap().lose_answer = true;
    let lost = wallet.submit("main-1", &outputs(), None).await.unwrap_err();
    assert!(
        matches!(lost, WalletError::Unreachable { .. }) && !wallet.is_definite(&lost),
        "{lost}"
    );
    // Others come after it, so that it is on the second page, cut in the middle.
    for other in 0..250 {
        wallet
            .submit(&format!("other-{other}"), &outputs(), None)
            .await
            .unwrap();
    }
    node.lock().unwrap().confirmations = 7;
    let found = wallet.find("main-1", None, 0).await.unwrap().unwrap();
    assert_eq!(
        (found.tx_id.as_str(), found.confirmations),
        (format!("{:064x}", 1).as_str(), 7)
    );
    assert_eq!((found.amount, found.fee), (2_099_999_997_690_001, 1_230));
    assert_eq!(wallet.find("main-2", None, 0).await.unwrap(), None);
    node.lock().unwrap().confirmations = -2;
    assert_eq!(
        wallet
            .find("main-1", Some(&found.tx_id), 0)
            .await
            .unwrap()
            .unwrap()
            .confirmations,
        0,
        "a conflict is not confirmed"
    );
}

#[tokio::test]
async fn what_a_node_refuses_is_told_apart() {
    let (node, wallet, _folder) = start().await;
    let bad = vec![Output {
        address: "bad1".to_owned(),
        amount: 5,
    }];
    let refused = wallet.submit("p", &bad, None).await.unwrap_err();
    assert!(
        matches!(&refused, WalletError::Address { address, .. } if address == "bad1")
            && wallet.is_definite(&refused),
        "{refused}"
    );
    assert!(matches!(
        wallet.check_address("bad1").await.unwrap(),
        AddressCheck::Refused(_)
    ));
    assert_eq!(
        wallet.check_address("syl1a").await.unwrap(),
        AddressCheck::Payable
    );
    let much = vec![Output {
        address: "syl1a".to_owned(),
        amount: 2_099_999_997_690_002,
    }];
    assert!(
        matches!(
            wallet.prepare("p", &much).await.unwrap_err(),
            WalletError::NotEnough(_)
        ),
        "nothing would be left for the fee"
    );
    node.lock().unwrap().locked = true;
    let locked = wallet.submit("p", &outputs(), None).await.unwrap_err();
    assert!(
        matches!(locked, WalletError::Locked(_)) && wallet.is_definite(&locked),
        "{locked}"
    );
    assert!(matches!(
        wallet.funds().await.unwrap_err(),
        WalletError::Locked(_)
    ));
    node.lock().unwrap().syncing = true;
    assert!(matches!(
        wallet.funds().await.unwrap_err(),
        WalletError::Unsynced(_)
    ));
    assert_eq!(node.lock().unwrap().sent.len(), 0);
    for (address, signature, good) in [
        ("syl1own", "good", true),
        ("syl1own", "bad", false),
        ("syl1script", "good", false),
    ] {
        assert_eq!(
            wallet.verify(address, "text", signature).await.unwrap(),
            good,
            "{address} {signature}"
        );
    }
    let (_, stranger, _folder) = start_with("pool:wrong").await;
    assert!(matches!(
        stranger.funds().await.unwrap_err(),
        WalletError::Login { .. }
    ));
}

//! What monero-wallet-rpc says of a signature, and what of it proves that the address is one's own.

use headframe_sinks::wallet::WalletKind;
use headframe_sinks::wallet::monero::MoneroWallet;
use headframe_sinks::{Wallet, WalletConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The words of monero-wallet-rpc 0.18 about a signature that is called after its kind.
fn answer(signature: &str) -> Value {
    let good = |kind: &str, version: u32| {
        json!({"result": {"good": true, "old": version < 2, "signature_type": kind,
            "version": version}})
    };
    match signature {
        "spend" => good("spend", 2),
        "view" => good("view", 2),
        "old" => good("spend", 1),
        "wrong" => json!({"result": {"good": false, "old": false, "signature_type": "invalid",
            "version": 0}}),
        "silent" => json!({"result": {}}),
        _ => json!({"error": {"code": -2, "message": "Invalid address"}}),
    }
}

/// One request of a connection; `None` when it is closed.
async fn talk(stream: &mut BufReader<TcpStream>) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let request: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(request["method"], "verify");
    let text = answer(request["params"]["signature"].as_str().unwrap()).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    let answer = format!("{head}{text}");
    stream.get_mut().write_all(answer.as_bytes()).await.ok()
}

/// Auditors and exchanges hold private view keys, which sign as well.
#[tokio::test]
async fn a_signature_of_the_view_key_proves_nothing() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let config = WalletConfig {
        kind: WalletKind::Monero,
        url: format!("http://{}", listener.local_addr().unwrap()),
        timeout_s: 5,
        ..WalletConfig::default()
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while talk(&mut stream).await.is_some() {}
            });
        }
    });
    let wallet = MoneroWallet::new(&config).unwrap();
    for (signature, expected) in [
        ("spend", true),
        ("old", true),
        ("view", false),
        ("wrong", false),
        ("silent", false),
        ("of an address that is none", false),
    ] {
        let good = wallet.verify("4Ann", "text", signature).await.unwrap();
        assert_eq!(good, expected, "{signature}");
    }
}

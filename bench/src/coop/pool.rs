//! The coordinator's pool: one connection, the jobs of the load, and an OK to every share.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// RandomX' key of all jobs.
pub const SEED: [u8; 32] = [0x41; 32];
/// A blob as long as Monero's, and where the job's number is in it.
const BLOB_LEN: usize = 76;
const MARK: std::ops::Range<usize> = 44..52;
/// How long the coordinator may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Jobs that are not sent yet.
const LINES: usize = 64;

/// The pool.
pub struct ScriptedPool {
    lines: mpsc::Sender<Value>,
    first: Option<mpsc::Receiver<Value>>,
    listener: TcpListener,
}

/// A job on its way.
pub struct PushedJob {
    /// When it was sent.
    pub at: Instant,
}

impl ScriptedPool {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await;
        let (lines, first) = mpsc::channel(LINES);
        Ok(Self {
            lines,
            first: Some(first),
            listener: listener.with_context(|| format!("cannot listen on {address}"))?,
        })
    }

    /// Where it listens.
    #[cfg(test)]
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Gives the coordinator the job of this number; the first with the answer to its login.
    pub async fn push(&mut self, number: u64) -> anyhow::Result<PushedJob> {
        if let Some(lines) = self.first.take() {
            let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
            let (stream, _) = accepted.context("the coordinator does not come to its pool")??;
            let login = json!({"id": "load", "status": "OK", "extensions": ["keepalive"],
                "job": job(number)});
            tokio::spawn(async move {
                if let Err(error) = serve(stream, login, lines).await {
                    complain(&error);
                }
            });
        } else {
            let line = json!({"jsonrpc": "2.0", "method": "job", "params": job(number)});
            let sent = self.lines.send(line).await;
            ensure!(sent.is_ok(), "the coordinator left its pool");
        }
        Ok(PushedJob { at: Instant::now() })
    }
}

/// The load itself fails for want of jobs.
fn complain(error: &anyhow::Error) {
    eprintln!("the pool's connection ended: {error:#}");
}

/// Every share is worth one hash, so that each goes upstream.
fn job(number: u64) -> Value {
    let mut blob = [7; BLOB_LEN];
    blob[39..43].fill(0);
    blob[MARK].copy_from_slice(&number.to_le_bytes());
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    json!({"job_id": number.to_string(), "blob": hex(&blob), "algo": "rx/0", "height": number + 1,
        "target": hex(&u64::MAX.to_le_bytes()), "seed_hash": hex(&SEED)})
}

/// The number of the job that a blob is of.
pub fn mark_of(blob: &[u8]) -> Option<u64> {
    let bytes = blob.get(MARK)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}

async fn serve(
    stream: TcpStream,
    login: Value,
    mut lines: mpsc::Receiver<Value>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader: Lines<BufReader<OwnedReadHalf>> = BufReader::new(reader).lines();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => say(&mut writer, &line).await?,
                None => return Ok(()),
            },
            line = reader.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                let request: Value = serde_json::from_str(&line)?;
                let result = match request["method"].as_str() {
                    Some("login") => login.clone(),
                    _ => json!({"status": "OK"}),
                };
                let answer = json!({"id": request["id"], "jsonrpc": "2.0", "error": null,
                    "result": result});
                say(&mut writer, &answer).await?;
            }
        }
    }
}

async fn say(writer: &mut OwnedWriteHalf, line: &Value) -> anyhow::Result<()> {
    writer.write_all(format!("{line}\n").as_bytes()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_known_by_its_blob() {
        let job = job(0x0102_0304);
        let text = job["blob"].as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        let blob: Vec<u8> = (0..BLOB_LEN).map(byte).collect();
        assert_eq!(mark_of(&blob), Some(0x0102_0304));
        assert_eq!(blob[39..43], [0; 4]);
        assert_eq!(mark_of(&blob[..50]), None);
    }
}

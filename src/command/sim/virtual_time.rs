//! Where the rows of virtual time go: files, or a server.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use headframe_ingest::simulator::VirtualRun;

use crate::command::api_client::ApiClient;

/// Rows of one request.
const BATCH_ROWS: usize = 5_000;
/// Attempts at one request; the rows carry numbers, so that none is stored twice.
const ATTEMPTS: u32 = 5;

/// Rows by stream.
type Counts = BTreeMap<&'static str, u64>;

/// Writes a file for each stream.
pub fn write(run: VirtualRun, folder: &Path) -> anyhow::Result<Counts> {
    let cannot = || format!("cannot write rows into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(cannot)?;
    let mut files = BTreeMap::new();
    let mut counts = Counts::new();
    for row in run {
        let file = match files.entry(row.stream) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = folder.join(format!("{}.ndjson", row.stream));
                let file = std::fs::File::create(path).with_context(cannot)?;
                entry.insert(std::io::BufWriter::new(file))
            }
        };
        file.write_all(&row.line).with_context(cannot)?;
        file.write_all(b"\n").with_context(cannot)?;
        *counts.entry(row.stream).or_default() += 1;
    }
    for file in files.values_mut() {
        file.flush().with_context(cannot)?;
    }
    Ok(counts)
}

/// Sends the rows to a server's ingest, each once.
pub async fn send(run: VirtualRun, client: &ApiClient) -> anyhow::Result<Counts> {
    let sender = Sender {
        client,
        producer: format!("sim-{:016x}", rand::random::<u64>()),
    };
    let mut batches: BTreeMap<&'static str, Vec<u8>> = BTreeMap::new();
    let (mut counts, mut sent) = (Counts::new(), Counts::new());
    for row in run {
        let batch = batches.entry(row.stream).or_default();
        batch.extend_from_slice(&row.line);
        batch.push(b'\n');
        let count = counts.entry(row.stream).or_default();
        *count += 1;
        let first = sent.entry(row.stream).or_default();
        if *count - *first >= BATCH_ROWS as u64 {
            sender
                .post(row.stream, *first, std::mem::take(batch))
                .await?;
            *first = *count;
        }
    }
    for (stream, batch) in batches.into_iter().filter(|(_, batch)| !batch.is_empty()) {
        let first = sent.get(stream).copied().unwrap_or_default();
        sender.post(stream, first, batch).await?;
    }
    Ok(counts)
}

struct Sender<'a> {
    client: &'a ApiClient,
    producer: String,
}

impl Sender<'_> {
    /// Sends rows, the first of which has this number.
    async fn post(&self, stream: &str, first: u64, rows: Vec<u8>) -> anyhow::Result<()> {
        let path = format!("/api/v1/ingest/{stream}");
        let mut failure = None;
        for attempt in 0..ATTEMPTS {
            let pause = Duration::from_secs(u64::from(attempt));
            tokio::time::sleep(pause).await;
            let request = self.client.post(&path)?;
            let request = request
                .header("Content-Type", "application/x-ndjson")
                .header("Headframe-Producer", &self.producer)
                .header("Headframe-Seq", first.to_string())
                .body(rows.clone());
            match self.client.send_json(request).await {
                Ok(answer) if answer["rejected"].as_array().is_none_or(Vec::is_empty) => {
                    return Ok(());
                }
                Ok(answer) => bail!(
                    "the server rejects rows of {stream}: {}",
                    answer["rejected"]
                ),
                Err(error) => failure = Some(error),
            }
        }
        let failure = failure.context("no attempt was made")?;
        Err(failure.context(format!("rows of {stream} were not stored")))
    }
}

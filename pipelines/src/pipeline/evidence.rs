//! From facts that somebody must answer for to the chain over them, and every hour a signed root.
//!
//! What is chained so far is what the table `evidence` says; the facts behind it are the rest of
//! their tables. So a kill at any moment leaves a chain that goes on with the very next fact.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use headframe_ingest::ExclusiveAppender;
use headframe_schemas::Stream;
use headframe_schemas::stream::evidence::{EvidenceRow, EvidenceRows};
use tokio_util::sync::CancellationToken;

use crate::clock::now_us;
use crate::evidence::entry::Fact;
use crate::evidence::note::{Checkpoint, verifier};
use crate::evidence::tables::EvidenceTables;
use crate::evidence::tree::{Hash, Tree, hash_of};
use crate::fault::PipelineFault;
use crate::pipeline::derived::{wait_until_recovered, work_until_stopped};
use crate::pipeline::{Context, Pipeline, StreamHandle};
use crate::signature::SigningKey;

/// Between looks at the tables with facts.
const POLL_PAUSE: Duration = Duration::from_secs(2);
/// Sequences of facts that are taken at once.
const STEP: i64 = 10_000;
const HOUR_US: i64 = 3_600_000_000;

/// The chain of evidence.
pub struct Evidence;

impl Pipeline for Evidence {
    fn name(&self) -> &'static str {
        "evidence"
    }
    fn doc(&self) -> &'static str {
        "Chains changes of the registry, commands, also those of sites, instructions, changes of \
        rights, violations and orders, each to the one before, and signs a root over all of them \
        every hour."
    }
    fn takes(&self, stream: &dyn Stream) -> bool {
        stream.name() == "registry"
    }

    fn run(
        &self,
        context: Context,
        _: Arc<StreamHandle>,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<(), PipelineFault>> {
        Box::pin(async move { work_until_stopped(&stop, || work(&context)).await })
    }
}

/// Recovers, then chains what comes until something fails.
async fn work(context: &Context) -> Result<(), PipelineFault> {
    let mut chain = Chain::open(context).await?;
    loop {
        chain.step(now_us()).await?;
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

/// The end of the chain, at which it grows.
pub struct Chain {
    tables: EvidenceTables,
    appender: ExclusiveAppender,
    key: SigningKey,
    log: String,
    tree: Tree,
    previous: Hash,
    /// The last fact of each table that is chained.
    chained: BTreeMap<String, (i64, i64)>,
    /// The newest root: how many facts it is over, and when it was signed.
    signed: Option<(u64, i64)>,
}

impl Chain {
    /// Learns what is chained. The key is made where there is none.
    pub async fn open(context: &Context) -> Result<Self, PipelineFault> {
        let key = SigningKey::open(&context.keys.join("evidence.key"))?;
        let (nats, settings) = (context.nats.clone(), &context.settings);
        let appender = ExclusiveAppender::open(nats, &EvidenceRows, settings).await?;
        let tables = EvidenceTables::open(&context.lake);
        wait_until_recovered(&appender, &tables.evidence).await?;
        let mut chain = Self {
            tables,
            appender,
            // Whoever signs is part of the name, so that no two logs have one.
            log: format!("headframe/evidence/{}", &key.public_hex()[..16]),
            key,
            tree: Tree::default(),
            previous: [0; 32],
            chained: BTreeMap::new(),
            signed: None,
        };
        chain.recover().await?;
        Ok(chain)
    }

    async fn recover(&mut self) -> Result<(), PipelineFault> {
        let evidence = self.tables.evidence.refresh().await?;
        let (mut after, end) = (0, evidence.offset.unwrap_or(0));
        while after < end {
            let through = end.min(after + STEP);
            for link in self.tables.links(&evidence, after, through).await? {
                self.remember(&link)?;
            }
            after = through;
        }
        Ok(())
    }

    fn remember(&mut self, link: &EvidenceRow) -> Result<(), PipelineFault> {
        if link.kind == "checkpoint" {
            self.signed = Some((self.tree.size(), link.event_time));
            return Ok(());
        }
        let fact = (
            &link.fact_stream,
            link.fact_seq,
            link.fact_row,
            hash_of(&link.hash),
        );
        let (Some(stream), Some(seq), Some(row), Some(hash)) = fact else {
            return Err(broken(link.position));
        };
        if u64::try_from(link.position) != Ok(self.tree.size()) {
            return Err(broken(link.position));
        }
        self.tree.push(hash);
        self.previous = hash;
        self.chained.insert(stream.clone(), (seq, row));
        Ok(())
    }

    /// Chains the facts that came since, and signs a root where an hour has passed.
    pub async fn step(&mut self, now_us: i64) -> Result<(), PipelineFault> {
        for index in 0..self.tables.chained.len() {
            while self.chain_some(index, now_us).await? {}
        }
        let is_due = match self.signed {
            None => self.tree.size() > 0,
            Some((size, at)) => {
                size < self.tree.size() && at.div_euclid(HOUR_US) < now_us.div_euclid(HOUR_US)
            }
        };
        if is_due {
            self.sign(now_us).await?;
        }
        Ok(())
    }

    /// Chains some facts of one table; true where there may be more.
    async fn chain_some(&mut self, index: usize, now_us: i64) -> Result<bool, PipelineFault> {
        let (stream, reader) = &self.tables.chained[index];
        let table = reader.refresh().await?;
        let done = self.chained.get(stream.name()).copied().unwrap_or((0, -1));
        let end = table.offset.unwrap_or(0);
        if end <= done.0 {
            return Ok(false);
        }
        // The message of the last one may have been chained in part.
        let through = end.min(done.0 + STEP);
        let facts = self
            .tables
            .facts(*stream, &table, done.0 - 1, through)
            .await?;
        let new = facts.into_iter().filter(|fact| (fact.seq, fact.row) > done);
        let links = self.links(new, now_us);
        let stream = stream.name();
        self.append(links).await?;
        // A range whose rows were all refused has no fact that would tell that it is done.
        let done = self.chained.entry(stream.to_owned()).or_insert((0, -1));
        if done.0 < through {
            *done = (through, i64::MAX);
        }
        Ok(through < end)
    }

    /// The links of these facts, in their order behind the chain's end.
    fn links(&self, facts: impl Iterator<Item = Fact>, now_us: i64) -> Vec<EvidenceRow> {
        let (mut previous, mut position) = (self.previous, self.tree.size() as i64);
        let link = |fact: Fact| {
            let hash = fact.hash(&previous);
            let link = EvidenceRow {
                event_time: now_us,
                log: self.log.clone(),
                kind: "fact".to_owned(),
                position,
                fact_stream: Some(fact.stream),
                fact_seq: Some(fact.seq),
                fact_row: Some(fact.row),
                previous_hash: Some(hex::encode(previous)),
                hash: hex::encode(hash),
                note: None,
                verifier: None,
            };
            previous = hash;
            position += 1;
            link
        };
        facts.map(link).collect()
    }

    async fn append(&mut self, links: Vec<EvidenceRow>) -> Result<(), PipelineFault> {
        let mut rest = links.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.appender.rows_that_fit(rest)?);
            self.appender.append(now).await?;
            for link in now {
                self.remember(link)?;
            }
            rest = later;
        }
        Ok(())
    }

    async fn sign(&mut self, now_us: i64) -> Result<(), PipelineFault> {
        let checkpoint = Checkpoint {
            log: self.log.clone(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        let row = EvidenceRow {
            event_time: now_us,
            log: self.log.clone(),
            kind: "checkpoint".to_owned(),
            position: self.tree.size() as i64,
            hash: hex::encode(checkpoint.root),
            note: Some(checkpoint.signed(&self.key)),
            verifier: Some(verifier(&self.log, &self.key.public_hex())),
            ..EvidenceRow::default()
        };
        self.append(vec![row]).await
    }
}

fn broken(position: i64) -> PipelineFault {
    let why = format!(
        "the row with position {position} does not go on where the one before ends; run `headframe \
         audit evidence` and restore the tables from a copy"
    );
    PipelineFault::plan("recovering the chain", "evidence")(why)
}

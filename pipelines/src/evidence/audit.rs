//! The chain checked from the tables alone: every fact is the one that was chained, none is missing
//! and none was put between, and every signed root is of what stands there. Photos that facts name
//! are read as well.

use std::sync::Arc;

use headframe_schemas::stream::evidence::EvidenceRow;
use headframe_sinks::{Lake, PhotoStore, SinkError, Snapshot};

use crate::evidence::note::{self, Checkpoint};
use crate::evidence::photos::NamedPhotos;
use crate::evidence::tables::{EvidenceTables, FactCursor};
use crate::evidence::tree::{Hash, Tree, hash_of};
use crate::fault::PipelineFault;

/// Sequences of the chain that are read at once.
const STEP: i64 = 20_000;

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvidenceReport {
    /// Facts that are the ones that were chained.
    pub facts: u64,
    /// Facts that are chained and older than anything that their table still has: only their hashes
    /// are left.
    pub expired: u64,
    /// Signed roots that are of what stands before them.
    pub checkpoints: u64,
    /// Facts behind the last one that is chained.
    pub not_chained_yet: u64,
    /// Photos of inspections that are stored with the bytes that were uploaded.
    pub photos: u64,
    /// The public keys that signed, as verifiers.
    pub verifiers: Vec<String>,
    /// The first thing that does not fit; nothing behind it was looked at.
    pub difference: Option<String>,
}

/// What an auditor knows from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct TrustAnchors {
    /// The public key that must have signed, as `name+id+key`.
    pub verifier: Option<String>,
    /// A checkpoint that was kept elsewhere, which the log must still contain.
    pub checkpoint: Option<Checkpoint>,
}

/// Checks everything there is.
///
/// # Errors
/// Where the storage cannot be read; what is wrong with what it holds is told by the report.
pub async fn audit(lake: &Lake, trusted: &TrustAnchors) -> Result<EvidenceReport, PipelineFault> {
    let tables = EvidenceTables::open(lake);
    let evidence = tables.evidence.refresh().await?;
    let mut cursors = Vec::new();
    let mut snapshots = vec![evidence.clone()];
    for (stream, reader) in &tables.chained {
        let table = reader.refresh().await?;
        let oldest = table.oldest_seq();
        snapshots.push(table.clone());
        cursors.push((FactCursor::new(&tables, *stream, table, 0), oldest));
    }
    let mut audit = Audit {
        trusted,
        cursors,
        tree: Tree::default(),
        previous: [0; 32],
        photos: NamedPhotos::default(),
        report: EvidenceReport::default(),
    };
    let (mut after, end) = (0, evidence.offset.unwrap_or(0));
    'links: while after < end {
        let through = end.min(after + STEP);
        for link in tables.links(&evidence, after, through).await? {
            if let Err(difference) = audit.link(&link).await? {
                audit.report.difference = Some(difference);
                break 'links;
            }
        }
        after = through;
    }
    audit.finish().await?;
    let Audit {
        mut report, photos, ..
    } = audit;
    if report.difference.is_none() {
        (report.photos, report.difference) = photos.check(&PhotoStore::new(lake)).await?;
    }
    if report.difference.is_none() {
        report.difference = changed_file(&snapshots).await;
    }
    Ok(report)
}

/// The first file whose bytes are not those that were written. What the facts say holds, so that
/// what was changed is something that no fact is read from.
async fn changed_file(snapshots: &[Arc<Snapshot>]) -> Option<String> {
    for snapshot in snapshots {
        for file in &snapshot.files {
            let why = match file.is_intact(&snapshot.location).await {
                Ok(Some(false)) => "its bytes do not have the checksum of its name".to_owned(),
                Ok(_) => continue,
                Err(error) => error.to_string(),
            };
            let (table, path) = (&snapshot.table.name, &file.add.path);
            return Some(format!(
                "{table}: file {path} is not the one that was written: {why}"
            ));
        }
    }
    None
}

struct Audit<'a> {
    trusted: &'a TrustAnchors,
    /// Each table of facts with the lowest sequence that it still has.
    cursors: Vec<(FactCursor<'a>, i64)>,
    tree: Tree,
    previous: Hash,
    photos: NamedPhotos,
    report: EvidenceReport,
}

/// What does not fit, in words.
type Fit = Result<(), String>;

impl Audit<'_> {
    async fn link(&mut self, link: &EvidenceRow) -> Result<Fit, PipelineFault> {
        match link.kind.as_str() {
            "fact" => self.fact(link).await,
            _ => Ok(self.checkpoint(link)),
        }
    }

    async fn fact(&mut self, link: &EvidenceRow) -> Result<Fit, PipelineFault> {
        let position = self.tree.size();
        let at = format!("position {position}");
        if u64::try_from(link.position) != Ok(position) {
            return Ok(Err(format!(
                "{at}: the chain goes on with position {}",
                link.position
            )));
        }
        if link.previous_hash.as_deref() != Some(hex::encode(self.previous).as_str()) {
            return Ok(Err(format!(
                "{at}: it does not follow the hash of the fact before it"
            )));
        }
        let Some(hash) = hash_of(&link.hash) else {
            return Ok(Err(format!("{at}: its hash is none")));
        };
        let (Some(name), Some(seq), Some(row)) = (&link.fact_stream, link.fact_seq, link.fact_row)
        else {
            return Ok(Err(format!("{at}: it does not say which fact it is")));
        };
        let at = format!("{at}: {name}, seq {seq}, row {row}");
        let cursor = self
            .cursors
            .iter_mut()
            .find(|(cursor, _)| cursor.stream().name() == name);
        let Some((cursor, oldest)) = cursor else {
            return Ok(Err(format!("{at}: no facts of this table are chained")));
        };
        if seq < *oldest && cursor.stream().keeps_all_rows() {
            return Ok(Err(format!(
                "{at}: the table keeps all rows and does not have this fact"
            )));
        }
        if seq < *oldest {
            self.report.expired += 1;
        } else {
            let next = cursor.peek().await?.map(|fact| (fact.seq, fact.row));
            if next != Some((seq, row)) {
                return Ok(Err(match next {
                    Some(next) if next < (seq, row) => format!(
                        "{at}: before it the table has seq {}, row {}, which is not chained",
                        next.0, next.1
                    ),
                    _ => format!("{at}: the table does not have this fact any more"),
                }));
            }
            let found = cursor.take();
            let found_hash = found.as_ref().map(|fact| fact.hash(&self.previous));
            if found_hash != Some(hash) {
                return Ok(Err(format!(
                    "{at}: the fact is not the one that was chained"
                )));
            }
            self.report.facts += 1;
            found.iter().for_each(|fact| self.photos.add(fact));
        }
        self.tree.push(hash);
        self.previous = hash;
        Ok(self.kept_elsewhere())
    }

    /// Compares with the checkpoint that somebody brought, once the log has its size.
    fn kept_elsewhere(&self) -> Fit {
        match &self.trusted.checkpoint {
            Some(kept) if kept.size == self.tree.size() && kept.root != self.tree.root() => {
                Err(format!(
                    "the first {} facts are not those that the checkpoint kept elsewhere is over",
                    kept.size
                ))
            }
            _ => Ok(()),
        }
    }

    fn checkpoint(&mut self, link: &EvidenceRow) -> Fit {
        let at = format!("checkpoint over {} facts", link.position);
        let (Some(signed), Some(verifier)) = (&link.note, &link.verifier) else {
            return Err(format!("{at}: it has no note or no verifier"));
        };
        if self
            .trusted
            .verifier
            .as_ref()
            .is_some_and(|trusted| trusted != verifier)
        {
            return Err(format!(
                "{at}: another key than the trusted one is said to have signed it"
            ));
        }
        let text = note::opened(signed, verifier).map_err(|why| format!("{at}: {why}"))?;
        let stated = note::parse(text).map_err(|why| format!("{at}: {why}"))?;
        let expected = Checkpoint {
            log: link.log.clone(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        let says = hash_of(&link.hash) == Some(expected.root)
            && u64::try_from(link.position) == Ok(expected.size);
        if stated != expected || !says {
            return Err(format!(
                "{at}: it is not over the facts that stand before it"
            ));
        }
        if !self.report.verifiers.contains(verifier) {
            self.report.verifiers.push(verifier.clone());
        }
        self.report.checkpoints += 1;
        Ok(())
    }

    /// Counts what is not chained yet, and whether the log is as long as it was known to be.
    async fn finish(&mut self) -> Result<(), PipelineFault> {
        if self.report.difference.is_some() {
            return Ok(());
        }
        for (cursor, _) in &mut self.cursors {
            while cursor.peek().await?.is_some() {
                let fact = cursor.take();
                fact.iter().for_each(|fact| self.photos.add(fact));
                self.report.not_chained_yet += 1;
            }
        }
        if let Some(kept) = &self.trusted.checkpoint
            && kept.size > self.tree.size()
        {
            self.report.difference = Some(format!(
                "the log has {} facts, and a checkpoint kept elsewhere is over {}",
                self.tree.size(),
                kept.size
            ));
        }
        Ok(())
    }
}

impl EvidenceReport {
    /// Whether a fault is one of what is stored, which is a finding and not a failure.
    pub fn of_fault(fault: PipelineFault) -> Result<Self, PipelineFault> {
        match fault {
            PipelineFault::Storage { table, why, .. } | PipelineFault::Plan { table, why, .. } => {
                Ok(Self {
                    difference: Some(format!("the table {table} cannot be read: {why}")),
                    ..Self::default()
                })
            }
            PipelineFault::Sink(error @ SinkError::Cancelled(_)) => Err(error.into()),
            PipelineFault::Sink(error) => Ok(Self {
                difference: Some(error.to_string()),
                ..Self::default()
            }),
            other => Err(other),
        }
    }
}

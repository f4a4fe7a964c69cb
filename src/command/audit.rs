//! `headframe audit`: a payout or the chain of evidence checked from the tables alone, or a payout
//! from a proof file alone.
//!
//! No server need run and nothing is written but a proof file that was asked for.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use headframe_pipelines::evidence::audit::{self as evidence, EvidenceReport, TrustAnchors};
use headframe_pipelines::evidence::note::{self, Checkpoint};
use headframe_pipelines::payout::audit;
use headframe_pipelines::payout::audit::proof::{self, Proof};
use headframe_sinks::Lake;

use super::Command;
use crate::config::Config;

/// Where the tables are.
#[derive(Debug, clap::Args)]
pub struct Tables {
    /// The folder or `s3://bucket/path` of the tables; that of the configuration when absent.
    #[arg(long)]
    tables: Option<String>,
    /// The configuration, in TOML.
    #[arg(long)]
    config: Option<PathBuf>,
}

impl Tables {
    /// Opens them. A folder that is not there is an error: nothing is made.
    pub fn open(&self) -> anyhow::Result<Lake> {
        let config = Config::load(self.config.as_deref())?;
        let url = self.tables.clone().unwrap_or_else(|| config.lake_url());
        if !url.starts_with("s3://") && !PathBuf::from(url.trim_start_matches("file://")).is_dir() {
            bail!(
                "there are no tables at {url}; name their folder with --tables, or the \
                 configuration with --config"
            );
        }
        Ok(Lake::open(&url, &config.lake.options)?)
    }
}

/// Check payouts and evidence without trusting this program's servers.
#[derive(Debug, clap::Parser)]
#[command(name = "audit")]
pub struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Compute a block's window and every amount again from the tables, and name each difference;
    /// exit code 1 unless everything was checked and agrees.
    Block {
        /// The block's hash, 64 hex digits.
        hash: String,
        /// The pool's public key as you know it, 64 hex digits.
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        tables: Tables,
    },
    /// Write the proof that a miner is in a block's window (with --block), or check one without
    /// tables or network.
    Miner {
        /// The miner's address.
        address: String,
        /// The block whose proof is to be written.
        #[arg(long)]
        block: Option<String>,
        /// The proof file.
        #[arg(long)]
        proof: PathBuf,
        /// The pool's public key as you know it, 64 hex digits.
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        tables: Tables,
    },
    /// Check that every fact is the one that was chained, that none is missing, and that every
    /// signed root is of what stands before it; name the first that does not fit, with exit code 1.
    Evidence {
        /// The public key that must have signed, as name+id+key.
        #[arg(long)]
        key: Option<String>,
        /// A checkpoint kept elsewhere, which the log must still contain.
        #[arg(long)]
        checkpoint: Option<PathBuf>,
        #[command(flatten)]
        tables: Tables,
    },
}

impl Command for Audit {
    async fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Evidence {
                key,
                checkpoint,
                tables,
            } => audit_evidence(&tables.open()?, key, checkpoint).await,
            What::Block { hash, key, tables } => {
                let hash = hash.to_ascii_lowercase();
                let report = audit::block(&tables.open()?, &hash, key.as_deref()).await?;
                println!("block {hash}\n{report}");
                match (report.differences.len(), report.unchecked.len()) {
                    (0, 0) => Ok(()),
                    (0, _) => bail!(
                        "the audit of block {hash} is incomplete: not everything could be checked"
                    ),
                    (count, _) => bail!(
                        "the tables do not agree with each other about block {hash}: {count} \
                         differences"
                    ),
                }
            }
            What::Miner {
                address,
                block: Some(hash),
                proof: file,
                key: _,
                tables,
            } => {
                let proof = proof::make(&tables.open()?, &hash.to_ascii_lowercase(), &address)
                    .await?
                    .map_err(anyhow::Error::msg)?;
                let text = serde_json::to_string_pretty(&proof)? + "\n";
                std::fs::write(&file, text)
                    .with_context(|| format!("cannot write the proof to {}", file.display()))?;
                println!("{}", said(&proof));
                println!("the proof is in {}", file.display());
                Ok(())
            }
            What::Miner {
                address,
                block: None,
                proof: file,
                key,
                ..
            } => {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read the proof {}", file.display()))?;
                let proof: Proof = serde_json::from_str(&text)
                    .with_context(|| format!("{} is no proof", file.display()))?;
                if let Err(why) = proof::check(&proof, &address, key.as_deref()) {
                    bail!("the proof does not hold: {why}");
                }
                println!("{}", said(&proof));
                match key {
                    Some(_) => println!("the proof holds, signed by the trusted key"),
                    None => println!(
                        "the proof holds, signed by key {}; compare it with the one the pool \
                         publishes",
                        proof.public_key
                    ),
                }
                Ok(())
            }
        }
    }
}

async fn audit_evidence(
    tables: &Lake,
    verifier: Option<String>,
    checkpoint: Option<PathBuf>,
) -> anyhow::Result<()> {
    let checkpoint = checkpoint.map(|file| kept_checkpoint(&file, verifier.as_deref()));
    let trusted = TrustAnchors {
        checkpoint: checkpoint.transpose()?,
        verifier,
    };
    let report = match evidence::audit(tables, &trusted).await {
        Ok(report) => report,
        Err(fault) => EvidenceReport::of_fault(fault)?,
    };
    println!(
        "{} facts are those that were chained, under {} signed checkpoints; {} are chained and \
         expired, {} not chained yet",
        report.facts, report.checkpoints, report.expired, report.not_chained_yet
    );
    for verifier in &report.verifiers {
        println!("signed by {verifier}");
    }
    if report.photos > 0 {
        println!(
            "photos of inspections that are as they were uploaded: {}",
            report.photos
        );
    }
    match report.difference {
        Some(difference) => bail!("the evidence does not hold: {difference}"),
        None => Ok(()),
    }
}

/// A checkpoint from a file. Its signature is looked at where the key is known.
fn kept_checkpoint(file: &Path, verifier: Option<&str>) -> anyhow::Result<Checkpoint> {
    let note = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the checkpoint {}", file.display()))?;
    let text = match verifier {
        Some(verifier) => note::opened(&note, verifier),
        None => Ok(note.as_str()),
    };
    text.and_then(note::parse)
        .map_err(|why| anyhow::anyhow!("{} is no checkpoint: {why}", file.display()))
}

fn said(proof: &Proof) -> String {
    let Proof {
        miner,
        amount_atomic,
        reward_atomic,
        block_hash,
        height,
        shares,
        weight,
        total_weight,
        ..
    } = proof;
    format!(
        "{miner} gets {amount_atomic} of {reward_atomic} atomic units of block {block_hash} \
         (height {height}): {shares} shares, weight {weight} of {total_weight}"
    )
}

//! The money of a pool as the product sees it: its streams, its tables, its ledger; chains and
//! wallets are the tests' own.

use std::collections::BTreeMap;

use headframe_ingest::{
    ManagedServer, Nats, Publisher, PublisherConfig, ServerConfig, find_nats_server,
};
use headframe_pipelines::payment::lake_journal::LakeJournal;
use headframe_pipelines::payment::{Journal, Ledger};
use headframe_schemas::stream::blocks::{Block, PayoutTerms};
use headframe_schemas::stream::shares::Share;
use headframe_sinks::Lake;
use serde_json::{Value, json};

use crate::server::{Headframe, free_port};
use crate::wallets::until;

/// The operator's token of these processes: they make payments, and take no order without it.
pub const OPERATOR: &str = "the-operator-of-the-tests";

/// A server for streams, the product beside it, and the facts of a pool.
pub struct Money {
    pub folder: tempfile::TempDir,
    pub nats: ManagedServer,
    pub headframe: Option<Headframe>,
    publisher: Publisher,
    more: String,
}

impl Money {
    /// Streams without any fact, and the product with `more` of a configuration.
    pub async fn start(more: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nats = ManagedServer::start(ServerConfig::new(
            find_nats_server().unwrap(),
            folder.path().join("nats"),
        ))
        .await
        .unwrap();
        let connection = Nats::connect(&nats.client_config()).await.unwrap();
        for stream in headframe_schemas::stream::ALL {
            headframe_ingest::provision_stream(&connection.js, *stream, &Default::default())
                .await
                .unwrap();
        }
        let publisher = Publisher::new(connection, "pay-test", PublisherConfig::default());
        let mut money = Self {
            folder,
            nats,
            headframe: None,
            publisher,
            more,
        };
        money.start_headframe();
        money
    }

    pub fn start_headframe(&mut self) {
        self.headframe = Some(self.start_roles("pipelines,query,payments"));
    }

    /// One more process of the product on the same tables and streams.
    pub fn start_roles(&self, roles: &str) -> Headframe {
        Headframe::start_with_env(
            self.folder.path(),
            self.nats.url(),
            free_port(),
            roles,
            &self.more,
            &[("HEADFRAME_OPERATOR_TOKEN", OPERATOR)],
        )
    }

    /// A process that answers questions on the same tables and streams, and believes to pay for
    /// another pool.
    pub fn start_believing(&self, pool: &str) -> Headframe {
        let more = self
            .more
            .replacen("[payments]\n", &format!("[payments]\npool = {pool:?}\n"), 1);
        Headframe::start_with(
            self.folder.path(),
            self.nats.url(),
            free_port(),
            "query",
            &more,
        )
    }

    /// A file with the operator's token, as the command line takes it.
    pub fn token_file(&self) -> std::path::PathBuf {
        let path = self.folder.path().join("operator.token");
        std::fs::write(&path, OPERATOR).unwrap();
        path
    }

    pub fn running(&self) -> &Headframe {
        self.headframe.as_ref().unwrap()
    }

    /// The facts of a matured block, which the pool found with the shares of these miners, as a
    /// pool publishes them.
    pub async fn publish_found(&self, hash: &str, height: i64, reward: i128, work: &[(&str, i64)]) {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_micros() as i64;
        for (index, (miner, difficulty)) in work.iter().enumerate() {
            let share = Share {
                event_time: now,
                pool: "main".to_owned(),
                miner: (*miner).to_owned(),
                worker: "rig".to_owned(),
                outcome: "accepted".to_owned(),
                difficulty: *difficulty,
                network_difficulty: 1_000,
                height,
                block_hash: (index + 1 == work.len()).then(|| hash.to_owned()),
                solo: None,
            };
            self.publisher.record(&share).await.unwrap();
        }
        for status in ["candidate", "accepted", "confirmed", "matured"] {
            let block = Block {
                event_time: now,
                pool: "main".to_owned(),
                hash: hash.to_owned(),
                height,
                miner: work.last().unwrap().0.to_owned(),
                worker: "rig".to_owned(),
                status: status.to_owned(),
                network_difficulty: 1_000,
                reward_atomic: Some(reward),
                reason: None,
                // The window is the round's own work.
                terms: PayoutTerms {
                    scheme: Some("prop".to_owned()),
                    window_milli: Some(1_000),
                    fee_bp: Some(100),
                    solo: None,
                },
            };
            self.publisher.record(&block).await.unwrap();
        }
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = reqwest::get(format!("{}{path}", self.running().url))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = crate::server::http()
            .post(format!("{}{path}", self.running().url))
            .bearer_auth(OPERATOR)
            .json(&body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// All rows of a statement whose one column `line` is text.
    pub async fn lines(&self, sql: &str) -> Vec<String> {
        let body = json!({"sql": sql, "format": "ndjson"});
        let mut lines = Vec::new();
        // A server that was just started, or is busy, may answer with an error first.
        until(sql, async || {
            let sent = crate::server::http()
                .post(format!("{}/api/v1/sql", self.running().url))
                .json(&body)
                .send()
                .await;
            let Ok(answer) = sent else { return false };
            let well = answer.status().is_success();
            let text = answer.text().await.unwrap_or_default();
            let row = |line: &str| {
                serde_json::from_str::<Value>(line).ok()?["line"]
                    .as_str()
                    .map(str::to_owned)
            };
            let read: Option<Vec<String>> = text.lines().map(row).collect();
            lines = read.clone().unwrap_or_default();
            well && read.is_some()
        })
        .await;
        lines
    }

    /// The view `balances` says what the payer's own ledger say that are made anew from the stored
    /// tables.
    pub async fn view_and_books_agree(&self) {
        let tables = self.folder.path().join("tables");
        let lake = Lake::open(tables.to_str().unwrap(), &Default::default()).unwrap();
        let nats = Nats::connect(&self.nats.client_config()).await.unwrap();
        until("view and ledger agree", async || {
            let view = self.ledger_is_balanced().await;
            let mut ledger = Ledger::default();
            let Ok(mut journal) =
                LakeJournal::open(&lake, nats.clone(), &Default::default(), "main").await
            else {
                return false;
            };
            // Of two moments one may be older; when nothing moves they are the same.
            if journal.catch_up(&mut ledger).await.is_err() {
                return false;
            }
            ledger.check().unwrap();
            let found: BTreeMap<String, i128> = ledger
                .accounts()
                .map(|(account, balance)| (account.to_string(), balance))
                .collect();
            let nonzero = |all: &BTreeMap<String, i128>| -> BTreeMap<String, i128> {
                all.iter()
                    .filter(|(_, balance)| **balance != 0)
                    .map(|(name, balance)| (name.clone(), *balance))
                    .collect()
            };
            nonzero(&found) == nonzero(&view)
        })
        .await;
    }

    /// The ledger adds up, and its view and the streams agree.
    pub async fn ledger_is_balanced(&self) -> BTreeMap<String, i128> {
        let lines = self
            .lines("SELECT account || ' ' || CAST(balance_atomic AS VARCHAR) AS line FROM balances")
            .await;
        let balances: BTreeMap<String, i128> = lines
            .iter()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(name, amount)| (name.to_owned(), amount.parse().unwrap()))
            .collect();
        assert_eq!(balances.values().sum::<i128>(), 0, "{balances:#?}");
        for (account, balance) in &balances {
            assert!(
                *balance >= 0 || account == "coinbase" || account == "reserve",
                "{account} holds {balance}"
            );
        }
        let (status, ready) = self.get("/ready").await;
        assert!(
            status == 200 || ready["checks"]["payments"] == "ok" || ready["payments"] == "ok",
            "{ready}"
        );
        balances
    }
}

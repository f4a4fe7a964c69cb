//! What a worker is told when it starts: one line of JSON on its standard input.
//!
//! Not arguments, which every user of the machine can read. The worker ends when its standard input
//! is closed, so that it never outlives the process that started it.

use std::collections::HashMap;
use std::path::PathBuf;

use headframe_schemas::UserTable;
use serde::{Deserialize, Serialize};

use crate::config::QueryConfig;

/// Everything a worker needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerSettings {
    /// Limits of statements.
    pub query: QueryConfig,
    /// Where the tables are.
    pub lake_url: String,
    /// Options of their object store; no secrets, which come from the environment.
    pub lake_options: HashMap<String, String>,
    /// The tables that pipelines of the configuration fill.
    pub user_tables: Vec<UserTable>,
    /// The socket to listen on.
    pub socket: PathBuf,
    /// The socket that gives rows which no table holds yet.
    pub live_rows: PathBuf,
}

//! SQL workers: child processes that run the statements somebody typed.
//!
//! Planning a statement cannot be interrupted and functions allocate what no pool has counted, so
//! that one SELECT can hold a core for minutes or take all memory. In a process of its own it can
//! be killed: at its deadline, or over its memory. The front keeps one worker more than it uses, so
//! that a killed one is replaced at once.
//!
//! Front and worker speak over a Unix socket that nobody else can open; what they say is in
//! [`wire`].

pub mod client;
mod folder;
mod pool;
mod process;
pub mod settings;
mod statement;
mod usage;
pub mod wire;

pub use folder::SocketFolder;
pub use pool::{SqlWorkers, WorkerProgram, WorkersProbe};
pub use settings::WorkerSettings;

//! The tests of the stratum crate: pure rules against vectors and oracles, the server against
//! captured lines, and the whole against a real monerod.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accept;
mod address;
mod blob;
mod blocks;
mod corpus;
mod defence;
mod dialect;
mod difficulty;
mod drain;
mod durable;
mod durable_queue;
mod epoch;
mod facts;
mod failover;
mod fair_queue;
mod history;
mod kill;
mod late_shares;
mod login;
mod million;
mod nicehash;
mod opensy;
mod plan;
mod protocol;
mod proxy;
mod random;
mod randomx;
mod refused_logins;
mod regtest;
mod reorg;
mod scripted;
mod segments;
mod server;
mod session_places;
mod siege;
mod simulated;
mod tls;
mod transcript;
mod tree;
mod vardiff;
mod xmrig;
mod zmq;

//! What the routes about pools, miners, blocks, payments and anomalies answer.
//!
//! Each answer is a type, from which its JSON is made and its schema for the OpenAPI document. Of
//! rows that a statement selects the type names the columns of the stream or view that they come
//! from; the statement selects these, and the schema says of them what the tables' own description
//! does.

pub mod anomalies;
pub mod blocks;
pub mod described;
pub mod efforts;
pub mod hashrate;
pub mod miner;
pub mod payments;
pub mod payouts;
pub mod pool;
pub mod table_row;

//! Connections before anything is said in the mining protocol: ports, sockets, PROXY headers, TLS,
//! and how a connection ends. Knows nothing of jobs and shares.

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod disconnect;
pub(crate) mod line_writer;
pub mod port;
pub mod proxy;
pub(crate) mod socket;
pub(crate) mod stream;
pub mod successor;
pub mod tls;
pub(crate) mod transport;

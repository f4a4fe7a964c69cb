//! Where a connection came in: its number, its peer and its port.

use std::net::SocketAddr;
use std::sync::Arc;

use super::port::Port;

/// Where a connection came in.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Its number in this process.
    pub(crate) number: u32,
    /// The number of its place in the pool, which never comes again.
    pub(crate) place: u64,
    /// The socket's peer: the miner, or a balancer before it.
    pub(crate) peer: SocketAddr,
    /// The port and its settings.
    pub(crate) port: Arc<Port>,
}

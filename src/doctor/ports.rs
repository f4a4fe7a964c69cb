//! The ports: may the roles listen where they are told to.

use std::net::{SocketAddr, TcpListener};

use async_trait::async_trait;

use super::{Check, CheckContext, Finding};
use crate::config::Role;

pub struct Ports;

#[async_trait]
impl Check for Ports {
    fn name(&self) -> &'static str {
        "ports"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        if !context.is_configured() {
            return Vec::new();
        }
        let config = &context.config;
        let mut wanted = vec![("query.listen", config.query.listen)];
        if context.runs(Role::Stratum) {
            wanted.push(("stratum.listen", config.stratum.listen));
            wanted.extend(
                config
                    .stratum
                    .ports
                    .iter()
                    .map(|port| ("stratum.ports.listen", port.listen)),
            );
        }
        if context.runs(Role::Coopmine) {
            let coopmine = &config.coopmine;
            wanted.push(("coopmine.grpc.listen", coopmine.grpc.listen.0));
            wanted.push(("coopmine.dashboard.listen", coopmine.dashboard.listen.0));
            let miners = coopmine.miners.listen;
            wanted.extend(miners.map(|miners| ("coopmine.miners.listen", miners.0)));
        }
        if config.managed_nats && config.nats_port != 0 {
            wanted.push((
                "nats_port",
                SocketAddr::from(([127, 0, 0, 1], config.nats_port)),
            ));
        }
        wanted
            .into_iter()
            .map(|(key, address)| free(key, address))
            .collect()
    }
}

/// Listens for a moment, which is the only way to know.
fn free(key: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(format!("{key} {address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let todo = format!(
                "stop what listens there (`ss -ltnp` names it; it may be this pool itself), or set \
                 {key} to another port"
            );
            Finding::fail(format!("{key} {address} is in use"), todo)
        }
        Err(error) => Finding::fail(
            format!("{key} {address} cannot be listened on: {error}"),
            format!("set {key} to an address of this machine"),
        ),
    }
}

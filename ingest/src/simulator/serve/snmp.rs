//! Serves a device that speaks SNMP.

use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::ServedDevice;
use crate::simulator::agent;
use crate::simulator::endpoint::malformed;
use crate::simulator::faults::FaultKind;
use crate::source::snmp_message::{self, Head, NO_SUCH_NAME, Pdu, Version, response};

/// Requests that a device works on at the same time; the others wait.
const MOST_REQUESTS: usize = 64;
const MOST_BYTES: usize = 4_096;
const GENERAL_ERROR: i64 = 5;
const NOT_WRITABLE: i64 = 17;

/// Answers until it is dropped.
pub async fn serve(device: ServedDevice, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut requests = JoinSet::new();
    let mut bytes = vec![0; MOST_BYTES];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut bytes), if requests.len() < MOST_REQUESTS => {
                let Ok((length, from)) = received else {
                    continue;
                };
                let Ok((head, pdu)) = snmp_message::received(&bytes[..length]) else {
                    continue;
                };
                let (device, socket) = (device.clone(), socket.clone());
                requests.spawn(async move {
                    if device.answers_at_all().await
                        && let Some(answer) = answer(&device, &head, &pdu)
                    {
                        // Whoever asked may have gone away.
                        socket.send_to(&answer, from).await.ok();
                    }
                });
            }
            Some(_) = requests.join_next(), if !requests.is_empty() => {}
        }
    }
}

/// None where the device has no power.
fn answer(device: &ServedDevice, head: &Head, pdu: &Pdu) -> Option<Vec<u8>> {
    let kind = device.endpoint.kind;
    let command = match pdu {
        Pdu::Set(oid, number) => format!("set {oid} {number}"),
        _ => String::new(),
    };
    let is_command = !command.is_empty();
    let mut site = device.site();
    let fault = site.fault(&device.endpoint.name);
    site.snapshot(&device.endpoint)?;
    if matches!(fault, Some(FaultKind::Error500 | FaultKind::Busy)) {
        return Some(response(head, [GENERAL_ERROR, 0], &[]));
    }
    let is_known = !kind.changes(&command).is_empty();
    if is_command && (fault == Some(FaultKind::Refusing) || !is_known) {
        let error = match head.version {
            Version::V1 => NO_SUCH_NAME,
            Version::V2c => NOT_WRITABLE,
        };
        return Some(response(head, [error, 1], &[]));
    }
    site.obey(&device.endpoint, &command);
    let snapshot = site.snapshot(&device.endpoint)?;
    let objects = kind.answer(&snapshot, "")?;
    let objects = snmp_message::bindings(&objects).ok()?;
    let answer = agent::answer(&objects, head, pdu);
    if !is_command {
        site.note(&device.endpoint.name, &snapshot);
    }
    match fault {
        Some(FaultKind::Malformed) => Some(malformed(&answer)),
        _ => Some(answer),
    }
}

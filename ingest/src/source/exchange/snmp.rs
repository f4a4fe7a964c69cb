//! Asks a device over SNMP v1 or v2c: requests that UDP may lose are sent again, and every walk is
//! bounded and must move on.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::{Failure, unreachable};
use crate::source::snmp_message::{
    self, Answer, Binding, NO_SUCH_NAME, Oid, Pdu, TOO_BIG, Value, Version, error_name,
};

/// Bytes of a datagram over IPv4.
const MOST_BYTES: usize = 65_507;
/// Before a request is sent again.
const RESEND: Duration = Duration::from_millis(800);
/// Objects of one GET; their answer fits into a frame of Ethernet.
const OBJECTS: usize = 16;
/// Objects that one GETBULK asks for.
const REPETITIONS: u32 = 25;

/// A device, and how it is spoken to.
#[derive(Clone, Copy)]
pub struct SnmpLink<'a> {
    /// `host:port`.
    pub host: &'a str,
    /// The version.
    pub version: Version,
    /// The community.
    pub community: &'a str,
}

fn refused(error: i64) -> Failure {
    let name = error_name(error);
    Failure::Refused(format!(
        "the device refuses it: {name} (SNMP error {error})"
    ))
}

// The community is never part of a log line.
impl std::fmt::Debug for SnmpLink<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SnmpLink to {}", self.host)
    }
}

impl SnmpLink<'_> {
    /// One request and its answer, which may be an error.
    pub async fn ask(&self, pdu: &Pdu) -> Result<Answer, Failure> {
        // Unlikely to be that of the request before.
        let id = rand::random::<i32>() & 0x7FFF_FFFF;
        let request = snmp_message::request(self.version, self.community, id, pdu);
        let here = match self.host.starts_with('[') {
            true => "[::]:0",
            false => "0.0.0.0:0",
        };
        let bound = UdpSocket::bind(here).await;
        let socket = bound.map_err(|error| unreachable(&error))?;
        let connected = socket.connect(self.host).await;
        connected.map_err(|error| unreachable(&error))?;
        let mut bytes = vec![0; MOST_BYTES];
        loop {
            // A SET of the same number once more changes nothing.
            let sent = socket.send(&request).await;
            sent.map_err(|error| unreachable(&error))?;
            let resend = Instant::now() + RESEND;
            while let Ok(received) = timeout_at(resend, socket.recv(&mut bytes)).await {
                let length = received.map_err(|error| unreachable(&error))?;
                let answer = snmp_message::answer(&bytes[..length]);
                let answer = answer.map_err(Failure::Malformed)?;
                // One of an earlier request may come late.
                if answer.id == id {
                    return Ok(answer);
                }
            }
        }
    }

    /// These objects; one that the device does not have is `Missing`.
    pub async fn get(&self, oids: &[Oid]) -> Result<Vec<Binding>, Failure> {
        let mut found = Vec::new();
        for oids in oids.chunks(OBJECTS) {
            found.extend(self.get_few(oids.to_vec()).await?);
        }
        Ok(found)
    }

    async fn get_few(&self, mut oids: Vec<Oid>) -> Result<Vec<Binding>, Failure> {
        let mut found = Vec::new();
        while !oids.is_empty() {
            let answer = self.ask(&Pdu::Get(oids.clone())).await?;
            let place = usize::try_from(answer.error_index - 1).unwrap_or(usize::MAX);
            match answer.error {
                0 => {
                    let same = answer.bindings.iter().map(|one| &one.oid).eq(oids.iter());
                    if !same {
                        let text = "the device answers for other objects";
                        return Err(Failure::Malformed(text.to_owned()));
                    }
                    found.extend(answer.bindings);
                    break;
                }
                // v1 answers nothing at all when one of the objects is not there.
                NO_SUCH_NAME if place < oids.len() => found.push(Binding {
                    oid: oids.remove(place),
                    value: Value::Missing,
                }),
                TOO_BIG if oids.len() > 1 => {
                    let rest = oids.split_off(oids.len() / 2);
                    found.extend(Box::pin(self.get_few(rest)).await?);
                }
                error => return Err(refused(error)),
            }
        }
        Ok(found)
    }

    /// The objects below this one, at most so many.
    pub async fn walk(&self, prefix: &Oid, most: usize) -> Result<Vec<Binding>, Failure> {
        let mut found: Vec<Binding> = Vec::new();
        loop {
            let last = found.last().map_or(prefix, |one| &one.oid).clone();
            let pdu = match self.version {
                Version::V1 => Pdu::GetNext(vec![last.clone()]),
                Version::V2c => Pdu::GetBulk(last.clone(), REPETITIONS),
            };
            let answer = self.ask(&pdu).await?;
            match answer.error {
                0 => {}
                NO_SUCH_NAME => return Ok(found),
                error => return Err(refused(error)),
            }
            if answer.bindings.is_empty() {
                return Ok(found);
            }
            for binding in answer.bindings {
                let is_below = binding.oid.after(prefix).is_some();
                if binding.value == Value::EndOfView || !is_below {
                    return Ok(found);
                }
                if binding.oid <= *found.last().map_or(prefix, |one| &one.oid) {
                    let text = "the walk through its objects does not move on";
                    return Err(Failure::Malformed(text.to_owned()));
                }
                if found.len() == most {
                    return Err(Failure::Refused(format!(
                        "there are more than {most} objects below {prefix}; raise most_objects"
                    )));
                }
                found.push(binding);
            }
        }
    }
}

//! Serves a device that publishes, as a broker with nobody else at it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::ServedDevice;
use crate::simulator::endpoint::malformed;
use crate::simulator::faults::FaultKind;
use crate::source::mqtt_packet::{Packet, Publish};

/// Connections of one device.
const MOST_CONNECTIONS: usize = 64;
const MOST_BYTES: usize = 16 * 1024;
/// The broker is not available.
const NOT_AVAILABLE: u8 = 3;

/// Takes connections until it is dropped.
pub async fn serve(device: ServedDevice, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                if let Ok((stream, _)) = accepted {
                    let device = device.clone();
                    connections.spawn(async move {
                        // The client may go away whenever it likes.
                        Subscriber::new(device, stream).run().await.ok();
                    });
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// A fault with which no connection lives on.
fn ends_connections(fault: Option<FaultKind>) -> bool {
    matches!(
        fault,
        Some(
            FaultKind::Dead
                | FaultKind::Slow
                | FaultKind::Sluggish
                | FaultKind::Error500
                | FaultKind::Busy
        )
    )
}

struct Subscriber {
    device: ServedDevice,
    stream: TcpStream,
    bytes: BytesMut,
    topics: Vec<String>,
}

impl Subscriber {
    fn new(device: ServedDevice, stream: TcpStream) -> Self {
        Self {
            device,
            stream,
            bytes: BytesMut::new(),
            topics: Vec::new(),
        }
    }

    async fn run(mut self) -> std::io::Result<()> {
        if !self.device.answers_at_all().await {
            return Ok(());
        }
        let every = self.device.site().publishes_every();
        let mut publishes = interval(every.max(Duration::from_millis(10)));
        publishes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                read = self.stream.read_buf(&mut self.bytes) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    while let Ok(Some(packet)) = Packet::take(&mut self.bytes, MOST_BYTES) {
                        if !self.take(packet).await? {
                            return Ok(());
                        }
                    }
                    if self.bytes.len() > MOST_BYTES {
                        return Ok(());
                    }
                }
                _ = publishes.tick() => {
                    if ends_connections(self.device.fault()) || !self.publish().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn send(&mut self, packet: &Packet) -> std::io::Result<()> {
        self.stream.write_all(&packet.bytes()).await
    }

    /// Takes what the client says; false when that was the last.
    async fn take(&mut self, packet: Packet) -> std::io::Result<bool> {
        match packet {
            Packet::Connect(_) if ends_connections(self.device.fault()) => {
                self.send(&Packet::ConnAck(NOT_AVAILABLE)).await?;
                Ok(false)
            }
            Packet::Connect(_) => self.send(&Packet::ConnAck(0)).await.map(|()| true),
            Packet::Subscribe(id, topics) => {
                let codes = vec![0; topics.len()];
                self.topics = topics;
                self.send(&Packet::SubAck(id, codes)).await.map(|()| true)
            }
            Packet::PingReq => self.send(&Packet::PingResp).await.map(|()| true),
            _ => Ok(false),
        }
    }

    /// Publishes what the device shows now; false when it has no power.
    async fn publish(&mut self) -> std::io::Result<bool> {
        let Some(packets) = self.packets() else {
            return Ok(false);
        };
        for packet in packets {
            self.send(&packet).await?;
        }
        Ok(true)
    }

    fn packets(&self) -> Option<Vec<Packet>> {
        let (endpoint, mut site) = (&self.device.endpoint, self.device.site());
        let fault = site.fault(&endpoint.name);
        let snapshot = site.snapshot(endpoint)?;
        if !self.topics.is_empty() {
            site.note(&endpoint.name, &snapshot);
        }
        let topics = self.topics.iter();
        let packets = topics.filter_map(|topic| {
            let payload = endpoint.kind.answer(&snapshot, topic)?;
            let payload = match fault {
                Some(FaultKind::Malformed) => malformed(&payload),
                _ => payload,
            };
            Some(Packet::Publish(Publish {
                topic: topic.clone(),
                is_retained: false,
                payload: Bytes::from(payload),
            }))
        });
        Some(packets.collect())
    }
}

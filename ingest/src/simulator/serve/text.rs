//! Serves devices that speak HTTP, HTTP without headers, or the API of cgminer.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ServedDevice;
use crate::simulator::device::Wire;
use crate::simulator::endpoint::{command_of, malformed};
use crate::simulator::faults::FaultKind;

/// Connections of one device.
const MOST_CONNECTIONS: usize = 64;
const MOST_REQUEST_BYTES: usize = 16 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes connections until it is dropped.
pub async fn serve(device: ServedDevice, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(answer(device.clone(), stream));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn answer(device: ServedDevice, mut stream: TcpStream) {
    if !device.answers_at_all().await {
        return;
    }
    let wire = device.endpoint.kind.wire();
    let request = tokio::time::timeout(REQUEST_TIMEOUT, read_request(&mut stream, wire)).await;
    let Ok(Some(request)) = request else {
        return;
    };
    let response = respond(&device, wire, &request);
    // The client may have gone away.
    stream.write_all(&response).await.ok();
    stream.shutdown().await.ok();
}

/// The path or the command; none when there is no whole request.
async fn read_request(stream: &mut TcpStream, wire: Wire) -> Option<String> {
    let mut bytes = BytesMut::new();
    while bytes.len() < MOST_REQUEST_BYTES {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if wire == Wire::Cgminer {
            if let Some(command) = command_of(&bytes) {
                return Some(command);
            }
        } else if bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes);
            return text.split(' ').nth(1).map(str::to_owned);
        }
    }
    None
}

fn respond(device: &ServedDevice, wire: Wire, request: &str) -> Vec<u8> {
    let mut site = device.site();
    let fault = site.fault(&device.endpoint.name);
    let snapshot = site.snapshot(&device.endpoint);
    let kind = device.endpoint.kind;
    let answer = snapshot
        .as_ref()
        .and_then(|snapshot| kind.answer(snapshot, request));
    // Of the requests of one poll the first is the one that counts.
    if let (Some(snapshot), true) = (&snapshot, answer.is_some() && request != "stats") {
        site.note(&device.endpoint.name, snapshot);
    }
    let (status, body) = match (fault, answer) {
        (Some(FaultKind::Error500), _) => ("500 Internal Server Error", Vec::new()),
        (Some(FaultKind::Malformed), Some(body)) => ("200 OK", malformed(&body)),
        (_, Some(body)) => ("200 OK", body),
        (_, None) => ("404 Not Found", Vec::new()),
    };
    match wire {
        Wire::Cgminer if status != "200 OK" => {
            b"{\"STATUS\":[{\"STATUS\":\"E\",\"Code\":14,\"Msg\":\"invalid cmd\"}]}\0".to_vec()
        }
        Wire::PlainHttp if status == "200 OK" => body,
        Wire::Cgminer => body,
        _ => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: \
                 {length}\r\nConnection: close\r\n\r\n"
            );
            [head.into_bytes(), body].concat()
        }
    }
}

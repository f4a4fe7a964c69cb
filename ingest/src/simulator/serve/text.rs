//! Serves devices that speak HTTP, HTTP without headers, or the API of cgminer.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ServedDevice;
use super::login::{CHALLENGE, is_digest, proves};
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
    // Without power there is nobody who answers.
    let Some(response) = respond(&device, wire, &request) else {
        return;
    };
    // The client may have gone away.
    stream.write_all(&response).await.ok();
    stream.shutdown().await.ok();
}

/// What was asked.
struct Received {
    /// The path or the command; the body or the parameter in a second line.
    text: String,
    /// GET and so on.
    method: String,
    /// Whether it came over HTTP; a machine with the API of cgminer has pages as well.
    is_http: bool,
    /// The header `Authorization`.
    login: Option<String>,
}

/// None when there is no whole request.
async fn read_request(stream: &mut TcpStream, wire: Wire) -> Option<Received> {
    let mut bytes = BytesMut::new();
    while bytes.len() < MOST_REQUEST_BYTES {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if wire == Wire::Cgminer && bytes.starts_with(b"{") {
            if let Some(text) = command_of(&bytes) {
                return Some(Received {
                    text,
                    method: String::new(),
                    is_http: false,
                    login: None,
                });
            }
        } else if let Some(received) = http_request(&bytes) {
            return Some(received);
        }
    }
    None
}

/// None until all of it is there.
fn http_request(bytes: &[u8]) -> Option<Received> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim().to_owned())
    };
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| body.len() < length) {
        return None;
    }
    let path = head.split(' ').nth(1)?;
    let text = match body.is_empty() {
        true => path.to_owned(),
        false => format!("{path}\n{body}"),
    };
    Some(Received {
        text,
        method: head.split(' ').next().unwrap_or_default().to_owned(),
        is_http: true,
        login: header("authorization"),
    })
}

fn respond(device: &ServedDevice, wire: Wire, received: &Received) -> Option<Vec<u8>> {
    let mut site = device.site();
    let (kind, name) = (device.endpoint.kind, &device.endpoint.name);
    let fault = site.fault(name);
    let request = received.text.as_str();
    let is_page = wire == Wire::Cgminer && received.is_http;
    if is_page && !is_digest(received.login.as_deref()) {
        return Some(http("401 Unauthorized", CHALLENGE, b""));
    }
    let login = received.login.as_deref();
    if let Some(password) = site.password(&device.endpoint)
        && !proves(login, password, &received.method, request)
    {
        return Some(http("401 Unauthorized", CHALLENGE, b""));
    }
    let is_command = !kind.changes(request).is_empty();
    site.snapshot(&device.endpoint)?;
    site.obey(&device.endpoint, request);
    let snapshot = site.snapshot(&device.endpoint);
    let answer = snapshot
        .as_ref()
        .and_then(|snapshot| kind.answer(snapshot, request));
    if let (Some(mut said), Some(_), false) = (snapshot, &answer, is_command) {
        said.shown.retain(|value| kind.says(request, value));
        if !said.shown.is_empty() {
            site.note(name, &said);
        }
    }
    let (status, body) = match (fault, answer) {
        (Some(FaultKind::Error500), _) => ("500 Internal Server Error", Vec::new()),
        (Some(FaultKind::Busy), _) => (BUSY, Vec::new()),
        (Some(FaultKind::Refusing), _) if is_command => ("403 Forbidden", Vec::new()),
        (Some(FaultKind::Malformed), Some(body)) => ("200 OK", malformed(&body)),
        (_, Some(body)) => ("200 OK", body),
        (_, None) => ("404 Not Found", Vec::new()),
    };
    Some(match wire {
        Wire::Cgminer if !received.is_http && status != "200 OK" => {
            b"{\"STATUS\":[{\"STATUS\":\"E\",\"Code\":14,\"Msg\":\"invalid cmd\"}]}\0".to_vec()
        }
        Wire::PlainHttp if status == "200 OK" => body,
        Wire::Cgminer if !received.is_http => body,
        _ if status == BUSY => http(status, "Retry-After: 1\r\n", &body),
        _ => http(status, "", &body),
    })
}

/// The status of a service that wants to be left alone.
const BUSY: &str = "429 Too Many Requests";

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: \
         {length}\r\n{headers}Connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

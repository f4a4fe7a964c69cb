//! Serves a device that speaks Modbus TCP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use super::ServedDevice;
use crate::simulator::faults::FaultKind;

struct Registers(ServedDevice);

impl Service for Registers {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Response, ExceptionCode>> + Send>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let device = self.0.clone();
        Box::pin(async move {
            if !device.answers_at_all().await {
                return Err(ExceptionCode::GatewayTargetDevice);
            }
            answer(&device, &request.request)
        })
    }
}

fn answer(device: &ServedDevice, request: &Request<'_>) -> Result<Response, ExceptionCode> {
    if let Some(response) = coils(device, request) {
        return response;
    }
    let (address, count) = match request {
        Request::ReadHoldingRegisters(address, count)
        | Request::ReadInputRegisters(address, count) => (*address, *count),
        _ => return Err(ExceptionCode::IllegalFunction),
    };
    let mut site = device.site();
    let name = &device.endpoint.name;
    match site.fault(name) {
        Some(FaultKind::Error500) => return Err(ExceptionCode::ServerDeviceFailure),
        Some(FaultKind::Busy) => return Err(ExceptionCode::ServerDeviceBusy),
        // One register, however many were asked for.
        Some(FaultKind::Malformed) => return Ok(Response::ReadHoldingRegisters(vec![0xFFFE])),
        _ => {}
    }
    let snapshot = site.snapshot(&device.endpoint);
    let snapshot = snapshot.ok_or(ExceptionCode::ServerDeviceFailure)?;
    let bytes = device.endpoint.kind.answer(&snapshot, "");
    let bytes = bytes.ok_or(ExceptionCode::ServerDeviceFailure)?;
    let from = 2 * usize::from(address);
    let bytes = bytes
        .get(from..from + 2 * usize::from(count))
        .ok_or(ExceptionCode::IllegalDataAddress)?;
    site.note(name, &snapshot);
    let pair = |pair: &[u8]| u16::from_be_bytes([pair[0], pair[1]]);
    let words = bytes.chunks_exact(2).map(pair).collect();
    Ok(match request {
        Request::ReadInputRegisters(..) => Response::ReadInputRegisters(words),
        _ => Response::ReadHoldingRegisters(words),
    })
}

/// Reads or writes relays as coils, if it was asked for that.
fn coils(device: &ServedDevice, request: &Request<'_>) -> Option<Result<Response, ExceptionCode>> {
    let command = match request {
        Request::ReadCoils(..) => String::new(),
        Request::WriteSingleCoil(address, is_on) => format!("coil {address} {is_on}"),
        _ => return None,
    };
    let mut site = device.site();
    let fault = site.fault(&device.endpoint.name);
    match fault {
        Some(FaultKind::Error500) => return Some(Err(ExceptionCode::ServerDeviceFailure)),
        Some(FaultKind::Busy) => return Some(Err(ExceptionCode::ServerDeviceBusy)),
        Some(FaultKind::Refusing) if !command.is_empty() => {
            return Some(Err(ExceptionCode::IllegalFunction));
        }
        _ => {}
    }
    site.obey(&device.endpoint, &command);
    let relays = site
        .snapshot(&device.endpoint)
        .map_or_else(Vec::new, |snapshot| snapshot.relays);
    let range = |address: u16, count: u16| {
        let from = usize::from(address);
        relays.get(from..from + usize::from(count))
    };
    let missing = Err(ExceptionCode::IllegalDataAddress);
    Some(match request {
        Request::ReadCoils(address, count) => match range(*address, *count) {
            Some(found) => Ok(Response::ReadCoils(found.to_vec())),
            None => missing,
        },
        Request::WriteSingleCoil(address, is_on) => match range(*address, 1) {
            Some(_) => Ok(Response::WriteSingleCoil(*address, *is_on)),
            None => missing,
        },
        _ => return None,
    })
}

/// Takes connections until it is dropped.
pub async fn serve(device: ServedDevice, listener: TcpListener) {
    let server = Server::new(listener);
    let connected = |stream: TcpStream, _: SocketAddr| {
        let device = device.clone();
        async move {
            let is_dead = device.fault() == Some(FaultKind::Dead);
            Ok::<_, io::Error>((!is_dead).then_some((Registers(device), stream)))
        }
    };
    // A client that breaks off is not worth a line.
    let ended = server.serve(&connected, |_| {}).await;
    if let Err(error) = ended {
        tracing::warn!(%error, "a simulated Modbus device ended");
    }
}

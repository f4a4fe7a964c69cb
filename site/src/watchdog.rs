//! Tells systemd that the controller works, so that it is started again when it does not.
//!
//! The protocol is a datagram to the socket that `NOTIFY_SOCKET` names (sd_notify(3)): `READY=1`
//! once, `WATCHDOG=1` within the time of `WatchdogSec`. Without the variable nothing is sent. It is
//! written here because it is twenty lines, and a crate for it would be the larger part.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Who is told.
#[derive(Debug)]
pub struct Watchdog {
    socket: Option<UnixDatagram>,
}

impl Watchdog {
    /// The one that the environment names, if any.
    pub fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|address| {
            let connected = connect(address.as_bytes());
            if let Err(error) = &connected {
                tracing::warn!(%error, "systemd's NOTIFY_SOCKET cannot be used");
            }
            connected.ok()
        });
        Self { socket }
    }

    /// The controller has begun.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// A step was done.
    pub fn alive(&self, status: &str) {
        let status: String = status.chars().filter(|c| !c.is_control()).collect();
        self.send(&format!("WATCHDOG=1\nSTATUS={status}"));
    }

    /// The controller ends because it was told so.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // A full or closed socket is systemd's to notice: the watchdog's time runs out.
            let _sent = socket.send(text.as_bytes());
        }
    }
}

fn connect(address: &[u8]) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match address.strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(Path::new(std::ffi::OsStr::from_bytes(address)))?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn systemd_hears_of_each_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let watchdog = Watchdog {
            socket: Some(connect(path.as_os_str().as_bytes()).unwrap()),
        };
        watchdog.ready();
        watchdog.alive("running at 940 kW\nREADY=0");
        let mut text = [0; 256];
        let mut next = || {
            let length = systemd.recv(&mut text).unwrap();
            String::from_utf8(text[..length].to_vec()).unwrap()
        };
        assert_eq!(next(), "READY=1");
        assert_eq!(next(), "WATCHDOG=1\nSTATUS=running at 940 kWREADY=0");
    }
}

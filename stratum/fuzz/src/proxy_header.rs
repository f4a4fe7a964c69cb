//! The PROXY header: read as it comes, it never takes a byte of the miner's, and what was
//! understood can be said again.

use headframe_stratum::net::proxy::{
    MAX_REST, ProxyError, ProxySource, SIGNATURE, bytes_missing, parse,
};
use std::net::{IpAddr, SocketAddr};

/// The bytes are what a balancer sends.
pub fn run(bytes: &[u8]) {
    let _ = parse(bytes);
    let mut read = 0;
    loop {
        let Ok(more) = bytes_missing(&bytes[..read]) else {
            return;
        };
        if more == 0 {
            break;
        }
        assert!(
            read + more <= 16 + MAX_REST,
            "{} bytes are too many to wait for",
            read + more
        );
        // One byte now, then all that is wanted: both are ways a socket may give them.
        let given = if read == 0 { 1 } else { more };
        if read + given > bytes.len() {
            assert!(
                parse(&bytes[..read]).is_err(),
                "half a header was taken for a whole one"
            );
            return;
        }
        read += given;
    }
    match parse(&bytes[..read]) {
        Ok(ProxySource::Miner(address)) => {
            assert_eq!(parse(&header(address)), Ok(ProxySource::Miner(address)))
        }
        Ok(ProxySource::Socket) => {}
        Err(error) => {
            let late = matches!(
                error,
                ProxyError::Command(_) | ProxyError::Transport(_) | ProxyError::Short
            );
            assert!(
                late,
                "{error} should have been said before all of it was read"
            );
        }
    }
}

/// The shortest header that says so.
fn header(address: SocketAddr) -> Vec<u8> {
    let (family, octets) = match address.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let ports = [address.port().to_be_bytes(), [0, 0]].concat();
    let rest = [octets.clone(), octets, ports].concat();
    [&SIGNATURE[..], &[0x21, family, 0, rest.len() as u8], &rest].concat()
}

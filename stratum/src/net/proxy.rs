//! PROXY protocol version 2: who a connection really comes from, as a balancer in front of the pool
//! says it.
//!
//! Pure: bytes in, an address out. The header is believed only from addresses the operator lists,
//! because whoever may send it may claim to be anybody; the text form (version 1) is refused, since
//! a line of it looks like a miner's. The format is section 2.2 of HAProxy's `proxy-protocol.txt`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;

use crate::config_error::ConfigError;
use crate::defence::addresses::{Cidr, CidrError};

/// What every header begins with. No miner's line and no TLS handshake does.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length of the rest.
const FIXED_LEN: usize = 16;
/// Bytes after the fixed part that are read at most: the longest address takes 216, the rest are
/// extensions nobody needs here. The specification advises senders to stay within one segment of
/// 536 bytes.
pub const MAX_REST: usize = 2048;

/// Who the connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxySource {
    /// The balancer itself, e.g. its health check, or a family of addresses that says nothing: the
    /// socket's own peer counts.
    Socket,
    /// The miner behind it.
    Miner(SocketAddr),
}

/// Why a header is not believed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ProxyError {
    /// Something else came from a listed balancer.
    #[error(
        "a PROXY protocol header was expected from this balancer; switch it on there \
         (send-proxy-v2) or remove the address from stratum.trusted_proxies"
    )]
    Missing,
    /// Version 1.
    #[error(
        "PROXY protocol version 1 (text) is not supported; let the balancer send version 2 \
         (send-proxy-v2)"
    )]
    Text,
    /// Neither 1 nor 2.
    #[error("PROXY protocol version {0} is not supported; let the balancer send version 2")]
    Version(u8),
    /// Neither LOCAL nor PROXY.
    #[error("PROXY protocol command {0} is not known")]
    Command(u8),
    /// Neither TCP over IPv4 or IPv6, nor unspecified, nor a local socket.
    #[error("PROXY protocol family and transport {0:#04x} is not a TCP connection")]
    Transport(u8),
    /// More than a header needs.
    #[error("PROXY protocol header of {0} bytes; at most {max} are read",
        max = FIXED_LEN + MAX_REST)]
    TooLong(usize),
    /// Less than its family needs.
    #[error("PROXY protocol header ends within its addresses")]
    Short,
}

/// How many more bytes the header needs, given those that came so far; 0 when it is whole. Never
/// asks for a byte that belongs to what follows the header, and refuses at the first byte that
/// cannot be part of one.
pub fn bytes_missing(so_far: &[u8]) -> Result<usize, ProxyError> {
    let compared = so_far.len().min(SIGNATURE.len());
    if so_far[..compared] != SIGNATURE[..compared] {
        let text = b"PROXY ";
        let compared = so_far.len().min(text.len());
        return Err(if so_far[..compared] == text[..compared] {
            ProxyError::Text
        } else {
            ProxyError::Missing
        });
    }
    let Some(fixed) = so_far.first_chunk::<FIXED_LEN>() else {
        return Ok(FIXED_LEN - so_far.len());
    };
    if fixed[12] >> 4 != 2 {
        return Err(ProxyError::Version(fixed[12] >> 4));
    }
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if rest > MAX_REST {
        return Err(ProxyError::TooLong(FIXED_LEN + rest));
    }
    Ok((FIXED_LEN + rest).saturating_sub(so_far.len()))
}

/// Reads a whole header, as [`bytes_missing`] bounds it. Extensions (TLVs) after the addresses are
/// skipped.
pub fn parse(header: &[u8]) -> Result<ProxySource, ProxyError> {
    if bytes_missing(header)? > 0 {
        return Err(ProxyError::Short);
    }
    let (command, family, rest) = (header[12] & 0x0f, header[13], &header[FIXED_LEN..]);
    match command {
        0 => return Ok(ProxySource::Socket),
        1 => {}
        other => return Err(ProxyError::Command(other)),
    }
    // The high half is the family (unspecified, IPv4, IPv6, local), the low half the transport
    // (unspecified, TCP, UDP).
    match family {
        0x11 => {
            let (address, port) = source::<4>(rest, 8)?;
            Ok(ProxySource::Miner(SocketAddr::new(
                Ipv4Addr::from(address).into(),
                port,
            )))
        }
        0x21 => {
            let (address, port) = source::<16>(rest, 32)?;
            Ok(ProxySource::Miner(SocketAddr::new(
                Ipv6Addr::from(address).to_canonical(),
                port,
            )))
        }
        0x00 | 0x31 => Ok(ProxySource::Socket),
        other => Err(ProxyError::Transport(other)),
    }
}

/// The source address, and the source port, which stands after both addresses.
fn source<const LEN: usize>(rest: &[u8], port_at: usize) -> Result<([u8; LEN], u16), ProxyError> {
    let (Some(address), Some(ports)) = (rest.first_chunk::<LEN>(), rest.get(port_at..port_at + 4))
    else {
        return Err(ProxyError::Short);
    };
    Ok((*address, u16::from_be_bytes([ports[0], ports[1]])))
}

/// The balancers whose word is taken.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<Cidr>);

impl TrustedProxies {
    /// Reads addresses and networks, e.g. `10.0.0.7` or `10.0.0.0/8`.
    pub fn parse(list: &[String]) -> Result<Self, ConfigError> {
        let one = |text: &String| {
            let refuse = |error: CidrError| ConfigError {
                key: "trusted_proxies",
                value: text.clone(),
                reason: error.to_string(),
            };
            text.parse::<Cidr>().map_err(refuse)
        };
        list.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this address is one of them; an IPv4 address may come dressed as IPv6.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(ip))
    }
}

//! Where a request comes from, as far as limits are concerned.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::Extensions;
use axum::http::request::Parts;

/// The address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub IpAddr);

/// The address at the other end of the connection of a request, as this crate's server or axum's
/// noted it; `None` where it came over no connection.
pub fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
    let ours = extensions.get::<PeerAddress>().map(|peer| peer.0);
    let axums = || extensions.get::<ConnectInfo<SocketAddr>>();
    ours.or_else(|| axums().map(|info| info.0.ip()))
}

/// Marks a request that came over TLS of this server.
#[derive(Debug, Clone, Copy)]
pub struct OverTls;

/// The address that limits count by: the peer's, or what a proxy of this machine says about its
/// own peer. Nobody else's word is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitedAddress(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for LimitedAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::from_request(parts))
    }
}

impl LimitedAddress {
    /// The address of a request.
    pub fn from_request(parts: &Parts) -> Self {
        let peer = peer_of(&parts.extensions).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let forwarded = parts
            .headers
            .get_all("x-forwarded-for")
            .iter()
            .next_back()
            .and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        let address = match forwarded {
            Some(client) if peer.is_loopback() => client,
            _ => peer,
        };
        Self(network_of(address))
    }
}

/// The network that one customer of a provider has: an IPv4 address, or the /64 of an IPv6 address.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::Request;

    use super::*;

    async fn limited(peer: &str, forwarded: &[&str]) -> String {
        let mut request = Request::get("/").extension(PeerAddress(peer.parse().unwrap()));
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let Ok(address) = LimitedAddress::from_request_parts(&mut parts, &()).await;
        address.0.to_string()
    }

    #[tokio::test]
    async fn only_a_proxy_of_this_machine_names_another_address() {
        assert_eq!(
            limited("203.0.113.5", &["198.51.100.1"]).await,
            "203.0.113.5"
        );
        assert_eq!(
            limited("127.0.0.1", &["198.51.100.1"]).await,
            "198.51.100.1"
        );
        let added = ["10.1.1.1, 10.2.2.2", "10.3.3.3, 198.51.100.1"];
        assert_eq!(limited("::1", &added).await, "198.51.100.1");
        assert_eq!(limited("127.0.0.1", &["nonsense"]).await, "127.0.0.1");
        assert_eq!(limited("2001:db8:1:2:3::4", &[]).await, "2001:db8:1:2::");
        assert_eq!(limited("::ffff:203.0.113.5", &[]).await, "203.0.113.5");
    }
}

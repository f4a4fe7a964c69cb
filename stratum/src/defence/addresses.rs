//! Network addresses as the defence sees them: the unit that is limited or banned, its
//! neighbourhood, and blocks in CIDR form.
//!
//! An IPv6 customer owns at least a /64, so limits by single IPv6 addresses would limit nobody.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use thiserror::Error;

/// A block of addresses: a base and how many leading bits count. Written `10.0.0.0/8`; a bare
/// address is a block of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

/// A text that is no block of addresses.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error(
    "{0:?} is neither an address nor a block of addresses; write it as 203.0.113.7, 10.0.0.0/8 or \
     2001:db8::/32"
)]
pub struct CidrError(pub String);

/// Who is banned or given a budget as one: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientAddress(IpAddr);

impl Cidr {
    /// The block of so many leading bits around an address. Bits beyond the address's length are
    /// its length.
    pub fn around(address: IpAddr, bits: u8) -> Self {
        let address = address.to_canonical();
        let whole = IpNet::from(address);
        let bits = bits.min(whole.max_prefix_len());
        Self(IpNet::new(address, bits).unwrap_or(whole).trunc())
    }

    /// The neighbourhood whose connections are counted together: /24, or /64 of IPv6.
    pub fn neighbourhood(address: IpAddr) -> Self {
        let bits = if address.to_canonical().is_ipv4() {
            24
        } else {
            64
        };
        Self::around(address, bits)
    }

    /// The site of an IPv6 address, which is what a provider gives one customer at most: a /48.
    /// `None` for IPv4.
    pub fn site(address: IpAddr) -> Option<Self> {
        address
            .to_canonical()
            .is_ipv6()
            .then(|| Self::around(address, 48))
    }

    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl ClientAddress {
    /// The origin of an address.
    pub fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Self(v4),
            v6 @ IpAddr::V6(_) => Self(Cidr::around(v6, 64).0.addr()),
        }
    }

    /// The address itself, or the first of the /64.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(out, "{v4}"),
            IpAddr::V6(v6) => write!(out, "{v6}/64"),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let refuse = || CidrError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| refuse())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        // ::ffff:10.0.0.0/104 would mean another block once the address is read as IPv4.
        if bits > most || address.to_canonical() != address {
            return Err(refuse());
        }
        Ok(Self::around(address, bits))
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(block: Cidr) -> Self {
        block.to_string()
    }
}

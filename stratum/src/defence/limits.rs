//! How many connections an address, its neighbourhood and its IPv6 site may hold, and how often
//! they may come. Whoever owns a /48 has 65,536 neighbourhoods, so these are counted together, too.
//!
//! Pure: told of every arrival, login and end, it knows what is open without asking a socket. What
//! it holds is bounded by the connections that are open, plus a bounded memory of who came lately.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use super::addresses::Cidr;
use super::refusal::Refusal;
use crate::lru_map::LruMap;
use crate::token_bucket::{Bucket, Rate};

/// Addresses and neighbourhoods whose pace is remembered after they left.
const REMEMBERED: usize = 65_536;

/// The limits. A neighbourhood is a /24, or a /64 of IPv6; a site is a /48 of IPv6.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionLimits {
    /// Connections at once from an address.
    pub connections_per_address: u32,
    /// Connections at once from a neighbourhood.
    pub connections_per_network: u32,
    /// Connections at once from an address that have not logged in yet.
    pub pre_login_per_address: u32,
    /// Connections at once from a neighbourhood that have not logged in yet.
    pub pre_login_per_network: u32,
    /// Connections a minute from an address, each of which is one login; as many as may be open may
    /// come at once.
    pub logins_per_minute_address: u32,
    /// Connections a minute from a neighbourhood.
    pub logins_per_minute_network: u32,
    /// Connections at once from an IPv6 site.
    pub connections_per_site: u32,
    /// Connections at once from an IPv6 site that have not logged in yet.
    pub pre_login_per_site: u32,
    /// Connections a minute from an IPv6 site.
    pub logins_per_minute_site: u32,
    /// Hundredths of `max_sessions` that sessions without a good share may hold when the pool is
    /// nearly full; then the oldest of them gives way to a newcomer.
    pub unproven_percent: u32,
    /// Seconds that a session without a good share keeps its place in any case.
    pub unproven_grace_s: u64,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_per_address: 512,
            connections_per_network: 2048,
            pre_login_per_address: 64,
            pre_login_per_network: 256,
            logins_per_minute_address: 300,
            logins_per_minute_network: 1200,
            connections_per_site: 4096,
            pre_login_per_site: 512,
            logins_per_minute_site: 2400,
            unproven_percent: 50,
            unproven_grace_s: 120,
        }
    }
}

/// What one address or neighbourhood has open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Open {
    connections: u32,
    pre_login: u32,
}

/// Everything that is open, and the pace at which it came.
#[derive(Debug)]
pub struct Limits {
    settings: ConnectionLimits,
    addresses: HashMap<IpAddr, Open>,
    networks: HashMap<Cidr, Open>,
    sites: HashMap<Cidr, Open>,
    address_pace: LruMap<IpAddr, Bucket>,
    network_pace: LruMap<Cidr, Bucket>,
    site_pace: LruMap<Cidr, Bucket>,
}

impl Limits {
    /// Nothing open.
    pub fn new(settings: ConnectionLimits) -> Self {
        Self {
            settings,
            addresses: HashMap::new(),
            networks: HashMap::new(),
            sites: HashMap::new(),
            address_pace: LruMap::new(REMEMBERED),
            network_pace: LruMap::new(REMEMBERED),
            site_pace: LruMap::new(REMEMBERED),
        }
    }

    /// A connection arrives. When it is let in, its [`Limits::leave`] must follow.
    pub fn arrive(&mut self, address: IpAddr, now_ms: u64) -> Result<(), Refusal> {
        let address = address.to_canonical();
        let (network, site) = (Cidr::neighbourhood(address), Cidr::site(address));
        self.check_counts(address, network, site)?;
        self.take_pace(address, network, site, now_ms)?;
        let site = site.map(|site| self.sites.entry(site).or_default());
        let here = [
            self.addresses.entry(address).or_default(),
            self.networks.entry(network).or_default(),
        ];
        for open in here.into_iter().chain(site) {
            open.connections += 1;
            open.pre_login += 1;
        }
        Ok(())
    }

    /// Refuses when as many are open as may be.
    fn check_counts(
        &self,
        address: IpAddr,
        network: Cidr,
        site: Option<Cidr>,
    ) -> Result<(), Refusal> {
        let (here, around) = (
            counts_of(&self.addresses, &address),
            counts_of(&self.networks, &network),
        );
        let wide = site.map_or(Open::default(), |site| counts_of(&self.sites, &site));
        let most = &self.settings;
        let counts = [
            (
                here.connections,
                most.connections_per_address,
                Refusal::ConnectionsOfAddress,
            ),
            (
                around.connections,
                most.connections_per_network,
                Refusal::ConnectionsOfNetwork,
            ),
            (
                wide.connections,
                most.connections_per_site,
                Refusal::ConnectionsOfSite,
            ),
            (
                here.pre_login,
                most.pre_login_per_address,
                Refusal::PreLoginOfAddress,
            ),
            (
                around.pre_login,
                most.pre_login_per_network,
                Refusal::PreLoginOfNetwork,
            ),
            (
                wide.pre_login,
                most.pre_login_per_site,
                Refusal::PreLoginOfSite,
            ),
        ];
        match counts.into_iter().find(|(open, most, _)| open >= most) {
            Some((_, _, refusal)) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Refuses when they come too often. The wider ones pay only for what the narrower are allowed,
    /// so that one address cannot use up the others' share.
    fn take_pace(
        &mut self,
        address: IpAddr,
        network: Cidr,
        site: Option<Cidr>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let most = &self.settings;
        let rate = pace(most.logins_per_minute_address, most.connections_per_address);
        let bucket = self
            .address_pace
            .entry(&address, || Bucket::full(rate, now_ms));
        if !bucket.take(rate, 1.0, now_ms) {
            return Err(Refusal::PaceOfAddress);
        }
        let rate = pace(most.logins_per_minute_network, most.connections_per_network);
        let bucket = self
            .network_pace
            .entry(&network, || Bucket::full(rate, now_ms));
        if !bucket.take(rate, 1.0, now_ms) {
            return Err(Refusal::PaceOfNetwork);
        }
        let Some(site) = site else {
            return Ok(());
        };
        let rate = pace(most.logins_per_minute_site, most.connections_per_site);
        let bucket = self.site_pace.entry(&site, || Bucket::full(rate, now_ms));
        if !bucket.take(rate, 1.0, now_ms) {
            return Err(Refusal::PaceOfSite);
        }
        Ok(())
    }

    /// A connection that was let in has logged in.
    pub fn logged_in(&mut self, address: IpAddr) {
        let address = address.to_canonical();
        for open in [
            self.addresses.get_mut(&address),
            self.networks.get_mut(&Cidr::neighbourhood(address)),
            Cidr::site(address).and_then(|site| self.sites.get_mut(&site)),
        ]
        .into_iter()
        .flatten()
        {
            open.pre_login = open.pre_login.saturating_sub(1);
        }
    }

    /// A connection that was let in has ended.
    pub fn leave(&mut self, address: IpAddr, logged_in: bool) {
        let address = address.to_canonical();
        close(&mut self.addresses, address, logged_in);
        close(&mut self.networks, Cidr::neighbourhood(address), logged_in);
        if let Some(site) = Cidr::site(address) {
            close(&mut self.sites, site, logged_in);
        }
    }

    /// A connection of this address ended so that coming back at once should cost: as if it had
    /// come so many more times.
    pub fn penalise(&mut self, address: IpAddr, logins: u32, now_ms: u64) {
        let rate = pace(
            self.settings.logins_per_minute_address,
            self.settings.connections_per_address,
        );
        let bucket = self
            .address_pace
            .entry(&address.to_canonical(), || Bucket::full(rate, now_ms));
        // Without debt: whoever waits for one login gets one.
        let owned = bucket.level(rate, now_ms).max(0.0);
        bucket.charge(rate, owned.min(f64::from(logins)), now_ms);
    }

    /// Addresses that have something open.
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }
}

fn pace(per_minute: u32, burst: u32) -> Rate {
    Rate {
        per_s: f64::from(per_minute) / 60.0,
        burst: f64::from(burst.max(1)),
    }
}

fn counts_of<K: Eq + Hash>(open: &HashMap<K, Open>, key: &K) -> Open {
    open.get(key).copied().unwrap_or_default()
}

fn close<K: Eq + Hash>(open: &mut HashMap<K, Open>, key: K, logged_in: bool) {
    let Some(left) = open.get_mut(&key) else {
        return;
    };
    left.connections = left.connections.saturating_sub(1);
    if !logged_in {
        left.pre_login = left.pre_login.saturating_sub(1);
    }
    if left.connections == 0 {
        open.remove(&key);
    }
}

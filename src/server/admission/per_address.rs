//! [`PerAddress`]: the limits per address, for simultaneous clients and for connections per second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;

use crate::clock;
use crate::http1::Peer;
use crate::rate::{Bucket, Rate};
use crate::sync::lock;

/// The maximum number of addresses in the table of rates. When the table is full, buckets that have refilled are
/// removed. If there are none, connections from new addresses are refused, because somebody is then using a very large
/// number of addresses.
const MAX_BUCKETS: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct PerAddress {
    limit: Option<usize>,
    clients: Mutex<HashMap<IpAddr, usize>>,
    rate: Option<Rate>,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl PerAddress {
    pub(crate) fn new(limit: Option<usize>, rate: Option<Rate>) -> PerAddress {
        PerAddress {
            limit,
            clients: Mutex::default(),
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Returns a permit for one more client of `peer`'s address, or `None` if the address has reached its limit.
    pub(crate) fn try_enter(&self, peer: &Peer) -> Option<AddressPermit<'_>> {
        let permit = |address| AddressPermit {
            limits: self,
            address,
        };
        let (Some(limit), Some(ip)) = (self.limit, peer.ip()) else {
            return Some(permit(None));
        };
        let address = address_group(ip);
        let mut clients = lock(&self.clients);
        let count = clients.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(permit(Some(address)))
    }

    /// Counts a connection from `peer`'s address. Returns false if the address exceeds its rate.
    pub(crate) fn may_connect(&self, peer: &Peer) -> bool {
        self.may_connect_at(peer, clock::now())
    }

    fn may_connect_at(&self, peer: &Peer, now: u64) -> bool {
        let (Some(rate), Some(ip)) = (self.rate, peer.ip()) else {
            return true;
        };
        let mut buckets = lock(&self.buckets);
        if buckets.len() >= MAX_BUCKETS {
            buckets.retain(|_, bucket| !bucket.refill(now));
        }
        let has_room = buckets.len() < MAX_BUCKETS;
        match buckets.get_mut(&address_group(ip)) {
            Some(bucket) => bucket.take(now),
            None if has_room => {
                let mut bucket = Bucket::new(rate, now);
                let may = bucket.take(now);
                buckets.insert(address_group(ip), bucket);
                may
            }
            None => false,
        }
    }
}

/// A permit for one client of an address. Dropping this value releases the permit.
#[derive(Debug)]
pub(crate) struct AddressPermit<'a> {
    limits: &'a PerAddress,
    address: Option<IpAddr>,
}

impl Drop for AddressPermit<'_> {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut clients = lock(&self.limits.clients);
        if let Some(count) = clients.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&address);
            }
        }
    }
}

/// Returns the address for which the limits are counted. For IPv6 this is the /64 network, because one host usually has
/// a whole /64.
pub(crate) fn address_group(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str) -> Peer {
        let ip: IpAddr = ip.parse().expect("an address");
        Peer::Tcp((ip, 4000).into())
    }

    #[test]
    fn a_permit_is_reusable_after_it_is_dropped() {
        let limits = PerAddress::new(Some(2), None);
        let first = limits.try_enter(&peer("10.0.0.1"));
        let second = limits.try_enter(&peer("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(limits.try_enter(&peer("10.0.0.1")).is_none());
        assert!(limits.try_enter(&peer("10.0.0.2")).is_some());
        drop(first);
        assert!(limits.try_enter(&peer("10.0.0.1")).is_some());
        drop(second);
        assert!(
            lock(&limits.clients).is_empty(),
            "an address without clients is forgotten"
        );
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let limits = PerAddress::new(Some(1), None);
        let _first = limits.try_enter(&peer("2001:db8:1:2::1"));
        assert!(limits.try_enter(&peer("2001:db8:1:2:ffff::9")).is_none());
        assert!(limits.try_enter(&peer("2001:db8:1:3::1")).is_some());
    }

    #[test]
    fn unix_peers_are_not_limited() {
        let limits = PerAddress::new(Some(1), Some(Rate::per_second(1)));
        let _first = limits.try_enter(&Peer::Unix);
        assert!(limits.try_enter(&Peer::Unix).is_some());
        assert!(limits.may_connect(&Peer::Unix) && limits.may_connect(&Peer::Unix));
    }

    #[test]
    fn the_table_of_rates_is_bounded() {
        let limits = PerAddress::new(None, Some(Rate::per_second(1).burst(2)));
        for n in 0..u32::try_from(MAX_BUCKETS).expect("the limit fits into 32 bits") {
            let peer = Peer::Tcp((IpAddr::V4(n.into()), 1).into());
            assert!(limits.may_connect_at(&peer, 1));
        }
        assert!(
            !limits.may_connect_at(&peer("250.0.0.1"), 1),
            "no bucket has refilled"
        );
        assert_eq!(lock(&limits.buckets).len(), MAX_BUCKETS);
    }
}

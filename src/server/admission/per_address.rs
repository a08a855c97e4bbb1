//! [`PerAddress`]: the limits for one address: clients at the same time, and connections per second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;

use crate::clock;
use crate::http::Peer;
use crate::rate::{Bucket, Rate};
use crate::sync::lock;

/// Addresses whose rate is remembered at the same time. When the table is full, buckets that have refilled are dropped; if
/// none has, new addresses are refused, because then somebody is using very many.
const REMEMBERED: usize = 64 << 10;

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

    /// Counts a connection of `peer`'s address. Returns false if the address exceeds its rate.
    pub(crate) fn may_connect(&self, peer: &Peer) -> bool {
        let (Some(rate), Some(ip)) = (self.rate, peer.ip()) else {
            return true;
        };
        let now = clock::now();
        let mut buckets = lock(&self.buckets);
        if buckets.len() >= REMEMBERED {
            buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        let room = buckets.len() < REMEMBERED;
        match buckets.get_mut(&address_group(ip)) {
            Some(bucket) => bucket.take(now),
            None if room => {
                let mut bucket = Bucket::new(rate, now);
                let may = bucket.take(now);
                buckets.insert(address_group(ip), bucket);
                may
            }
            None => false,
        }
    }
}

/// One of the clients that an address may have. Dropping it gives it back.
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

/// Returns the address that the limits are counted for. A host with one IPv6 address usually has the whole /64.
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
        let limits = PerAddress::new(
            None,
            Some(Rate {
                per_second: 1,
                burst: 2,
            }),
        );
        for n in 0..u32::try_from(REMEMBERED).expect("small") {
            assert!(limits.may_connect(&Peer::Tcp((IpAddr::V4(n.into()), 1).into())));
        }
        assert!(
            !limits.may_connect(&peer("250.0.0.1")),
            "no bucket has refilled"
        );
        assert_eq!(lock(&limits.buckets).len(), REMEMBERED);
    }
}

//! [`PerAddress`]: what one address may take: clients at once, and connections a second.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;

use crate::clock::{self, lock};
use crate::http::Peer;
use crate::rate::{Bucket, Rate};

/// Addresses remembered at once for their rate. Beyond, whose bucket is full again is forgotten; and if nobody's is,
/// new addresses are refused, for then somebody has many.
const REMEMBERED: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct PerAddress {
    limit: Option<usize>,
    inside: Mutex<HashMap<IpAddr, usize>>,
    rate: Option<Rate>,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl PerAddress {
    pub(crate) fn new(limit: Option<usize>, rate: Option<Rate>) -> PerAddress {
        PerAddress {
            limit,
            inside: Mutex::default(),
            rate,
            buckets: Mutex::default(),
        }
    }

    /// A place among the clients of `peer`'s address, until it is dropped.
    pub(crate) fn enter(&self, peer: &Peer) -> Option<AddressPermit<'_>> {
        let visit = |address| AddressPermit {
            per_address: self,
            address,
        };
        let (Some(limit), Some(ip)) = (self.limit, peer.ip()) else {
            return Some(visit(None));
        };
        let address = address_group(ip);
        let mut inside = lock(&self.inside);
        let count = inside.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(visit(Some(address)))
    }

    /// Whether `peer`'s address may connect once more at this moment.
    pub(crate) fn may_connect(&self, peer: &Peer) -> bool {
        let (Some(rate), Some(ip)) = (self.rate, peer.ip()) else {
            return true;
        };
        let now = clock::now();
        let mut buckets = lock(&self.buckets);
        if buckets.len() >= REMEMBERED {
            buckets.retain(|_, bucket| !bucket.refill(now));
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

/// A client's place among those of its address.
#[derive(Debug)]
pub(crate) struct AddressPermit<'a> {
    per_address: &'a PerAddress,
    address: Option<IpAddr>,
}

impl Drop for AddressPermit<'_> {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut inside = lock(&self.per_address.inside);
        if let Some(count) = inside.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&address);
            }
        }
    }
}

/// Who has one IPv6 address has the 2^64 beside it too.
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
    fn an_address_has_so_many_places_and_gets_them_back() {
        let per_address = PerAddress::new(Some(2), None);
        let first = per_address.enter(&peer("10.0.0.1"));
        let second = per_address.enter(&peer("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(per_address.enter(&peer("10.0.0.1")).is_none());
        assert!(per_address.enter(&peer("10.0.0.2")).is_some());
        drop(first);
        assert!(per_address.enter(&peer("10.0.0.1")).is_some());
        drop(second);
        assert!(
            lock(&per_address.inside).is_empty(),
            "who is gone costs nothing"
        );
    }

    #[test]
    fn neighbours_in_an_ipv6_network_count_as_one() {
        let per_address = PerAddress::new(Some(1), None);
        let _first = per_address.enter(&peer("2001:db8:1:2::1"));
        assert!(per_address.enter(&peer("2001:db8:1:2:ffff::9")).is_none());
        assert!(per_address.enter(&peer("2001:db8:1:3::1")).is_some());
    }

    #[test]
    fn a_unix_peer_has_no_address_to_count() {
        let per_address = PerAddress::new(Some(1), Some(Rate::per_second(1)));
        let _first = per_address.enter(&Peer::Unix);
        assert!(per_address.enter(&Peer::Unix).is_some());
        assert!(per_address.may_connect(&Peer::Unix) && per_address.may_connect(&Peer::Unix));
    }

    #[test]
    fn the_memory_of_addresses_is_bounded() {
        let per_address = PerAddress::new(
            None,
            Some(Rate {
                per_second: 1,
                burst: 2,
            }),
        );
        for n in 0..u32::try_from(REMEMBERED).expect("small") {
            assert!(per_address.may_connect(&Peer::Tcp((IpAddr::V4(n.into()), 1).into())));
        }
        assert!(
            !per_address.may_connect(&peer("250.0.0.1")),
            "nobody's bucket is full again"
        );
        assert_eq!(lock(&per_address.buckets).len(), REMEMBERED);
    }
}

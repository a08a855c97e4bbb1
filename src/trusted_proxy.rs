//! [`TrustedProxy`]: the proxies that may say where a client comes from.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// One or more proxies that are trusted to name the address of a client: a network, one address, or every program that
/// connects to a Unix socket of the server.
///
/// As text, a network is `10.0.0.0/8` or `fd00::/8`, an address is `192.0.2.7` or `2001:db8::7`, and Unix sockets are
/// `unix`. See [`Config::trusted_proxies`](crate::Config::trusted_proxies).
///
/// ```
/// use standpipe::{Config, TrustedProxy};
///
/// let balancers: TrustedProxy = "10.1.0.0/16".parse()?;
/// assert!(balancers.contains([10, 1, 2, 3].into()));
/// assert!(!balancers.contains([10, 2, 0, 1].into()));
///
/// let config = Config::default().trusted_proxies(vec![balancers, "unix".parse()?]);
/// # drop(config);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The addresses whose first `prefix` bits equal those of `address`. The other bits of `address` are 0.
    Network {
        address: IpAddr,
        prefix: u32,
    },
    Unix,
}

impl TrustedProxy {
    /// Returns whether a proxy with this address is trusted.
    ///
    /// ```
    /// let proxy: standpipe::TrustedProxy = "192.0.2.7".parse()?;
    /// assert!(proxy.contains("192.0.2.7".parse().expect("an address")));
    /// # Ok::<(), String>(())
    /// ```
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let Kind::Network { address, prefix } = self.0 else {
            return false;
        };
        // A listener on [::] gets 127.0.0.1 as ::ffff:127.0.0.1.
        let ip = ip.to_canonical();
        ip.is_ipv4() == address.is_ipv4() && masked(ip, prefix) == address
    }

    /// Returns whether the clients of Unix sockets are trusted.
    pub(crate) fn is_unix(&self) -> bool {
        self.0 == Kind::Unix
    }
}

/// Returns the address with every bit after the first `prefix` ones set to 0.
fn masked(ip: IpAddr, prefix: u32) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

fn bits(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { 32 } else { 128 }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<TrustedProxy, String> {
        const FORM: &str = "write a network such as 10.0.0.0/8 or fd00::/8, an address, or unix";
        if text == "unix" {
            return Ok(TrustedProxy(Kind::Unix));
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| FORM)?;
        let mut prefix = match prefix {
            None => bits(written),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| FORM)?
            }
            Some(_) => return Err(FORM.into()),
        };
        if prefix > bits(written) {
            let most = bits(written);
            return Err(format!("the length of this prefix is at most {most}"));
        }
        // An IPv4 network that is written as an IPv6 one, such as ::ffff:10.0.0.0/104.
        let mut address = written;
        if let (V4_MAPPED.., IpAddr::V4(v4)) = (prefix, written.to_canonical())
            && written.is_ipv6()
        {
            (address, prefix) = (v4.into(), prefix - V4_MAPPED);
        }
        if prefix == 0 {
            // Every client could then claim any address.
            return Err("this would trust every client: name the addresses of the proxies".into());
        }
        let network = masked(address, prefix);
        if network != address {
            return Err(format!(
                "the address has bits after its prefix: write {network}/{prefix}, or {address} for one proxy"
            ));
        }
        Ok(TrustedProxy(Kind::Network { address, prefix }))
    }
}

/// The length of the prefix of all IPv4 addresses among the IPv6 ones.
const V4_MAPPED: u32 = 96;

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Unix => f.write_str("unix"),
            Kind::Network { address, prefix } if prefix == bits(address) => address.fmt(f),
            Kind::Network { address, prefix } => write!(f, "{address}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> TrustedProxy {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn network_contains_the_addresses_of_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.6/31", "192.0.2.7", "192.0.2.8"),
            ("128.0.0.0/1", "255.0.0.1", "127.0.0.1"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "::10.1.1.1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:11.0.0.0"),
            ("fd00::/8", "fd00::1", "10.0.0.1"),
        ] {
            assert!(proxy(network).contains(ip(inside)), "{inside} in {network}");
            assert!(
                !proxy(network).contains(ip(outside)),
                "{outside} in {network}"
            );
        }
        assert!(!proxy("unix").contains(ip("127.0.0.1")));
        assert!(proxy("unix").is_unix() && !proxy("127.0.0.0/8").is_unix());
    }

    #[test]
    fn text_of_a_network_is_read_again() {
        for text in ["10.0.0.0/8", "192.0.2.7", "fd00::/8", "2001:db8::7", "unix"] {
            assert_eq!(proxy(text).to_string(), text);
        }
        assert_eq!(proxy("192.0.2.7/32").to_string(), "192.0.2.7");
        assert_eq!(proxy("::ffff:192.0.2.7").to_string(), "192.0.2.7");
    }

    #[test]
    fn wrong_networks_are_refused() {
        for (text, part) in [
            ("10.0.0.1/8", "write 10.0.0.0/8, or 10.0.0.1 for one proxy"),
            ("0.0.0.0/0", "would trust every client"),
            ("::/0", "would trust every client"),
            ("::ffff:0.0.0.0/96", "would trust every client"),
            ("10.0.0.0/33", "at most 32"),
            ("fd00::/129", "at most 128"),
            ("10.0.0.0/+8", "write a network"),
            ("10.0.0.0/", "write a network"),
            ("10.0.0.0/99999999999", "write a network"),
            ("10.0.0/8", "write a network"),
            ("example.com", "write a network"),
            ("[::1]", "write a network"),
            ("", "write a network"),
        ] {
            let error = text.parse::<TrustedProxy>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

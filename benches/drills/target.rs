//! [`Target`]: where a drill connects, and whether the server speaks TLS there.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::Failure;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) at: SocketAddr,
    pub(crate) is_secure: bool,
}

impl Target {
    /// Stands for a server that has not printed its address.
    pub(crate) const NONE: Target = Target {
        at: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        is_secure: false,
    };
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.at)
    }
}

impl FromStr for Target {
    type Err = Failure;

    /// Reads a URL as the server prints it.
    fn from_str(url: &str) -> Result<Target, Failure> {
        let (scheme, address) = url
            .split_once("://")
            .ok_or_else(|| format!("{url} is not a URL"))?;
        Ok(Target {
            at: address.trim_end_matches('/').parse()?,
            is_secure: scheme == "https",
        })
    }
}

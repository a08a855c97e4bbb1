//! [`client_of`]: the client that the forwarding headers of a trusted proxy name.
//!
//! Each proxy on the way adds the address of its own peer at the right end of `X-Forwarded-For`, or of `Forwarded`
//! (RFC 7239). So the right-most address that is not a trusted proxy was added by a trusted proxy. What stands further
//! left may come from the client, and is not believed.
//!
//! Only the address of the client comes from these headers. `Host`, `Origin` and everything else that a request is judged
//! by does not.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use super::Peer;
use super::reply::{Refusal, refuse};
use crate::trusted_proxy::TrustedProxy;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A party that a header names. `None` stands for one whose address is hidden, or cannot be understood.
type Hop = Option<SocketAddr>;

/// Returns whether the connections of `peer` come from a trusted proxy.
pub(crate) fn is_trusted(peer: &Peer, trusted: &[TrustedProxy]) -> bool {
    trusted.iter().any(|proxy| match peer.ip() {
        Some(ip) => proxy.contains(ip),
        None => proxy.is_unix(),
    })
}

/// Returns the client that `proxy`, which is trusted, names in the headers. Returns `None` if it names none.
///
/// # Errors
/// Refuses a `Forwarded` that is not valid: its parts could be attributed to the wrong proxy. Also refuses two headers
/// that name different clients. One of the two then comes from the client, because the proxy did not remove it.
pub(crate) fn client_of(
    headers: &HeaderMap,
    proxy: &Peer,
    trusted: &[TrustedProxy],
) -> Result<Option<Peer>, Refusal> {
    let by_list = headers.contains_key(&X_FORWARDED_FOR).then(|| {
        let lines = headers.get_all(&X_FORWARDED_FOR).into_iter();
        let hops: Vec<Hop> = lines.flat_map(x_forwarded_for).collect();
        right_most(&hops, proxy, trusted)
    });
    let mut hops = Vec::new();
    for line in headers.get_all(header::FORWARDED) {
        forwarded(line.as_bytes(), &mut hops)
            .ok_or_else(|| refuse(400, "the Forwarded header is not valid"))?;
    }
    let by_elements = headers
        .contains_key(header::FORWARDED)
        .then(|| right_most(&hops, proxy, trusted));
    match (by_list, by_elements) {
        (Some(one), Some(other))
            if one.map(|client| client.ip()) != other.map(|client| client.ip()) =>
        {
            Err(refuse(
                400,
                "X-Forwarded-For and Forwarded name different clients",
            ))
        }
        (Some(client), _) | (None, Some(client)) => Ok(client.map(Peer::Tcp)),
        (None, None) => Ok(None),
    }
}

/// Returns the right-most address that is not a trusted proxy. If all are trusted, this is the left-most one. The search
/// ends at a hop without an address: what stands left of it may come from anybody.
fn right_most(hops: &[Hop], proxy: &Peer, trusted: &[TrustedProxy]) -> Option<SocketAddr> {
    let mut client = None;
    let mut is_reporter_here = proxy.is_loopback();
    for hop in hops.iter().rev() {
        let Some(address) = *hop else { break };
        if !is_plausible(address.ip(), is_reporter_here) {
            break;
        }
        client = Some(address);
        if !is_trusted(&Peer::Tcp(address), trusted) {
            break;
        }
        is_reporter_here = address.ip().is_loopback();
    }
    client
}

/// Returns whether a proxy may name this address. A loopback address means the machine of the proxy that names it. From a
/// proxy on another machine it is ignored, so that [`Peer::is_loopback`] is never true for a client elsewhere.
pub(crate) fn is_plausible(client: IpAddr, is_reporter_here: bool) -> bool {
    let client = client.to_canonical();
    is_reporter_here || !client.is_loopback()
}

/// Returns the hops of one `X-Forwarded-For` line. Only commas are looked for first, because the part of the client may
/// have any bytes, and the proxy may have added its own part to the same line.
fn x_forwarded_for(line: &HeaderValue) -> impl Iterator<Item = Hop> {
    let items = line.as_bytes().split(|&byte| byte == b',');
    let items = items.map(<[u8]>::trim_ascii);
    items.filter(|item| !item.is_empty()).map(node)
}

/// Returns the address of a node: `192.0.2.1`, `2001:db8::1`, or in brackets, each with or without a port. The port is 0 if
/// it is not known.
fn node(text: &[u8]) -> Hop {
    let text = std::str::from_utf8(text).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']');
    let (ip, port) = if let Ok(address) = text.parse::<SocketAddr>() {
        (address.ip(), address.port())
    } else if let Ok(ip) = bracketed().unwrap_or(text).parse() {
        (ip, 0)
    } else {
        // RFC 7239 §6.2: a port may be obfuscated too.
        let (ip, _) = text.rsplit_once(":_")?;
        let ip = ip
            .strip_prefix('[')
            .and_then(|ip| ip.strip_suffix(']'))
            .unwrap_or(ip);
        (ip.parse().ok()?, 0)
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// Adds the hops of one `Forwarded` line (RFC 7239 §4). Returns `None` if the line is not valid. A quotation mark of the
/// client that is never closed would otherwise hide what the proxy has added after it.
fn forwarded(line: &[u8], hops: &mut Vec<Hop>) -> Option<()> {
    let mut rest = line;
    loop {
        let mut client = None;
        let mut is_empty = true;
        loop {
            rest = rest.trim_ascii_start();
            if let Some(name) = take_while(&mut rest, is_token) {
                is_empty = false;
                rest = rest.strip_prefix(b"=")?;
                let value = value(&mut rest)?;
                if name.eq_ignore_ascii_case(b"for") && client.replace(value).is_some() {
                    return None;
                }
                rest = rest.trim_ascii_start();
            }
            match rest.split_first() {
                Some((b';', more)) => rest = more,
                Some((b',', _)) | None => break,
                Some(_) => return None,
            }
        }
        if !is_empty {
            // A proxy that does not say for whom it forwards hides its peer.
            hops.push(client.as_deref().and_then(node));
        }
        match rest.split_first() {
            Some((_, more)) => rest = more,
            None => return Some(()),
        }
    }
}

/// Takes the value of a parameter: a token or a quoted string. Addresses without quotation marks are accepted too,
/// although their colons and brackets are not allowed in a token.
fn value(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        let is_allowed = |byte| is_token(byte) || matches!(byte, b':' | b'[' | b']');
        return take_while(rest, is_allowed).map(<[u8]>::to_vec);
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => break,
            b'\\' => value.push(*bytes.next()?),
            byte => value.push(*byte),
        }
    }
    *rest = bytes.as_slice();
    Some(value)
}

/// Takes the bytes at the beginning for which `is_part` is true. Returns `None` if there are none.
fn take_while<'a>(rest: &mut &'a [u8], is_part: impl Fn(u8) -> bool) -> Option<&'a [u8]> {
    let end = rest.iter().position(|&byte| !is_part(byte));
    let (taken, later) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = later;
    (!taken.is_empty()).then_some(taken)
}

/// Returns whether a token may contain the byte (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[path = "tests/forwarded.rs"]
mod tests;

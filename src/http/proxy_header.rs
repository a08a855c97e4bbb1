//! [`read_proxy_header`] reads the header of the PROXY protocol, versions 1 and 2, from the beginning of a connection.
//!
//! A proxy that does not speak HTTP, or not with this server, names the client in such a header. It is followed by what
//! the client has sent: a request, or a TLS handshake. The protocol is specified in `doc/proxy-protocol.txt` of HAProxy.
//!
//! The header is read under limits, and refused if it deviates from the specification in any byte: a header that two
//! programs could understand differently could hide the address of a client.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::head::{HeadError, read_more};
use super::reply::refuse;

/// The size of one read, in bytes. Most headers have fewer than 60 bytes.
const READ: usize = 256;

/// The beginning of version 1, which is a line of text.
const V1: &[u8] = b"PROXY ";

/// The longest line of version 1, with CRLF.
const MAX_LINE: usize = 107;

/// The beginning of version 2, which is binary.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of version 2 before the addresses.
const FIXED: usize = 16;

/// The most bytes of version 2 after the fixed ones: the addresses, and the further values (TLVs), which are skipped. A
/// certificate among them has about 2 KiB.
const MAX_LENGTH: usize = 4 << 10;

/// The client that the header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// The proxy forwards for this client.
    Client(SocketAddr),
    /// The proxy names no client with an IP address: it checks the server (`LOCAL`), or does not know (`UNKNOWN`,
    /// `AF_UNSPEC`), or its client has a Unix socket.
    NoClient,
}

/// Reads the header, which begins with the bytes `ahead`. Returns it with the bytes after it that have already been read.
///
/// # Blocking
/// As [`read_head`](super::read_head).
pub(crate) fn read_proxy_header(
    stream: &mut impl Read,
    ahead: Vec<u8>,
) -> Result<(ProxyHeader, Vec<u8>), HeadError> {
    let mut bytes = ahead;
    loop {
        match parse(&bytes) {
            Ok(Some((header, end))) => return Ok((header, bytes.split_off(end))),
            Ok(None) => {}
            Err(reason) => return Err(refuse(400, reason).into()),
        }
        let mut chunk = [0; READ];
        read_more(stream, &mut chunk, &mut bytes)?;
    }
}

type Parsed = Result<Option<(ProxyHeader, usize)>, &'static str>;

/// Returns the header at the beginning of `bytes` and its length, or `None` if it is incomplete.
fn parse(bytes: &[u8]) -> Parsed {
    let begins = |with: &[u8]| {
        bytes
            .iter()
            .zip(with)
            .all(|(byte, expected)| byte == expected)
    };
    if begins(V1) {
        parse_line(bytes)
    } else if begins(V2) {
        parse_binary(bytes)
    } else {
        Err("the PROXY header is missing")
    }
}

/// Parses version 1 (§2.1).
fn parse_line(bytes: &[u8]) -> Parsed {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return match line.len() {
            MAX_LINE => Err("the line of the PROXY header is too long"),
            _ => Ok(None),
        };
    };
    let invalid = "the line of the PROXY header is not valid";
    // The line is longer than `V1`, because that contains no CRLF.
    let text = std::str::from_utf8(&line[V1.len()..end]).map_err(|_| invalid)?;
    let fields: Vec<&str> = text.split(' ').collect();
    let header = match fields[..] {
        // The rest of such a line must be ignored.
        ["UNKNOWN", ..] => ProxyHeader::NoClient,
        [family, source, destination, port, destination_port] => {
            let read = |text: &str| match family {
                "TCP4" => text.parse().ok().map(IpAddr::V4),
                "TCP6" => text.parse().ok().map(IpAddr::V6),
                _ => None,
            };
            let ends = [(source, port), (destination, destination_port)];
            let [Some(client), Some(_)] =
                ends.map(|(ip, port)| Some(SocketAddr::new(read(ip)?, decimal(port)?)))
            else {
                return Err(invalid);
            };
            ProxyHeader::Client(client)
        }
        _ => return Err(invalid),
    };
    Ok(Some((header, end + 2)))
}

/// Parses a port in its only form: `u16::from_str` would accept `+80` and `0080`.
fn decimal(text: &str) -> Option<u16> {
    let has_one_form = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| has_one_form)
}

/// Parses version 2 (§2.2).
fn parse_binary(bytes: &[u8]) -> Parsed {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Err("the PROXY header is too long");
    }
    let Some(values) = rest.get(..length) else {
        return Ok(None);
    };
    let too_short = "the PROXY header is too short for its addresses";
    let header = match (command, family) {
        (0x20, _) => ProxyHeader::NoClient,
        (0x21, 0x00) => ProxyHeader::NoClient,
        // Source, destination, and the two ports.
        (0x21, 0x11) => {
            let (&[a, b, c, d, _, _, _, _, high, low, _, _], _) =
                values.split_first_chunk().ok_or(too_short)?;
            client(Ipv4Addr::new(a, b, c, d), [high, low])
        }
        (0x21, 0x21) => {
            let (addresses, _) = values.split_first_chunk::<36>().ok_or(too_short)?;
            let (source, _) = addresses.split_first_chunk::<16>().ok_or(too_short)?;
            client(Ipv6Addr::from(*source), [addresses[32], addresses[33]])
        }
        // The paths of two Unix sockets.
        (0x21, 0x31) if length >= 216 => ProxyHeader::NoClient,
        (0x21, 0x31) => return Err(too_short),
        (0x21, 0x12 | 0x22 | 0x32) => return Err("the PROXY header is for datagrams"),
        (0x21, _) => return Err("the PROXY header has an unknown address family"),
        _ => return Err("the PROXY header has an unknown version or command"),
    };
    Ok(Some((header, FIXED + length)))
}

fn client(ip: impl Into<IpAddr>, port: [u8; 2]) -> ProxyHeader {
    ProxyHeader::Client(SocketAddr::new(ip.into(), u16::from_be_bytes(port)))
}

#[cfg(test)]
#[path = "tests/proxy_header.rs"]
mod tests;

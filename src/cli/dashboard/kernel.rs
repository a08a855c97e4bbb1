//! Reads how many bytes the kernel's send buffer holds for each client: bytes that the server has written and the client
//! has not acknowledged. The figures are in `/proc/net`, so only Linux has them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The maximum number of bytes read of each table. The tables list the sockets of the whole machine.
const MAX_TABLE: u64 = 4 << 20;

/// Returns the unacknowledged bytes by client address, for the server's `ports`. The map is empty if the
/// system has no such tables.
pub(super) fn unacknowledged(ports: &[u16]) -> HashMap<SocketAddr, u64> {
    let mut bytes = HashMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        if let Ok(file) = File::open(table) {
            let lines = BufReader::new(file.take(MAX_TABLE)).lines();
            bytes.extend(
                lines
                    .map_while(Result::ok)
                    .filter_map(|line| entry(&line, ports)),
            );
        }
    }
    bytes
}

/// Parses one line of a table: `sl local_address rem_address st tx_queue:rx_queue …`, all in hexadecimal.
fn entry(line: &str, ports: &[u16]) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    // Most lines belong to other programs, so the port is checked first.
    let (_, port) = fields.next()?.split_once(':')?;
    if !ports.contains(&u16::from_str_radix(port, 16).ok()?) {
        return None;
    }
    let peer = address(fields.next()?)?;
    let queues = fields.nth(1)?;
    let unacknowledged = u64::from_str_radix(queues.split_once(':')?.0, 16).ok()?;
    Some((peer, unacknowledged))
}

/// Parses an address. `0100007F:2328` is 127.0.0.1:9000, because the kernel prints each group of four bytes as one
/// number in the byte order of this machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(host.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip: IpAddr = match host.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (n, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(n * 8)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn only_lines_with_our_ports_are_parsed() {
        let line = "   3: 0100007F:2328 0100007F:D431 01 0000A1B2:00000000 01:00000014 00000000     0        0 1 2";
        let peer = "127.0.0.1:54321".parse().expect("an address");
        assert_eq!(entry(line, &[9000]), Some((peer, 0xa1b2)));
        assert_eq!(entry(line, &[9001]), None);
        let mapped = line.replace("0100007F", "0000000000000000FFFF00000100007F");
        assert_eq!(entry(&mapped, &[9000]), Some((peer, 0xa1b2)));
        for wrong in [
            "",
            "  sl  local_address rem_address   st tx_queue rx_queue",
            "0: x:y z",
        ] {
            assert_eq!(entry(wrong, &[9000]), None);
        }
    }
}

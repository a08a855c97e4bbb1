//! The header of the PROXY protocol: every form, every deviation, and every place where it may be cut.

use proptest::prelude::*;

use super::*;

/// Returns the result for a connection that begins with `bytes` and then ends.
fn read(bytes: &[u8]) -> Result<(ProxyHeader, Vec<u8>), String> {
    read_proxy_header(&mut &*bytes, Vec::new()).map_err(|error| match error {
        HeadError::Refused(reply, reason) => format!("{} {reason}", reply.code()),
        HeadError::Gone => "gone".into(),
        HeadError::Io(error) => error.to_string(),
    })
}

fn binary(command: u8, family: u8, values: &[u8]) -> Vec<u8> {
    let length = u16::try_from(values.len()).expect("the values are short");
    [V2, &[command, family], &length.to_be_bytes(), values].concat()
}

fn named(address: &str) -> ProxyHeader {
    ProxyHeader::Client(address.parse().expect("an address"))
}

#[test]
fn lines_of_version_1_are_read() {
    for (line, expected) in [
        (
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n",
            named("192.0.2.1:56324"),
        ),
        (
            "PROXY TCP4 192.0.2.1 10.0.0.1 0 65535\r\n",
            named("192.0.2.1:0"),
        ),
        (
            "PROXY TCP6 2001:db8::1 fd00::1 80 443\r\n",
            named("[2001:db8::1]:80"),
        ),
        ("PROXY UNKNOWN\r\n", ProxyHeader::NoClient),
        (
            "PROXY UNKNOWN ffff::1 and anything else\r\n",
            ProxyHeader::NoClient,
        ),
    ] {
        let bytes = format!("{line}GET / HTTP/1.1\r\n");
        assert_eq!(
            read(bytes.as_bytes()),
            Ok((expected, b"GET / HTTP/1.1\r\n".to_vec())),
            "{line}"
        );
    }
}

#[test]
fn longest_line_of_version_1_is_the_limit() {
    let unknown = |length: usize| format!("PROXY UNKNOWN {}\r\n", "f".repeat(length - 16));
    assert_eq!(
        read(unknown(107).as_bytes()),
        Ok((ProxyHeader::NoClient, Vec::new()))
    );
    let too_long = Err("400 the line of the PROXY header is too long".to_owned());
    assert_eq!(read(unknown(108).as_bytes()), too_long);
    assert_eq!(read(&[V1, &[b'f'; 101]].concat()), too_long);
}

#[test]
fn invalid_lines_are_refused() {
    for fields in [
        "TCP4 192.0.2.1 10.0.0.1 56324",
        "TCP4 192.0.2.1 10.0.0.1 56324 443 1",
        "TCP4 192.0.2.1 10.0.0.1 56324 443 ",
        "TCP4  192.0.2.1 10.0.0.1 56324 443",
        "TCP4 192.0.2.1 10.0.0.1 65536 443",
        "TCP4 192.0.2.1 10.0.0.1 +80 443",
        "TCP4 192.0.2.1 10.0.0.1 080 443",
        "TCP4 192.0.2.1 10.0.0.1 80 -1",
        "TCP4 192.0.2.1\t10.0.0.1 80 443",
        "TCP4 192.0.2.1 10.0.0 80 443",
        "TCP4 2001:db8::1 10.0.0.1 80 443",
        "TCP6 192.0.2.1 10.0.0.1 80 443",
        "TCP6 [2001:db8::1] fd00::1 80 443",
        "TCP5 192.0.2.1 10.0.0.1 80 443",
        "tcp4 192.0.2.1 10.0.0.1 80 443",
        "UNKNOWNX",
        "",
        "TCP4 192.0.2.1 10.0.0.1 80 443\n",
        "TCP4 192.0.2.\u{fe} 10.0.0.1 80 443",
    ] {
        let line = format!("PROXY {fields}\r\n");
        let invalid = Err("400 the line of the PROXY header is not valid".to_owned());
        assert_eq!(read(line.as_bytes()), invalid, "{line:?}");
    }
}

#[test]
fn missing_header_is_refused_by_its_first_byte() {
    let missing = Err("400 the PROXY header is missing".to_owned());
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"P\x16",
        b"\x16\x03\x01",
        b"\r\n\r\n\0\r\nQUIX",
        b"PROXYX",
    ] {
        assert_eq!(read(bytes), missing, "{}", bytes.escape_ascii());
    }
}

#[test]
fn binary_headers_are_read() {
    let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 0x04, 1, 187];
    let v6: Vec<u8> = [
        &[0x20, 1, 0xd, 0xb8][..],
        &[0; 11],
        &[1],
        &[0; 16],
        &[0, 80, 1, 187],
    ]
    .concat();
    let tlv = [4, 0, 2, b'a', b'b'];
    for (command, family, values, expected) in [
        (0x21, 0x11, v4.to_vec(), named("192.0.2.1:56324")),
        (
            0x21,
            0x11,
            [&v4[..], &tlv].concat(),
            named("192.0.2.1:56324"),
        ),
        (
            0x21,
            0x11,
            [&v4[..], &[0xee; 4000]].concat(),
            named("192.0.2.1:56324"),
        ),
        (0x21, 0x21, v6, named("[2001:db8::1]:80")),
        (0x21, 0x31, vec![b'/'; 216], ProxyHeader::NoClient),
        (0x21, 0x00, tlv.to_vec(), ProxyHeader::NoClient),
        (0x20, 0x00, Vec::new(), ProxyHeader::NoClient),
        // The address of a check is not that of a client.
        (0x20, 0x11, v4.to_vec(), ProxyHeader::NoClient),
    ] {
        let bytes = [binary(command, family, &values), b"rest".to_vec()].concat();
        assert_eq!(
            read(&bytes),
            Ok((expected, b"rest".to_vec())),
            "{command:x} {family:x}"
        );
    }
}

#[test]
fn invalid_binary_headers_are_refused() {
    for (command, family, length, reason) in [
        (0x21, 0x11, 11, "too short"),
        (0x21, 0x21, 35, "too short"),
        (0x21, 0x31, 215, "too short"),
        (0x21, 0x11, 4097, "too long"),
        (0x20, 0x00, 4097, "too long"),
        (0x21, 0x12, 12, "for datagrams"),
        (0x21, 0x22, 36, "for datagrams"),
        (0x21, 0x13, 12, "unknown address family"),
        (0x21, 0x41, 12, "unknown address family"),
        (0x22, 0x11, 12, "unknown version or command"),
        (0x11, 0x11, 12, "unknown version or command"),
        (0x31, 0x11, 12, "unknown version or command"),
    ] {
        let refused = read(&binary(command, family, &vec![0; length])).expect_err(reason);
        assert!(
            refused.starts_with("400 ") && refused.contains(reason),
            "{command:x} {family:x}: {refused}"
        );
    }
}

#[test]
fn endless_header_is_refused_within_its_limit() {
    let endless = [V2, &[0x21, 0x11, 0xff, 0xff], &[0; 20_000]].concat();
    let mut stream = &endless[..];
    assert!(read_proxy_header(&mut stream, Vec::new()).is_err());
    assert!(
        endless.len() - stream.len() <= READ,
        "refused by its length alone"
    );
}

/// A header as a proxy sends it, and what it says.
fn header() -> impl Strategy<Value = (Vec<u8>, ProxyHeader)> {
    let ends = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u16; 2]>());
    let values = prop::collection::vec(any::<u8>(), 0..600);
    (ends, values, any::<bool>(), any::<bool>()).prop_map(
        |((source, destination, ports), tlvs, is_v4, is_text)| {
            let ip = |bytes: [u8; 16]| match bytes {
                [a, b, c, d, ..] if is_v4 => IpAddr::from([a, b, c, d]),
                bytes => IpAddr::from(bytes),
            };
            let [source, destination] = [source, destination].map(ip);
            let expected = ProxyHeader::Client(SocketAddr::new(source, ports[0]));
            if is_text {
                let family = if is_v4 { "TCP4" } else { "TCP6" };
                let [from, to] = ports;
                let line = format!("PROXY {family} {source} {destination} {from} {to}\r\n");
                return (line.into_bytes(), expected);
            }
            let octets = |ip| match ip {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let ports = ports.map(u16::to_be_bytes).concat();
            let values = [octets(source), octets(destination), ports, tlvs].concat();
            (
                binary(0x21, if is_v4 { 0x11 } else { 0x21 }, &values),
                expected,
            )
        },
    )
}

proptest! {
    #[test]
    fn header_is_read_wherever_it_is_cut((bytes, expected) in header(), cut: prop::sample::Index) {
        // The bytes after it may look like anything.
        let whole = [&bytes[..], b"PROXY \r\n\r\n\0"].concat();
        let cut = cut.index(bytes.len() + 1);
        let ahead = whole[..cut].to_vec();
        let (read, rest) = read_proxy_header(&mut &whole[cut..], ahead).expect("the header is valid");
        prop_assert_eq!(read, expected);
        let later = &whole[whole.len().min(bytes.len())..];
        prop_assert!(later.starts_with(&rest), "{:?} is not what follows", rest);
        // Without its last byte, it is incomplete.
        prop_assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(None));
    }

    #[test]
    fn no_bytes_are_taken_for_more_than_they_are(bytes in prop::collection::vec(any::<u8>(), 0..64), version in 0..3_u8) {
        let begin = [b"".as_slice(), V1, V2][usize::from(version)];
        let bytes = [begin, &bytes].concat();
        if let Ok(Some((_, end))) = parse(&bytes) {
            prop_assert!(end <= bytes.len());
            // The same bytes and nothing after them say the same.
            prop_assert_eq!(parse(&bytes[..end]), parse(&bytes));
        }
    }
}

//! Which client the forwarding headers name, and which parts of them are not believed.

use proptest::prelude::*;

use super::*;

const XFF: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

fn trusted(list: &[&str]) -> Vec<TrustedProxy> {
    let proxies = list.iter().map(|text| text.parse().expect("a network"));
    proxies.collect()
}

fn proxy() -> Peer {
    Peer::Tcp(([10, 0, 0, 1], 4000).into())
}

fn lines(lines: &[(&str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
    }
    headers
}

/// Returns the client as text, `-` if none is named, or the reason of the refusal.
fn client(headers: &[(&str, &[u8])]) -> String {
    let trusted = trusted(&["10.0.0.0/8", "fd00::/8"]);
    match client_of(&lines(headers), &proxy(), &trusted) {
        Ok(client) => client.map_or("-".into(), |client| client.to_string()),
        Err((_, reason)) => reason,
    }
}

#[test]
fn right_most_untrusted_address_is_the_client() {
    for (value, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
        ("1.1.1.1,192.0.2.1,10.0.0.2", "192.0.2.1"),
        ("1.1.1.1, 192.0.2.1, 10.0.0.2, fd00::7", "192.0.2.1"),
        ("garbage \"; , 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1:4711"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1 , ,", "192.0.2.1"),
        // All are trusted: the left-most is the client.
        ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
        // The search ends at what is no address.
        ("192.0.2.1, unknown", "-"),
        ("192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("192.0.2.1, 10.0.0.300", "-"),
        ("", "-"),
    ] {
        let value = value.as_bytes();
        assert_eq!(
            client(&[(XFF, value)]),
            expected,
            "{}",
            value.escape_ascii()
        );
    }
    assert_eq!(client(&[]), "-");
    let several: [(&str, &[u8]); 2] = [(XFF, b"1.1.1.1"), (XFF, b"192.0.2.1, 10.0.0.2")];
    assert_eq!(client(&several), "192.0.2.1");
    // The proxy has added its part to what a client has sent.
    assert_eq!(client(&[(XFF, b"\xff\xfe, 192.0.2.1")]), "192.0.2.1");
}

#[test]
fn elements_of_forwarded_are_read() {
    for (value, expected) in [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"),
        ("for=1.1.1.1, for=192.0.2.1, for=10.0.0.2", "192.0.2.1"),
        ("for=\"[2001:db8::1]:80\"", "[2001:db8::1]:80"),
        ("for=\"[2001:db8::1]:_p\"", "2001:db8::1"),
        ("for=\"192.0.2.1:_p\"", "192.0.2.1"),
        ("for=192.0.2.1:80", "192.0.2.1:80"),
        ("for=\"19\\2.0.2.1\"", "192.0.2.1"),
        ("proto=\"a,b;for=1.1.1.1\";for=192.0.2.1", "192.0.2.1"),
        ("for=192.0.2.1 ; proto=http , ", "192.0.2.1"),
        ("for=192.0.2.1, for=unknown", "-"),
        ("for=192.0.2.1, for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ("for=192.0.2.1, proto=http", "-"),
        ("", "-"),
    ] {
        assert_eq!(
            client(&[(FORWARDED, value.as_bytes())]),
            expected,
            "{value}"
        );
    }
}

#[test]
fn invalid_forwarded_is_refused() {
    for value in [
        // The client's quotation mark would hide what the proxy has added.
        "for=\"x, for=192.0.2.1",
        "for=\"x, for=\"192.0.2.1\"",
        "for=\"x\\, for=\"192.0.2.1\"",
        "for=1.1.1.1;for=192.0.2.1",
        "for =192.0.2.1",
        "for= 192.0.2.1",
        "for=",
        "for",
        "=192.0.2.1",
        "for=192.0.2.1 proto=http",
        "for=192.0.2.1, \u{7f}",
    ] {
        let mut hops = Vec::new();
        assert_eq!(forwarded(value.as_bytes(), &mut hops), None, "{value}");
    }
}

#[test]
fn two_headers_must_name_one_client() {
    let both =
        |one: &str, other: &str| client(&[(XFF, one.as_bytes()), (FORWARDED, other.as_bytes())]);
    assert_eq!(both("192.0.2.1", "for=\"192.0.2.1:80\""), "192.0.2.1");
    let different = "X-Forwarded-For and Forwarded name different clients";
    assert_eq!(both("192.0.2.1", "for=192.0.2.2"), different);
    assert_eq!(both("192.0.2.1", "for=unknown"), different);
    assert_eq!(both("unknown", "for=192.0.2.1"), different);
}

#[test]
fn loopback_is_believed_on_this_machine_only() {
    let trusted = trusted(&["127.0.0.1", "10.0.0.0/8", "unix"]);
    let client = |value: &'static [u8], proxy: &Peer| {
        let named = client_of(&lines(&[(XFF, value)]), proxy, &trusted);
        named
            .expect("the header is valid")
            .map(|client| client.to_string())
    };
    let here = Peer::Tcp(([127, 0, 0, 1], 1).into());
    let named = Some("127.0.0.7".to_owned());
    assert_eq!(client(b"127.0.0.7", &here), named);
    assert_eq!(client(b"127.0.0.7", &Peer::Unix), named);
    assert_eq!(client(b"127.0.0.7", &proxy()), None);
    assert_eq!(client(b"::ffff:127.0.0.7", &proxy()), None);
    // A client in a trusted network cannot claim to be on this machine.
    let claimed = client(b"127.0.0.7, 10.0.0.2", &here);
    assert_eq!(claimed, Some("10.0.0.2".into()));
    assert_eq!(client(b"127.0.0.7, 127.0.0.1", &here), named);
}

/// Anything that a client may put before the part of its proxy.
fn from_client() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: [&[u8]; 14] = [
        b"for=",
        b"\"",
        b",",
        b";",
        b"=",
        b"\\",
        b"1.2.3.4",
        b"[::1]",
        b"10.0.0.2",
        b":",
        b" ",
        b"unknown",
        b"\xff",
        b"_x",
    ];
    let part = prop::sample::select(&PARTS);
    prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_client_changes_its_address(claimed in from_client(), last: [u8; 4], in_one_line: bool, quoted: bool) {
        let mut last = IpAddr::from(last);
        if is_trusted(&Peer::Tcp((last, 1).into()), &trusted(&["10.0.0.0/8"])) || last.is_loopback() {
            last = IpAddr::from([192, 0, 2, 1]);
        }
        let element = if quoted { format!("for=\"{last}:80\"") } else { format!("for={last}") };
        for (name, added) in [(XFF, last.to_string()), (FORWARDED, element)] {
            let headers = if in_one_line {
                let line = [&claimed[..], b", ", added.as_bytes()].concat();
                lines(&[(name, &line)])
            } else {
                lines(&[(name, &claimed), (name, added.as_bytes())])
            };
            // A `Forwarded` that a client has spoilt is refused, and is never taken for another address.
            if let Ok(client) = client_of(&headers, &proxy(), &trusted(&["10.0.0.0/8"])) {
                prop_assert_eq!(client.and_then(|client| client.ip()), Some(last));
            } else {
                prop_assert_eq!(name, FORWARDED);
            }
        }
    }
}

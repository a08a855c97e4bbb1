use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::http1::{Peer, Request, read_head};

fn text(cookie: &Cookie) -> Result<String, &'static str> {
    let value = cookie.to_header()?;
    Ok(value.to_str().expect("a cookie is ASCII").to_owned())
}

/// Returns a request with these lines of `Cookie`.
fn request(lines: &[&[u8]]) -> Option<Request> {
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    for line in lines {
        head.extend_from_slice(b"Cookie: ");
        head.extend_from_slice(line);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let read = read_head(&mut &head[..], Vec::new(), Peer::Unix);
    read.ok().map(|(request, _)| request)
}

#[test]
fn default_cookie_is_strict() {
    let cookie = Cookie::new("a", "b");
    assert_eq!(
        text(&cookie).as_deref(),
        Ok("a=b; Path=/; Secure; HttpOnly; SameSite=Lax")
    );
    assert!(cookie.to_header().expect("valid").is_sensitive());
    let lax = cookie
        .path("/x")
        .secure(false)
        .http_only(false)
        .same_site(SameSite::Strict);
    assert_eq!(text(&lax).as_deref(), Ok("a=b; Path=/x; SameSite=Strict"));
}

#[test]
fn age_is_rounded_up_and_zero_removes_the_cookie() {
    for (age, want) in [
        (Duration::from_secs(60), "Max-Age=60"),
        (Duration::from_millis(1500), "Max-Age=2"),
        (Duration::from_nanos(1), "Max-Age=1"),
        (Duration::MAX, "Max-Age=18446744073709551615"),
        (Duration::ZERO, "Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
    ] {
        let text = text(&Cookie::new("a", "").max_age(age)).expect("a valid cookie");
        let attributes: Vec<&str> = text.split("; ").collect();
        assert_eq!(attributes[..3], ["a=", "Path=/", want], "{age:?}");
    }
}

#[test]
fn invalid_cookies_are_refused() {
    let long = "x".repeat(MAX_PAIR);
    for (name, value) in [
        ("", "v"),
        ("a b", "v"),
        ("a=", "v"),
        ("a;", "v"),
        ("ä", "v"),
        ("a\r\nX", "v"),
        ("a", "x y"),
        ("a", "x;y"),
        ("a", "x,y"),
        ("a", "x\\y"),
        ("a", "x\"y"),
        ("a", "\""),
        ("a", "ä"),
        ("a", "x\r\nSet-Cookie: b=c"),
        ("a", "\0"),
        ("a", &long),
    ] {
        assert!(text(&Cookie::new(name, value)).is_err(), "{name}={value}");
    }
    for path in ["", "x", "/;Domain=evil", "/\r\n", "/ä"] {
        assert!(text(&Cookie::new("a", "b").path(path)).is_err(), "{path:?}");
    }
    for valid in ["", "\"\"", "\"x\"", "x=y", "!#$%&'()*+-./:<=>?@[]^_`{|}~"] {
        assert!(text(&Cookie::new("a", valid)).is_ok(), "{valid}");
    }
}

#[test]
fn attributes_that_browsers_require_are_checked() {
    let open = |name: &str| Cookie::new(name, "v").secure(false);
    assert!(text(&open("a")).is_ok());
    assert!(text(&open("a").same_site(SameSite::None)).is_err());
    for name in ["__Host-a", "__secure-a"] {
        assert!(text(&open(name)).is_err(), "{name}");
        assert!(text(&Cookie::new(name, "v")).is_ok(), "{name}");
    }
    assert!(text(&Cookie::new("__Host-a", "v").path("/x")).is_err());
    assert!(text(&Cookie::new("__Secure-a", "v").path("/x")).is_ok());
}

#[test]
fn value_is_not_shown() {
    let shown = format!("{:?}", Cookie::new("session", "s3cret"));
    assert!(
        shown.contains("session") && !shown.contains("s3cret"),
        "{shown}"
    );
}

#[test]
fn cookie_is_found_by_its_exact_name() {
    let lines: [&[u8]; 2] = [
        b"ab=2; xa=7; a=1;b = 3 ;noname;=empty; c=; d=x=y; a=second; q=\"v\"",
        b"e=5;\tf=\xff; f=6",
    ];
    let request = request(&lines).expect("a request");
    for (name, value) in [
        ("a", Some("1")),
        ("ab", Some("2")),
        ("b", Some("3")),
        ("c", Some("")),
        ("d", Some("x=y")),
        ("e", Some("5")),
        // The first one is not UTF-8, and hides nothing else.
        ("f", Some("6")),
        ("q", Some("\"v\"")),
        ("A", None),
        ("noname", None),
        ("Cookie", None),
    ] {
        assert_eq!(request.cookie(name), value, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_cookies_come_back_unchanged(
        pairs in prop::collection::btree_map(
            "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}",
            "[!#-+--:<-\\[\\]-~]{0,12}",
            1..8,
        ),
    ) {
        let mut line = String::new();
        for (name, value) in &pairs {
            let header = text(&Cookie::new(name, value)).expect("a valid cookie");
            let pair = header.split("; ").next().expect("a pair").to_owned();
            line += if line.is_empty() { "" } else { "; " };
            line += &pair;
        }
        let request = request(&[line.as_bytes()]).expect("a request");
        for (name, value) in &pairs {
            prop_assert_eq!(request.cookie(name), Some(&**value));
        }
    }

    #[test]
    fn any_cookie_header_is_read_safely(
        line in prop::collection::vec(
            prop_oneof![Just(b';'), Just(b'='), Just(b'a'), Just(b' '), any::<u8>()],
            0..40,
        ),
    ) {
        // A line with a control character is refused with its head.
        if let Some(request) = request(&[&line]) {
            for name in ["a", "", "aa", " a"] {
                if let Some(value) = request.cookie(name) {
                    prop_assert!(!value.contains(';') && !name.is_empty());
                    let mut parts = line.windows(value.len().max(1));
                    prop_assert!(value.is_empty() || parts.any(|part| part == value.as_bytes()));
                }
            }
        }
    }

    #[test]
    fn no_text_adds_a_line_or_an_attribute(name in ".{0,8}", value in ".{0,12}", path in ".{0,8}") {
        if let Ok(text) = text(&Cookie::new(name, value).path(path)) {
            prop_assert!(!text.contains(['\r', '\n', '\0']));
            prop_assert_eq!(text.matches(';').count(), 4);
        }
    }
}

//! Which requests [`Rules`] lets in, with the table `corpus/origins.txt`.

use super::*;

/// Returns the outcome for a request that arrived on a TCP listener on all addresses.
fn verdict(rules: &Rules, origin: &str, host: &str) -> String {
    verdict_on(&Arc::default(), rules, origin, host)
}

/// The outcome is the same for an upgrade and for unsafe methods. A plain GET is answered although its origin is not
/// allowed, and the handler can see that it is not.
fn verdict_on(arrival: &Arc<Arrival>, rules: &Rules, origin: &str, host: &str) -> String {
    let origin = match origin {
        "-" => String::new(),
        "\"\"" => "Origin:\r\n".into(),
        origin => format!("Origin: {origin}\r\n"),
    };
    let judged = |method: &str, headers: &str| {
        let head = format!("{method} / HTTP/1.1\r\nHost: {host}\r\n{origin}{headers}\r\n");
        outcome(head.as_bytes(), 4096, |request| {
            request.set_arrival(Arc::clone(arrival), None);
            let judged = rules.judge(request).map(|()| "in".into());
            let is_foreign = matches!(&judged, Err((reply, _)) if reply.code() == 403);
            assert!(!(is_foreign && request.has_allowed_origin()), "{head}");
            match judged {
                Ok(_) if !request.has_allowed_origin() => Ok("answered".into()),
                judged => judged,
            }
        })
    };
    let verdict = judged("GET", "Upgrade: h2c, WebSocket\r\n");
    for method in ["POST", "PUT", "PATCH", "DELETE", "BREW", "get"] {
        assert_eq!(judged(method, ""), verdict, "{method} {origin}");
    }
    let plain = match &*verdict {
        "403" if !arrival.same_origin_only => "answered",
        verdict => verdict,
    };
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        assert_eq!(judged(method, ""), plain, "{method} {origin}");
    }
    verdict
}

#[test]
fn origins_are_compared_part_by_part() {
    let allowed = [
        "https://app.example",
        "both.example",
        "dev.example:3000",
        "https://*.wild.example",
        "*.any.example:8443",
        "chrome-extension://abcdefgh",
    ];
    let config = Config::default().origin(allowed.map(String::from).to_vec());
    let rules = Rules::new(&config).expect("rules");
    let open = Rules::new(&config.allow_any_origin(true)).expect("rules");
    let table = table(include_str!("../corpus/origins.txt"));
    assert!(table.len() >= 75, "{} lines", table.len());
    for (want, line) in table {
        let (origin, host) = line.trim().split_once(' ').expect("an origin and a host");
        assert_eq!(verdict(&rules, origin, host.trim()), want, "{line}");
        assert_eq!(verdict(&open, origin, host.trim()), "in", "{line}");
    }
}

#[test]
fn loopback_listener_accepts_only_known_hosts() {
    let allowed = [
        "https://app.example",
        "*.wild.example:8443",
        "chrome-extension://abc",
    ];
    let config = Config::default().origin(allowed.map(String::from).to_vec());
    let open = Rules::new(&config.clone().allow_any_origin(true)).expect("rules");
    let rules = Rules::new(&config).expect("rules");
    for (want, host) in [
        ("in", "localhost"),
        ("in", "LOCALHOST:9000"),
        ("in", "app.localhost:9000"),
        ("in", "127.0.0.1:9000"),
        ("in", "127.255.0.3"),
        ("in", "[::1]:9000"),
        ("in", "app.example"),
        ("in", "app.example:9000"),
        ("in", "x.wild.example"),
        ("421", "wild.example"),
        ("421", "abc"),
        ("421", "evil.com"),
        ("421", "evil.com:9000"),
        ("421", "localhost.evil.com"),
        ("421", "127.0.0.1.evil.com"),
        ("421", "notlocalhost"),
        ("421", "10.0.0.1"),
        ("421", "0.0.0.0"),
        ("421", "[::]"),
        ("421", "[2001:db8::1]"),
        ("421", "localhost."),
    ] {
        assert_eq!(verdict_on(&loopback(), &open, "-", host), want, "{host}");
        let origin = format!("http://{host}");
        assert_eq!(
            verdict_on(&loopback(), &open, &origin, host),
            want,
            "{host}"
        );
        assert_eq!(verdict(&rules, "-", host), "in", "{host}");
    }
    let without_host = outcome(b"GET /healthz HTTP/1.0\r\n\r\n", 4096, |request| {
        request.set_arrival(loopback(), None);
        open.judge(request).map(|()| "in".into())
    });
    assert_eq!(without_host, "in", "an HTTP/1.0 request may have no Host");
}

#[test]
fn same_origin_listener_ignores_allowed_origins() {
    let config = Config::default()
        .origin(vec!["https://app.example".into()])
        .allow_any_origin(true);
    let rules = Rules::new(&config).expect("rules");
    let listener = |loopback_host| {
        Arc::new(Arrival {
            loopback_host,
            same_origin_only: true,
            ..Arrival::default()
        })
    };
    for (loopback, public, origin, host) in [
        ("in", "in", "-", "127.0.0.1:9000"),
        ("in", "in", "http://127.0.0.1:9000", "127.0.0.1:9000"),
        ("403", "403", "https://app.example", "127.0.0.1:9000"),
        ("403", "403", "https://evil.com", "127.0.0.1:9000"),
        ("421", "in", "-", "app.example"),
        ("421", "in", "https://app.example", "app.example"),
        ("421", "403", "https://evil.com", "app.example"),
    ] {
        let verdict = |loopback_host| verdict_on(&listener(loopback_host), &rules, origin, host);
        assert_eq!(verdict(true), loopback, "{origin} to {host} on loopback");
        assert_eq!(verdict(false), public, "{origin} to {host}");
    }
}

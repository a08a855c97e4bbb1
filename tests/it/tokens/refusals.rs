//! Which requests are refused, and what the log and the answers show.

use super::*;
use crate::support::get;

#[test]
fn signed_token_is_accepted_in_three_ways() {
    let server = Server::start("jwt-ways", &[]);
    let token = valid(json!({"sub": "ann"}));
    for path in ["/ws/t", "/echo", "/ws"] {
        for (query, header) in [
            (format!("?token={token}"), "X-Nothing: here".into()),
            (String::new(), format!("Authorization: Bearer {token}")),
            (
                String::new(),
                format!("Sec-WebSocket-Protocol: standpipe.raw, bearer.{token}"),
            ),
        ] {
            let client = server
                .spawned
                .client(&format!("{path}{query}"))
                .header(&header);
            let client = match path {
                "/ws" => client.header("Sec-WebSocket-Protocol: standpipe.v1"),
                _ => client,
            };
            let answer = client.request().1;
            assert_eq!(answer.status, 101, "{path} {header}: {answer:?}");
            let selected = answer.header("sec-websocket-protocol").unwrap_or_default();
            assert!(!selected.contains(&token), "{selected}");
        }
    }
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for path in ["/topics/t/history", "/topics/t/presence"] {
        assert_eq!(
            get(server.spawned.addr(), path, &bearer).status,
            200,
            "{path}"
        );
        assert_eq!(get(server.spawned.addr(), path, "").status, 401, "{path}");
        assert_eq!(
            get(server.spawned.addr(), path, KEY).status,
            200,
            "{path}, as admin"
        );
    }
    assert_eq!(server.spawned.get("/healthz").status, 200);
}

#[test]
fn t52_each_refusal_has_its_reason_in_the_log() {
    let flags = ["-v", "--jwt-issuer", "us", "--jwt-audience", "hub"];
    let server = Server::start("jwt-reasons", &flags);
    let exp = now() + 60;
    let claims = json!({"exp": exp, "iss": "us", "aud": "hub"});
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        token(&claims)
    };
    assert_eq!(server.status("/echo", &token(&claims)), 101);
    let none = BASE64URL_NOPAD.encode(br#"{"alg":"none"}"#);
    let payload = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
    for (refused, reason) in [
        (
            token(&json!({"iss": "us", "aud": "hub"})),
            "the token has no exp",
        ),
        (
            with("exp", (exp * 1000).into()),
            "the token's exp must be a number of seconds since 1970",
        ),
        (with("exp", (now() - 31).into()), "the token has expired"),
        (
            with("nbf", (exp + 60).into()),
            "the token is not valid yet (nbf)",
        ),
        (with("iss", "them".into()), "the token has another issuer"),
        (
            with("aud", "them".into()),
            "the token is for another audience",
        ),
        (with("sub", "".into()), "the token's sub must be a name"),
        (
            with("topics", "*".into()),
            "the token's topics must be an object",
        ),
        (
            token_by("another secret of more than 32 bytes..", &claims),
            "the token's signature is wrong",
        ),
        (
            format!("{none}.{payload}."),
            "the token is not signed (alg is none)",
        ),
        ("A".repeat(9000), "the token has more than 8192 bytes"),
        ("t0ken".into(), "the token is neither known nor signed"),
    ] {
        let bearer = format!("Authorization: Bearer {refused}\r\n");
        let answer = get(server.spawned.addr(), "/echo", &bearer);
        assert_eq!(answer.status, 401, "{reason}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.body, "the token is not valid\n", "{reason}");
        server.until_logged(&format!("GET /echo: 401, {reason}"));
        let log = server.spawned.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(reason)).collect();
        assert!(
            matches!(lines[..], [line] if line.contains('#')),
            "{lines:?}"
        );
        assert!(refused.len() < 20 || !log.contains(&refused[..20]), "{log}");
    }
}

#[test]
fn t52b_token_without_exp_is_refused() {
    let server = Server::start("jwt-exp", &[]);
    assert_eq!(server.status("/echo", &token(&json!({"sub": "ann"}))), 401);
    assert_eq!(server.status("/echo", &token(&json!({"exp": null}))), 401);
    assert_eq!(server.status("/echo", &valid(json!({}))), 101);
}

#[test]
fn t52c_leeway_applies_to_both_ends() {
    let server = Server::start("jwt-leeway", &[]);
    // A second later, a token that was valid may have expired: `now` is read for each token.
    for (name, seconds, status) in [
        ("exp", -28, 101),
        ("exp", -31, 401),
        ("nbf", 29, 101),
        ("nbf", 32, 401),
    ] {
        let date = now().checked_add_signed(seconds).unwrap();
        let mut claims = json!({"exp": now() + 60});
        claims[name] = date.into();
        assert_eq!(
            server.status("/echo", &token(&claims)),
            status,
            "{name} {seconds}"
        );
    }
}

#[test]
fn only_the_first_signed_token_is_verified() {
    let server = Server::start("jwt-first", &[]);
    let right = valid(json!({}));
    let wrong = token_by(
        "another secret of more than 32 bytes..",
        &json!({"exp": now() + 60}),
    );
    let offers = |tokens: &[&String]| {
        let all: Vec<String> = tokens
            .iter()
            .map(|token| format!("bearer.{token}"))
            .collect();
        let client = server.spawned.client("/echo");
        client
            .header(&format!("Sec-WebSocket-Protocol: {}", all.join(", ")))
            .request()
            .1
            .status
    };
    assert_eq!(offers(&[&right, &wrong]), 101);
    assert_eq!(offers(&[&wrong, &right]), 401);
}

#[test]
fn t52e_token_is_shown_nowhere() {
    const CANARY: &str = "canary-7d21";
    let secret = File::new("jwt-canary-secret", SECRET);
    let tokens = File::new("jwt-canary-tokens", "st4tic-7d21");
    let mut command = standpipe(&[
        "-vv",
        "--jwt-hmac-file",
        secret.path(),
        "--token-file",
        tokens.path(),
    ]);
    command.env("RUST_LOG", "trace");
    let mut spawned = Spawned::of(command);
    let address = spawned.addr();
    // The canary is in the claims, so every token contains its encoding.
    let with = |exp: u64| token(&json!({"exp": exp, "sub": "ann", "x": CANARY}));
    let (right, expired) = (with(now() + 600), with(now() - 600));
    let (claims, signature) = (
        right.split('.').nth(1).unwrap(),
        right.split('.').nth(2).unwrap(),
    );
    let hidden = [
        claims,
        signature,
        expired.split('.').nth(2).unwrap(),
        CANARY,
        SECRET,
        "st4tic-7d21",
    ];
    let mut clients = Vec::new();
    for (token, status) in [
        (&*right, 101),
        (&expired, 401),
        ("st4tic-7d21", 101),
        ("st4tic-7d21x", 401),
    ] {
        for (query, header) in [
            (format!("?token={token}"), "X-Nothing: here".into()),
            (String::new(), format!("Authorization: Bearer {token}")),
            (
                String::new(),
                format!("Sec-WebSocket-Protocol: standpipe.v1, bearer.{token}"),
            ),
        ] {
            let path = format!("/ws/topic{query}");
            let (client, answer) = spawned.client(&path).header(&header).request();
            assert_eq!(answer.status, status, "{path} {header}");
            let shown = format!("{answer:?}");
            assert!(
                !hidden.iter().any(|secret| shown.contains(secret)),
                "{shown}"
            );
            clients.push(client);
        }
    }
    let mut json = JsonClient::at(address, &format!("/ws?token={right}"));
    for renewed in [&right, &expired] {
        // As a client may write it, with an escape in the name.
        let texts = [
            json!({"token": renewed, "ref": 1}).to_string(),
            format!(r#"{{ "ref":1, "to\u006ben" : "{renewed}"}}"#),
        ];
        for text in &texts[..if renewed == &right { 2 } else { 1 }] {
            let answer = json.request(text).to_string();
            assert!(
                !hidden.iter().any(|secret| answer.contains(secret)),
                "{answer}"
            );
        }
    }
    json.send("a text that the level trace shows");
    json.receive();
    for path in [
        "/",
        "/metrics",
        "/topics",
        "/debug/clients",
        "/dashboard",
        "/topics/topic/presence?token=st4tic-7d21",
    ] {
        let shown = format!("{:?}", spawned.get(path));
        assert!(
            !hidden.iter().any(|secret| shown.contains(secret)),
            "{path}"
        );
    }
    drop((clients, json));
    spawned.signal(&["HUP", "TERM"]);
    spawned.end();
    let (log, printed) = (spawned.log(), spawned.printed());
    assert!(log.contains("a text that the level trace shows"), "{log}");
    assert!(
        log.contains("not shown because it may have a token"),
        "{log}"
    );
    for secret in hidden {
        assert!(!log.contains(secret), "{secret} is in {log}");
        assert!(!printed.contains(secret), "{secret} is in {printed}");
    }
}

#[test]
fn t44_no_warning_when_signed_tokens_are_required() {
    let secret = File::new("jwt-warning", SECRET);
    let keys = File::new("jwt-warning-keys", "k3y");
    let common = [
        "--listen",
        "0.0.0.0:0",
        "--publish-key-file",
        keys.path(),
        "--topic",
        "a:publish=token",
    ];
    let log = |flags: &[&str]| {
        let mut spawned = Spawned::of(standpipe(&[&common, flags].concat()));
        spawned.signal(&["TERM"]);
        spawned.end();
        spawned.log()
    };
    let without = log(&[]);
    assert!(
        without.contains("without a token") && without.contains("no client has one"),
        "{without}"
    );
    let with = log(&["--jwt-hmac-file", secret.path()]);
    assert!(!with.contains("WARN"), "{with}");
}

#[test]
fn short_secret_is_warned_of() {
    let server = Server::start("jwt-short", &[]);
    assert!(
        !server.spawned.log().contains("WARN"),
        "{}",
        server.spawned.log()
    );
    server.secret.write("hunter2");
    server.spawned.signal(&["HUP"]);
    server.until_logged("a secret for signed tokens has only 7 bytes");
    assert!(!server.spawned.log().contains("hunter2"));
}

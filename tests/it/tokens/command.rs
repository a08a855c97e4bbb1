//! `standpipe token`.

use std::io::Write;
use std::process::{Output, Stdio};

use super::*;
use crate::binary;

fn run(flags: &[&str]) -> Output {
    binary::standpipe(&[&["token"], flags].concat())
        .output()
        .unwrap()
}

#[track_caller]
fn printed(flags: &[&str]) -> String {
    let output = run(flags);
    assert!(output.status.success(), "{flags:?}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Returns the path of a key in `tests/keys`.
fn key(name: &str) -> String {
    format!("{}/tests/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn made_token_opens_a_connection() {
    let server = Server::start("jwt-made", &[]);
    let secret = server.secret.path();
    let limited = printed(&[
        "--hmac-file",
        secret,
        "--sub",
        "ann",
        "--subscribe",
        "chat-*",
        "--subscribe",
        "news",
        "--publish",
        "chat-42",
        "--expires",
        "1h",
    ]);
    let mut client = server.json(&limited);
    client.subscribe("chat-1");
    client.subscribe("news");
    assert_eq!(
        client.request(r#"{"pub":"chat-42","data":1,"ref":1}"#)["ack"],
        1
    );
    assert!(client.request(r#"{"pub":"chat-1","data":1,"ref":2}"#)["error"].is_string());
    let all = printed(&["--hmac-file", secret]);
    assert_eq!(server.status("/ws/any", &all), 101);
}

#[test]
fn made_token_is_valid_for_each_kind_of_key() {
    for name in ["rsa", "p256", "ed25519"] {
        let token = printed(&[
            "--private-key-file",
            &key(name),
            "--sub",
            "ann",
            "--kid",
            "k1",
        ]);
        let public = key(&format!("{name}_public"));
        let spawned = Spawned::of(standpipe(&["--jwt-public-key-file", &public]));
        let client = spawned
            .client("/echo")
            .header(&format!("Authorization: Bearer {token}"));
        assert_eq!(client.request().1.status, 101, "{name}");
        let explained = printed(&["--check", &token, "--public-key-file", &public]);
        assert!(explained.contains("valid: user ann"), "{explained}");
    }
}

#[test]
fn check_explains_a_token_and_fails_if_it_is_not_valid() {
    let secret = File::new("jwt-check", SECRET);
    let keys = ["--hmac-file", secret.path()];
    let check = |token: &str, flags: &[&str]| {
        let output = run(&[&keys, flags, &["--check", token]].concat());
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), out, err)
    };
    let right = valid(json!({"sub": "ann", "aud": "hub", "topics": {"publish": ["a"]}}));
    let (code, out, _) = check(&right, &[]);
    assert_eq!(code, Some(0), "{out}");
    for part in [
        "\"alg\":\"HS256\"",
        "\"sub\":\"ann\"",
        "exp: ",
        " GMT, in 3",
        "valid: user ann",
    ] {
        assert!(out.contains(part), "{part} is not in {out}");
    }
    for (token, flags, reason) in [
        (&right, vec!["--issuer", "us"], "the token has no iss"),
        (
            &right,
            vec!["--audience", "other"],
            "the token is for another audience",
        ),
        (
            &format!("{right}A"),
            vec![],
            "the token's signature is wrong",
        ),
        (
            &token(&json!({"exp": now() - 60})),
            vec![],
            "the token has expired",
        ),
        (&token(&json!({})), vec![], "the token has no exp"),
        (
            &"x".to_owned(),
            vec![],
            "the token is neither known nor signed",
        ),
    ] {
        let (code, out, err) = check(token, &flags);
        assert_eq!(code, Some(1), "{reason}: {out}");
        assert!(err.starts_with(&format!("not valid: {reason}")), "{err}");
        assert!(!out.contains("valid: user"), "{out}");
    }
    let (_, out, _) = check(
        &token(&json!({"exp": now() - 60, "x": "\u{202e}\u{9b}"})),
        &[],
    );
    assert!(out.contains(" s ago") && out.contains("\\u{202e}"), "{out}");
    // Without a key, nothing is verified.
    let output = run(&["--check", &right]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("not verified: "));
}

#[test]
fn token_is_read_from_standard_input() {
    let secret = File::new("jwt-stdin", SECRET);
    let mut command = binary::standpipe(&["token", "--hmac-file", secret.path(), "--check", "-"]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let token = format!("{}\n", valid(json!({})));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(token.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn wrong_flags_are_refused() {
    let secret = File::new("jwt-flags", SECRET);
    for (flags, code) in [
        (vec![], 1),
        (vec!["--hmac-file", "no/such/file"], 1),
        (vec!["--hmac-file", secret.path(), "--expires", "0s"], 2),
        (vec!["--hmac-file", secret.path(), "--sub", ""], 2),
        (vec!["--private-key-file", secret.path()], 1),
        (
            vec!["--hmac-file", secret.path(), "--check", "x", "--sub", "ann"],
            2,
        ),
    ] {
        let output = run(&flags);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let public = run(&["--private-key-file", &key("rsa_public")]);
    assert_eq!(public.status.code(), Some(1), "{public:?}");
}

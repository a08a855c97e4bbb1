//! Keys are replaced by SIGHUP while clients are connected.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

const NEW: &str = "another secret of more than 32 bytes..";

/// Returns a set of JWKs with these secrets.
fn jwks(secrets: &[&str]) -> String {
    let keys: Vec<Value> = secrets
        .iter()
        .map(|secret| json!({"kty": "oct", "k": BASE64URL_NOPAD.encode(secret.as_bytes())}))
        .collect();
    json!({"keys": keys}).to_string()
}

fn by(secret: &str) -> String {
    token_by(secret, &json!({"exp": now() + 600, "sub": "ann"}))
}

#[track_caller]
fn reload(spawned: &Spawned, expected: &str) {
    let before = spawned.log().matches(expected).count();
    spawned.signal(&["HUP"]);
    until("SIGHUP has been handled", || {
        spawned.log().matches(expected).count() > before
    });
}

#[test]
fn t52d_keys_rotate_without_a_refused_client() {
    let file = File::new("jwt-rotate", &jwks(&[SECRET]));
    let spawned = Spawned::of(standpipe(&["--jwks-file", file.path()]));
    let status = |token: &str| {
        let client = spawned.client("/echo");
        client
            .header(&format!("Authorization: Bearer {token}"))
            .request()
            .1
            .status
    };
    let connect = |token: &str| JsonClient::at(spawned.addr(), &format!("/ws?token={token}"));
    let mut early = connect(&by(SECRET));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Clients connect all the time, each with a token of the key that is valid then.
        let newcomers = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Acquire) || count < 20 {
                // The set has one of them at any time.
                let statuses = [status(&by(SECRET)), status(&by(NEW))];
                assert!(statuses.contains(&101), "{statuses:?}");
                count += 1;
            }
        });
        file.write(&jwks(&[SECRET, NEW]));
        reload(&spawned, "SIGHUP: reloaded");
        assert_eq!([status(&by(SECRET)), status(&by(NEW))], [101, 101]);
        file.write(&jwks(&[NEW]));
        reload(&spawned, "SIGHUP: reloaded");
        assert_eq!([status(&by(SECRET)), status(&by(NEW))], [401, 101]);
        is_over.store(true, Ordering::Release);
        newcomers.join().unwrap();
    });
    // The client with the removed key stays. Only the new key renews its token.
    early.assert_idle();
    assert_eq!(
        renew(&mut early, &by(SECRET))["error"],
        "forbidden: the token is not valid"
    );
    assert_eq!(renew(&mut early, &by(NEW))["ack"], "renew");
    early.assert_idle();
}

#[test]
fn t52d_truncated_key_file_changes_nothing() {
    let first = File::new("jwt-broken-1", &jwks(&[SECRET]));
    let second = File::new("jwt-broken-2", SECRET);
    let flags = [
        "--jwks-file",
        first.path(),
        "--jwt-hmac-file",
        second.path(),
    ];
    let spawned = Spawned::of(standpipe(&flags));
    let status = |token: &str| {
        let client = spawned.client("/echo");
        client
            .header(&format!("Authorization: Bearer {token}"))
            .request()
            .1
            .status
    };
    let set = jwks(&[NEW]);
    first.write(&set[..set.len() - 9]);
    second.write("");
    reload(&spawned, "old values of a file stay in force");
    let log = spawned.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    let names_both = |line: &str| line.contains(first.path()) && line.contains(second.path());
    assert!(matches!(errors[..], [line] if names_both(line)), "{log}");
    assert_eq!([status(&by(SECRET)), status(&by(NEW))], [101, 401]);
    // A file that can be read is used, although another one cannot.
    first.write(&set);
    reload(&spawned, "old values of a file stay in force");
    assert_eq!([status(&by(SECRET)), status(&by(NEW))], [101, 101]);
}

#[test]
fn t52d_client_of_a_removed_key_ends_with_its_token() {
    let server = Server::start("jwt-removed", &["--jwt-leeway", "0s"]);
    let mut client = server.json(&token(&json!({"exp": now() + 3})));
    server.secret.write(NEW);
    reload(&server.spawned, "SIGHUP: reloaded");
    client.assert_idle();
    client.0.expect_close(4001);
}

#[test]
fn unreadable_key_file_is_refused_at_start() {
    let empty = File::new("jwt-empty", "");
    for flag in ["--jwt-hmac-file", "--jwt-public-key-file", "--jwks-file"] {
        for path in [empty.path(), "no/such/file"] {
            let (code, stderr) = crate::binary::run(&["--listen", "127.0.0.1:0", flag, path]);
            assert_eq!(code, Some(1), "{stderr}");
            assert!(stderr.contains(path), "{stderr}");
        }
    }
}

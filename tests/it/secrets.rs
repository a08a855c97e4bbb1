//! Tokens and keys from files.

use std::path::PathBuf;

use crate::binary::Binary;
use crate::support::{Connect, JsonClient, TestClient, get, post, until};
use crate::threats::spawned::{Spawned, standpipe};

/// A file with secrets. It is deleted when this is dropped.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str, secrets: &str) -> File {
        let name = format!("standpipe-it-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, secrets).unwrap();
        File(path)
    }

    pub(crate) fn write(&self, secrets: &str) {
        std::fs::write(&self.0, secrets).unwrap();
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns the statuses of two admin requests.
#[track_caller]
fn admin_statuses(binary: &Binary, headers: &str) -> [u16; 2] {
    let address = binary.address;
    [
        post(address, "/publish/t", headers, "x").status,
        get(address, "/debug/clients", headers).status,
    ]
}

#[test]
fn publishing_with_a_key_works_from_any_address() {
    let keys = File::new("keys", "first\n\n  second \n");
    let binary = Binary::start(&["--publish-key-file", keys.path()]);
    for wrong in [
        "",
        "Authorization: Bearer third\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer firs\r\n",
        "Authorization: Bearer first second\r\n",
        "Authorization: Basic first\r\n",
        "Authorization: first\r\n",
    ] {
        assert_eq!(admin_statuses(&binary, wrong), [401; 2], "{wrong:?}");
    }
    let refused = post(binary.address, "/publish/t?token=first", "", "x");
    assert_eq!(
        refused.status, 401,
        "a key in a URL must be refused, because URLs are logged"
    );
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    for right in [
        "Authorization: Bearer first\r\n",
        "authorization: bearer second\r\n",
    ] {
        assert_eq!(admin_statuses(&binary, right), [202, 200], "{right:?}");
        let forwarded = format!("{right}X-Forwarded-For: 192.0.2.1\r\n");
        assert_eq!(admin_statuses(&binary, &forwarded), [202, 200]);
    }
    // The key is only for publishing over HTTP. Clients need no key.
    TestClient::connect(binary.address, "/ws/t").leave();
}

/// Starts the binary with one token and one key. `name` is the beginning of the names of their files, which are removed
/// after the start.
#[track_caller]
pub(crate) fn start_with_secrets(name: &str, token: &str, key: &str) -> Binary {
    let tokens = File::new(&format!("{name}-tokens"), token);
    let keys = File::new(&format!("{name}-keys"), key);
    Binary::start(&[
        "--token-file",
        tokens.path(),
        "--publish-key-file",
        keys.path(),
    ])
}

#[test]
fn clients_can_send_a_token_in_three_ways() {
    let binary = start_with_secrets("three-ways", "s3cret", "k3y");
    let address = binary.address;
    let wrong = [
        ("", "X-Nothing: here"),
        ("?token=s3cre", "X-Nothing: here"),
        ("?token=", "X-Nothing: here"),
        ("", "Authorization: Bearer s3crets"),
        ("", "Sec-WebSocket-Protocol: standpipe.v1, bearer.S3CRET"),
        ("", "Sec-WebSocket-Protocol: s3cret"),
    ];
    let right = [
        ("?token=s3cret", "X-Nothing: here"),
        ("", "Authorization: Bearer s3cret"),
        ("", "Sec-WebSocket-Protocol: bearer.s3cret, standpipe.v1"),
    ];
    for path in ["/ws/t", "/echo", "/ws"] {
        for (query, header) in wrong {
            let client = Connect::to(address).path(&format!("{path}{query}"));
            let (_, answer) = client.header(header).request();
            assert_eq!(answer.status, 401, "{path} {query} {header}");
        }
    }
    for (query, header) in right {
        for path in ["/ws/t", "/echo"] {
            let client = Connect::to(address).path(&format!("{path}{query}"));
            let (_, answer) = client.header(header).request();
            assert_eq!(answer.status, 101, "{path} {query} {header}");
        }
    }
    // The subprotocol in the response is not the token.
    let client = Connect::to(address).path("/ws");
    let (_, answer) = client.header(right[2].1).request();
    assert_eq!(
        answer.header("sec-websocket-protocol"),
        Some("standpipe.v1")
    );
    drop(JsonClient::at(address, "/ws?token=s3cret"));

    let bearer = "Authorization: Bearer s3cret\r\n";
    for path in ["/topics/t/history", "/topics/t/presence"] {
        assert_eq!(get(address, path, "").status, 401);
        assert_eq!(get(address, path, bearer).status, 200);
    }
    // The health check needs no token.
    assert_eq!(get(address, "/healthz", "").status, 200);
}

#[test]
fn comments_and_byte_order_mark_are_no_secrets() {
    let tokens = File::new("bom", "\u{feff}first\n# revoked:\n#old\nsecond\n");
    let binary = Binary::start(&["--token-file", tokens.path()]);
    for (token, status) in [
        ("first", 101),
        ("second", 101),
        ("old", 401),
        ("#old", 401),
        ("# revoked:", 401),
    ] {
        let client = Connect::to(binary.address).path("/echo");
        let bearer = format!("Authorization: Bearer {token}");
        let answer = client.header(&bearer).request().1;
        assert_eq!(answer.status, status, "{token}");
    }
    binary.signal("TERM");
    let (_, _, log) = binary.end();
    let line = format!("number of tokens read from {}: 2", tokens.path());
    assert!(log.contains(&line), "{log}");
}

#[test]
fn file_without_a_secret_is_refused_at_start() {
    let empty = File::new("empty", "\n  \n# a comment\n");
    for flag in ["--token-file", "--publish-key-file"] {
        let run = |file| crate::binary::run(&["--listen", "127.0.0.1:0", flag, file]);
        let (code, stderr) = run(empty.path());
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(empty.path()), "{stderr}");
        let (code, stderr) = run("no/such/file");
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("no/such/file"), "{stderr}");
    }
}

#[test]
fn hangup_reads_the_secret_files_again() {
    let tokens = File::new("reload-tokens", "old\n");
    let keys = File::new("reload-keys", "old-key\n");
    let flags = [
        "--token-file",
        tokens.path(),
        "--publish-key-file",
        keys.path(),
    ];
    let spawned = Spawned::of(standpipe(&flags));
    let client = |token: &str| {
        let client = spawned.client("/ws/t");
        client.header(&format!("Authorization: Bearer {token}"))
    };
    let status = |token: &str| client(token).request().1.status;
    let publish = |key: &str| {
        let bearer = format!("Authorization: Bearer {key}\r\n");
        post(spawned.addr(), "/publish/t", &bearer, "x").status
    };
    let mut member = client("old").connect();
    tokens.write("# rotated\nnew\n");
    keys.write("new-key\n");
    assert_eq!(
        (status("old"), status("new")),
        (101, 401),
        "without a signal"
    );
    spawned.signal(&["HUP"]);
    until("the files have been read again", || {
        spawned.log().contains("SIGHUP: reloaded")
    });
    assert_eq!((status("old"), status("new")), (401, 101));
    assert_eq!((publish("old-key"), publish("new-key")), (401, 202));
    // A client that is connected stays.
    member.read_message();
    member.text("still connected");
    member.expect_text("still connected");
    // A file without a secret leaves the old ones in force, and does not keep the other file from being read.
    tokens.write("# all revoked\n");
    keys.write("newest-key\n");
    spawned.signal(&["HUP"]);
    until("the error is logged", || {
        spawned.log().contains("old values of a file stay in force")
    });
    let log = spawned.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(
        matches!(errors[..], [error] if error.contains(tokens.path())),
        "{log}"
    );
    assert_eq!((status("old"), status("new")), (401, 101));
    assert_eq!((publish("new-key"), publish("newest-key")), (401, 202));
}

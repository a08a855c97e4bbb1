//! Tests with the tables in `corpus/`: heads, targets, origins and handshakes. Each line of a table contains the
//! expected outcome.

mod origins;

use super::reply::Refusal;
use std::io::{self, Read};
use std::sync::Arc;

use super::*;
use crate::Config;

/// A stream that returns up to a given number of bytes in one read.
struct SmallReads<'a>(&'a [u8], usize);

impl Read for SmallReads<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (now, later) = self.0.split_at(self.0.len().min(self.1).min(buffer.len()));
        self.0 = later;
        buffer[..now.len()].copy_from_slice(now);
        Ok(now.len())
    }
}

/// Returns the lines of a table, without comments. Each line is split into its first word and the rest.
fn table(text: &str) -> Vec<(&str, &str)> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .collect()
}

/// Returns the bytes of a text with Rust's escapes. `{n*x}` stands for `n` times `x`.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let repeat = || {
            let (inside, after) = rest.strip_prefix('{')?.split_once('}')?;
            let (times, what) = inside.split_once('*')?;
            Some((times.parse().ok()?, what, after))
        };
        if let Some((times, what, after)) = repeat() {
            bytes.extend(self::bytes(what).repeat(times));
            rest = after;
            continue;
        }
        let (byte, consumed) = match (c, rest.as_bytes().get(1)) {
            ('\\', Some(b'r')) => (b'\r', 2),
            ('\\', Some(b'n')) => (b'\n', 2),
            ('\\', Some(b't')) => (b'\t', 2),
            ('\\', Some(b'0')) => (0, 2),
            ('\\', Some(b'x')) => (u8::from_str_radix(&rest[2..4], 16).expect("\\xNN"), 4),
            ('\\', _) => panic!("unknown escape: {rest:?}"),
            (c, _) => (u8::try_from(c).expect("the tables are ASCII"), 1),
        };
        bytes.push(byte);
        rest = &rest[consumed..];
    }
    bytes
}

/// A client on this machine.
fn near() -> Peer {
    Peer::Tcp(([127, 0, 0, 1], 1).into())
}

fn read_from(head: &[u8], read_size: usize, peer: Peer) -> Result<Request, HeadError> {
    let mut stream = SmallReads(head, read_size);
    read_head(&mut stream, Vec::new(), peer).map(|(request, _)| request)
}

fn read(head: &[u8], read_size: usize) -> Result<Request, HeadError> {
    read_from(head, read_size, near())
}

/// Returns the outcome for a head: the result of `decide` for a request that could be read, or else the status.
fn outcome(
    head: &[u8],
    read_size: usize,
    decide: impl Fn(&mut Request) -> Result<String, Refusal>,
) -> String {
    let result = match read(head, read_size) {
        Ok(mut request) => decide(&mut request),
        Err(HeadError::Refused(reply, reason)) => Err((reply, reason)),
        Err(HeadError::Gone) => return "gone".into(),
        Err(HeadError::Io(error)) => panic!("{error}"),
    };
    result.unwrap_or_else(|(reply, reason)| {
        assert!(!reason.is_empty(), "a refusal without a reason");
        assert_complete(&reply);
        reply.code().to_string()
    })
}

/// Checks that a response has one status line, a correct length, and ends the connection.
fn assert_complete(reply: &Reply) {
    let answer = String::from_utf8(reply.to_bytes(false, After::Close)).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an empty line");
    assert!(
        head.starts_with(&format!("HTTP/1.1 {} ", reply.code())),
        "{answer}"
    );
    assert!(
        head.contains(&format!("\r\nContent-Length: {}", body.len())),
        "{answer}"
    );
    assert!(head.contains("\r\nConnection: close"), "{answer}");
    assert_eq!(
        answer.matches("HTTP/1.1 ").count() - body.matches("HTTP/1.1 ").count(),
        1
    );
}

/// Checks every line of a table, with different sizes of one read.
fn check(text: &str, at_least: usize, decide: impl Fn(&mut Request) -> Result<String, Refusal>) {
    let table = table(text);
    assert!(table.len() >= at_least, "{} lines", table.len());
    for (want, head) in table {
        let raw = bytes(head);
        for read_size in [4096, 1, 2, 3, 7] {
            assert_eq!(
                outcome(&raw, read_size, &decide),
                want,
                "{read_size} bytes at a time: {head}"
            );
        }
    }
}

#[test]
fn corpus_does_not_shrink() {
    let heads = [
        include_str!("corpus/heads.txt"),
        include_str!("corpus/smuggling.txt"),
        include_str!("corpus/handshakes.txt"),
    ];
    let total: usize = heads.iter().map(|text| table(text).len()).sum();
    assert!(total >= 235, "{total} heads");
}

#[test]
fn verdict_is_independent_of_read_sizes() {
    check(include_str!("corpus/heads.txt"), 100, |_| Ok("200".into()));
}

#[test]
fn smuggling_attempts_are_refused() {
    check(include_str!("corpus/smuggling.txt"), 60, |_| {
        Ok("200".into())
    });
}

#[test]
fn handshakes_get_the_expected_status() {
    let host = "Host: localhost\r\n";
    let up = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let text = include_str!("corpus/handshakes.txt")
        .replace(
            "{get}",
            &format!("GET /ws HTTP/1.1\r\n{host}")
                .escape_default()
                .to_string(),
        )
        .replace("{ws}", "{up}{key}{13}")
        .replace("{up}", &up.escape_default().to_string())
        .replace("{key}", &key.escape_default().to_string())
        .replace("{13}", &version.escape_default().to_string());
    let rules = Rules::new(&Config::default()).expect("rules");
    check(&text, 65, |request| {
        request.set_arrival(loopback(), None);
        rules.judge(request)?;
        let accepted = accept(request, Reply::upgrade()).inspect_err(|(reply, _)| {
            let answer = String::from_utf8(reply.to_bytes(false, After::Close)).expect("text");
            let version = answer.contains("\r\nSec-WebSocket-Version: 13\r\n");
            assert_eq!(version, reply.code() == 426, "{answer}");
            assert_eq!(
                answer.contains("\r\nUpgrade: websocket\r\n"),
                reply.code() == 426
            );
            assert_eq!(
                answer.contains("\r\nAllow: GET\r\n"),
                reply.code() == 405,
                "{answer}"
            );
        })?;
        let head = String::from_utf8(accepted.head).expect("text");
        assert!(
            head.starts_with("HTTP/1.1 101 ") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        Ok("101".into())
    });
}

#[test]
fn targets_are_decoded_once() {
    let lines = include_str!("corpus/paths.txt").lines();
    let mut count = 0;
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let (target, want) = line.split_once(" =>").expect("a target and its segments");
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let routed = outcome(head.as_bytes(), 4096, |request| {
            assert_eq!(request.path(), format!("/{}", request.segments().join("/")));
            Ok(request.segments().join(" | "))
        });
        assert_eq!(routed.trim_end(), want.trim(), "{target}");
        count += 1;
    }
    assert!(count >= 70, "{count} targets");
}

/// A TCP listener on loopback.
fn loopback() -> Arc<Arrival> {
    Arc::new(Arrival {
        loopback_host: true,
        ..Arrival::default()
    })
}

#[test]
fn reason_for_the_log_is_one_short_line() {
    let rules = Rules::new(&Config::default()).expect("rules");
    let head = format!(
        "PUT / HTTP/1.1\r\nHost: localhost\r\nOrigin: \t\"{}\r\n\r\n",
        "a\t".repeat(5000)
    );
    let mut request = read(head.as_bytes(), 4096).expect("a request");
    let judged = rules.judge(&mut request);
    let (reply, reason) = judged.expect_err("not a valid origin");
    assert_eq!(reply.code(), 403);
    assert!(
        reason.len() < 250 && !reason.contains(char::is_control),
        "{reason}"
    );
}

#[test]
fn clients_text_never_gets_into_a_response_head() {
    let split = "GET /ws/a%0d%0aSet-Cookie:%20injected=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let Err(HeadError::Refused(reply, reason)) = read(split.as_bytes(), 4096) else {
        panic!("a path with a line end was accepted");
    };
    let answer = String::from_utf8(reply.to_bytes(false, After::Close)).expect("text");
    assert!(
        !answer.contains("injected") && !reason.contains("injected"),
        "{answer} {reason}"
    );

    // A handler may select a subprotocol that it takes from the query. The server sends it only if the client offered
    // it, and an offer is always a token.
    let head = "GET /ws?p=a%0d%0aX:injected HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a\r\nX-Note: injected\r\n\r\n";
    let request = read(head.as_bytes(), 4096).expect("a request");
    let wanted = request.query("p").expect("a query").to_owned();
    let accepted = accept(&request, Reply::upgrade().subprotocol(wanted)).expect("an upgrade");
    assert!(!String::from_utf8_lossy(&accepted.head).contains("injected"));
    assert_eq!(accepted.subprotocol, None);
}

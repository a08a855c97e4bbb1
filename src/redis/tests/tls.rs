//! Tests of [`ServerConnection`] over TLS, against a real server. Without `redis-server` they are skipped.

use std::path::Path;
use std::time::{Duration, Instant};

use ::redis::cmd;

use super::candidate::{Candidate, candidates};
use super::connection::{ServerConnection, ServerError, bytes};
use super::redis_server::{RedisServer, key_file};

/// Much longer than a step takes, even on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(10);

fn candidate(url: &str, authorities: &str) -> Candidate {
    let file = key_file(authorities);
    let read = candidates(url, Some(Path::new(&file)));
    read.expect("the URL and the file are valid").remove(0)
}

fn open(url: &str, authorities: &str) -> Result<ServerConnection, ServerError> {
    ServerConnection::open(&candidate(url, authorities), TIMEOUT)
}

#[track_caller]
fn refusal(url: &str, authorities: &str) -> String {
    let error = open(url, authorities).expect_err("the server is not trusted");
    assert!(matches!(error, ServerError::Broken(_)), "{error:?}");
    error.to_string()
}

#[test]
fn commands_are_answered_over_tls() {
    let Some(server) = RedisServer::start_with_tls() else {
        return;
    };
    let mut connection = open(&server.tls_url(), "ca.pem").expect("the server is trusted");
    // Many records in each direction.
    let large = "0123456789".repeat(100_000);
    let deadline = Instant::now() + TIMEOUT;
    let reply = connection.call_one(cmd("ECHO").arg(&large), deadline);
    let reply = reply.expect("the server answers");
    assert!(
        bytes(&reply) == Some(large.as_bytes()),
        "it came back changed"
    );
    let mastership = connection.mastership(deadline);
    assert!(mastership.expect("the server answers").is_master);
    let wrong = connection.call_one(&cmd("NOSUCH"), deadline);
    let wrong = wrong.expect_err("there is no such command");
    assert!(matches!(wrong, ServerError::Refused { .. }), "{wrong:?}");
}

#[test]
fn server_without_a_valid_certificate_is_refused() {
    let Some(server) = RedisServer::start_with_tls() else {
        return;
    };
    let foreign = refusal(&server.tls_url(), "other_ca.pem");
    assert!(
        foreign.contains("TLS: invalid peer certificate"),
        "{foreign}"
    );
    // An address of the same server that is not in its certificate.
    server.command(&["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2"]);
    let other_name = refusal(
        &format!("rediss://127.0.0.2:{}", server.tls_port()),
        "ca.pem",
    );
    assert!(other_name.contains("not valid for"), "{other_name}");
    // This port has no TLS.
    refusal(&format!("rediss://127.0.0.1:{}", server.port()), "ca.pem");
}

#[test]
fn password_and_database_are_sent_over_tls() {
    let Some(server) = RedisServer::start_with_tls() else {
        return;
    };
    let rules = ["ACL", "SETUSER", "hub", "on", ">s3cret", "~*", "+@all"];
    server.command(&rules);
    let url = |user: &str| server.tls_url().replace("//", &format!("//{user}@"));
    let mut connection =
        open(&format!("{}/3", url("hub:s3cret")), "ca.pem").expect("the password is right");
    let deadline = Instant::now() + TIMEOUT;
    let info = connection.call_one(cmd("CLIENT").arg("INFO"), deadline);
    let info = info.expect("the server answers");
    let info = String::from_utf8_lossy(bytes(&info).expect("it is text")).into_owned();
    assert!(
        info.contains(" db=3 ") && info.contains(" user=hub "),
        "{info}"
    );

    let error = open(&url("hub:wrong"), "ca.pem").expect_err("the password is wrong");
    let ServerError::Refused { code, text } = error else {
        panic!("the connection broke: {error}");
    };
    assert_eq!(code, "WRONGPASS");
    assert!(!text.contains("wrong"), "{text}");
}

#[test]
fn frozen_server_is_given_up_at_the_deadline() {
    let Some(server) = RedisServer::start_with_tls() else {
        return;
    };
    let mut connection = open(&server.tls_url(), "ca.pem").expect("the server is trusted");
    let limit = Duration::from_millis(200);
    server.freeze();
    let gives_up = |what: &str, call: &mut dyn FnMut() -> ServerError| {
        let began = Instant::now();
        let error = call().to_string();
        let took = began.elapsed();
        assert_eq!(error, "no answer in time", "{what}");
        assert!(took >= limit && took < TIMEOUT, "{what} took {took:?}");
    };
    gives_up("a call", &mut || {
        let deadline = Instant::now() + limit;
        let reply = connection.call_one(&cmd("PING"), deadline);
        reply.expect_err("the server is frozen")
    });
    connection
        .set_timeout(limit)
        .expect("the limit is not zero");
    gives_up("waiting for a message", &mut || {
        connection.receive_next().expect_err("the server is frozen")
    });
    let server_of_tls = candidate(&server.tls_url(), "ca.pem");
    gives_up("the TLS handshake", &mut || {
        ServerConnection::open(&server_of_tls, limit).expect_err("the server is frozen")
    });
    server.thaw();
}

#[test]
fn authorities_are_checked_at_the_start() {
    for (file, reason) in [
        ("missing.pem", "No such file"),
        ("make", "no certificate"),
        ("server.key", "no certificate"),
    ] {
        let file = key_file(file);
        let error = candidates("rediss://127.0.0.1", Some(Path::new(&file)));
        let error = error.expect_err("no authority can be read").to_string();
        assert!(error.contains(&file) && error.contains(reason), "{error}");
        // Without TLS, the file is not read.
        assert!(candidates("redis://127.0.0.1", Some(Path::new(&file))).is_ok());
    }
}

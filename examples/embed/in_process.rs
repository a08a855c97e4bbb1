//! Learn: test a handler without a port: its answer to a request as a function call, and its conversation with a client
//!        over a socket pair. The server ends with the test, also when an assertion fails.
//! Run:   cargo test --example in_process    And as a program:  cargo run --example in_process
//! Watch: the tests need no network and no fixed time, and run beside each other.
//! Try next: an `assert_eq!` in the handler that fails. The test fails with its text.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{env, error::Error};

use standpipe::{Config, Connection, Handler, Reply, Request, Server};

/// Answers `add N` with the sum of all numbers of this client. Any other line ends the conversation.
struct Counter;

impl Handler for Counter {
    fn request(&self, request: &mut Request) -> Reply {
        match request.header("x-token") {
            Some("secret") => Reply::upgrade(),
            _ => Reply::status(401),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut sum = 0_i64;
        while let Some(message) = conn.recv()? {
            match message.to_text()?.split_once(' ') {
                Some(("add", number)) => sum += number.parse::<i64>()?,
                _ => break,
            }
            conn.send(sum.to_string())?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let server = Server::bind(address, Config::default())?;
    let handle = server.handle();
    let address = handle.local_addr().ok_or("no TCP address")?;
    println!("counter on ws://{address}/");
    ctrlc::set_handler(move || handle.shutdown())?;
    println!("{}", server.serve(Counter)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use standpipe::testing::{self, TestServer};
    use standpipe::{Client, Message};

    use super::*;

    fn connect(server: &TestServer) -> Client {
        let client = server.client("/").header("x-token", "secret");
        client.connect().expect("the token is right")
    }

    #[track_caller]
    fn assert_answer(client: &mut Client, line: &str, answer: &str) {
        client.send(line).expect("the client is connected");
        let received = client.recv().expect("waited for an answer");
        assert_eq!(received, Some(Message::text(answer)));
    }

    /// Waits for the end, and returns the code of the server's Close.
    #[track_caller]
    fn close_code(client: &mut Client) -> Option<u16> {
        while client.recv().expect("waited for a Close").is_some() {}
        client.peer_close().map(|close| close.code)
    }

    #[test]
    fn request_without_token_is_refused() {
        let answer = |request| Counter.request(&mut testing::RequestBuilder::build(request));
        assert_eq!(answer(testing::request("/")).code(), 401);
        let allowed = testing::request("/").header("x-token", "secret");
        assert!(answer(allowed).is_upgrade());
    }

    #[test]
    fn numbers_are_added_for_each_client() {
        let server = TestServer::start(Counter);
        let (mut ann, mut bob) = (connect(&server), connect(&server));
        assert_answer(&mut ann, "add 2", "2");
        assert_answer(&mut bob, "add 1", "1");
        assert_answer(&mut ann, "add 40", "42");
    }

    #[test]
    fn each_end_has_its_code() {
        let server = TestServer::start(Counter);
        for (line, code) in [("quit", 1000), ("add two", 1011)] {
            let mut client = connect(&server);
            client.send(line).expect("the client is connected");
            assert_eq!(close_code(&mut client), Some(code), "{line}");
        }
        let mut client = connect(&server);
        server.handle().shutdown();
        assert_eq!(close_code(&mut client), Some(1001));
    }
}

//! An echo server for the Autobahn TestSuite that receives in the ways that `/echo` of the program does not use. The
//! path of a client chooses the way: `/wait` waits for 1 ms at a time, `/select` waits in `select!`, and `/stream` reads
//! each message as a stream, in parts.
//!
//! The server prints its address, and ends at the end of its standard input. `.ci/autobahn` runs it.

// Its user is a script.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::Read;
use std::time::Duration;

use standpipe::{
    Config, Connection, HandlerResult, Interest, Message, RecvTimeoutError, Server, Text,
    TryRecvError,
};

fn wait(conn: &mut Connection) -> HandlerResult {
    loop {
        match conn.recv_timeout(Duration::from_millis(1)) {
            Ok(Some(message)) => conn.send(message)?,
            Ok(None) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn select(conn: &mut Connection) -> HandlerResult {
    let never = crossbeam_channel::never::<()>();
    loop {
        crossbeam_channel::select! {
            recv(conn.ready(Interest::READ)?) -> _ => {}
            recv(never) -> _ => {}
        }
        loop {
            match conn.try_recv() {
                Ok(Some(message)) => conn.send(message)?,
                Ok(None) => return Ok(()),
                Err(TryRecvError::Empty) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn stream(conn: &mut Connection) -> HandlerResult {
    let outbox = conn.outbox();
    let mut part = [0; 5000];
    while let Some(mut message) = conn.recv_stream()? {
        let mut payload = Vec::new();
        loop {
            match message.read(&mut part)? {
                0 => break,
                read => payload.extend_from_slice(&part[..read]),
            }
        }
        outbox.send(match message.is_text() {
            true => Message::Text(Text::try_from(payload)?),
            false => Message::binary(payload),
        })?;
    }
    Ok(())
}

fn main() -> HandlerResult {
    let config = Config::default()
        .max_message(17 << 20)
        .max_fragments(100_000);
    let server = Server::bind("127.0.0.1:0", config)?.spawn(|conn: &mut Connection| match conn
        .request()
        .path()
    {
        "/wait" => wait(conn),
        "/select" => select(conn),
        _ => stream(conn),
    })?;
    println!(
        "ws://{}",
        server.handle().local_addr().expect("a TCP address")
    );
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.handle().shutdown();
    println!("{}", server.join()?);
    Ok(())
}

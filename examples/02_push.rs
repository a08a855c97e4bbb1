//! Learn: why a client needs a writer thread. The server sends when *it* has news, while the reader waits in `read`.
//! Run:   cargo run --example 02_push    In each of two more terminals:  cargo run -- client ws://127.0.0.1:9001/
//! Watch: both clients get a line every second without asking. Type `hello` into one: both get it, at the same position
//!        between the lines of the ticker.
//! Try next: tick every millisecond with a kilobyte of dots, and stop one client with Ctrl-Z. After how many messages
//!        is it disconnected with 4008?
//!
//! ```text
//! ticker ──────────┐              ┌─▶ queue of client 1 ─▶ writer 1
//! reader of 1 ─────┼─▶ topic ─────┤
//! reader of 2 ─────┘  (one order) └─▶ queue of client 2 ─▶ writer 2
//!
//! push on ws://127.0.0.1:9001/         a client prints:
//! second 1: queued for 2               second 1
//! second 2: queued for 2               hello
//! second 3: queued for 2               second 2
//! drained 2, lost 0                    second 3
//! ```
//! One thread cannot wait in `recv` and for the ticker at the same time. So each client has a reader thread, which may
//! wait in `recv` forever, and a queue that any thread can send to.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{env, error::Error, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use standpipe::{Config, Connection, Hub, Message, Server, SubscribeOptions, Topic};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:9001");
    let server = Server::bind(address, Config::default())?;
    println!(
        "push on ws://{}/",
        server.handle().local_addr().ok_or("no TCP address")?
    );
    let handle = server.handle();
    ctrlc::set_handler(move || handle.shutdown())?;

    let topic = Hub::default().topic("everybody")?;
    let report = thread::scope(|scope| {
        // No message is ever sent on this channel. Dropping `stop` disconnects it, and that ends the ticker.
        let (stop, stopped) = bounded(0);
        let ticker = thread::Builder::new().name("ticker".into());
        ticker.spawn_scoped(scope, || tick(&topic, stopped))?;
        let report = server.serve(|conn: &mut Connection| client(&topic, conn));
        drop(stop);
        report.map_err(Box::<dyn Error>::from)
    })?;
    println!("{report}");
    Ok(())
}

/// Publishes a line every second. The ticker knows no client and no socket, and with the default policy it never waits
/// for a slow client: such a client is disconnected.
fn tick(topic: &Topic, stopped: Receiver<()>) {
    let mut seconds = 0;
    while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        seconds += 1;
        match topic.publish(Message::text(format!("second {seconds}"))) {
            Ok(published) => println!("second {seconds}: queued for {}", published.receivers),
            Err(error) => println!("second {seconds}: {error}"),
        }
    }
}

/// Serves one client. Its messages are published to all members of the topic, like the lines of the ticker.
fn client(topic: &Topic, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
    // The client is a member of the topic until this value is dropped, at the end of this function.
    let _member = topic.subscribe(conn.outbox(), SubscribeOptions::new())?;
    while let Some(message) = conn.recv()? {
        topic.publish(message)?;
    }
    Ok(())
}

//! Learn: why there is a writer. The server speaks when *it* has something to say, while the reader waits in `read`.
//! Run:   cargo run --example 02_push    then, in two more terminals:  python3 -m websockets ws://127.0.0.1:9001/
//! Watch: a line each second in both, without asking. Type `hello` into one: it stands in both, in the same order.
//! Try next: tick each millisecond, with a kilobyte of dots. Stop one client with Ctrl-Z: after how many is it cut?
//!
//! ```text
//! ticker ──────────┐              ┌─▶ queue of client 1 ─▶ writer 1
//! reader of 1 ─────┼─▶ topic ─────┤
//! reader of 2 ─────┘  (one order) └─▶ queue of client 2 ─▶ writer 2
//! ```
//! One thread cannot wait for what a client says and for what there is to tell it: `recv` and a ticker are two waits. So
//! each client has a reader, which may wait for ever, and a queue that any thread may put something into.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

use std::{env, error::Error, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use standpipe::{Config, Connection, Hub, Message, Server, SubscribeOptions, Topic};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".into());
    let server = Server::bind(address, Config::default())?;
    println!("push on ws://{}/", server.handle().local_addr());
    let handle = server.handle();
    ctrlc::set_handler(move || handle.shutdown())?;

    let topic = Hub::default().topic("everybody")?;
    let report = thread::scope(|scope| {
        // Nothing is ever sent on it: its end is the message.
        let (running, ended) = bounded(0);
        let ticker = thread::Builder::new().name("ticker".into());
        ticker.spawn_scoped(scope, || tick(&topic, ended))?;
        let report = server.serve(|conn: &mut Connection| client(&topic, conn));
        drop(running);
        report.map_err(Box::<dyn Error>::from)
    })?;
    println!("{report}");
    Ok(())
}

/// Speaks unasked. It knows no client and no socket, and never waits for one: the policy of the topic sees to the slow.
fn tick(topic: &Topic, ended: Receiver<()>) {
    let mut seconds = 0;
    while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        seconds += 1;
        match topic.publish(Message::text(format!("second {seconds}"))) {
            Ok(published) => println!("second {seconds}: queued for {}", published.receivers),
            Err(error) => println!("second {seconds}: {error}"),
        }
    }
}

/// One client's life. It writes nothing itself: what the client says goes to everybody, as what the ticker says.
fn client(topic: &Topic, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Dropped at the end of this function, and with it the membership.
    let _member = topic.subscribe(conn.outbox(), SubscribeOptions::new())?;
    while let Some(message) = conn.recv()? {
        topic.publish(message)?;
    }
    Ok(())
}

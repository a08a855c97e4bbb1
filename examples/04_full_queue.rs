//! Learn: you choose what happens to a message when the queue is full. To one client, the verb of the call decides; to
//!        the members of a topic, the policy of the topic decides.
//! Run:   cargo run --example 04_full_queue    One terminal: the clients that do not read are in the same process.
//! Watch: the table. In each row, accepted = delivered + dropped + discarded, and `got` is what the client has counted.
//! Try next: `QUEUE` 1 and 256; `Block` with 5 s; `soft: Some(SoftLimit::new(80, …))` in `Disconnect`.
//!
//! ```text
//! one client does not read; 8 of 8 messages are queued for it
//! try_send      returns the 16386 bytes immediately
//! send_timeout  returns the 16386 bytes after 50ms
//! send          waited until the client had read 26 messages: 5ms
//!
//! policy        accepted delivered dropped discarded   got  last  close  publishing took
//! block:50ms          26        17       1         8    17    16   4008  55ms
//! drop-newest        400        25     375         0    25    24   1000  5ms
//! drop-oldest        400        25     375         0    25   399   1000  6ms
//! conflate           400        21     379         0    21   396   1000  5ms
//! disconnect          26        17       1         8    17    16   4008  5ms
//! ```
//! The columns `last` and `close` are the number of the last message that the client got, and the code of its Close.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{env, error::Error, thread};

use crossbeam_channel::{Receiver, bounded};
use standpipe::{
    Config, Connection, Hub, HubConfig, Message, Outbox, Policy, Publication, SendTimeoutError,
    Server, SubscribeOptions, TopicSettings, TrySendError,
};
use tungstenite::WebSocket;

const QUEUE: usize = 8;
/// More than the kernel accepts for a client that does not read.
const MESSAGES: usize = 400;
const BRIEF: Duration = Duration::from_millis(50);

type Client = WebSocket<TcpStream>;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:0");
    let server = Server::bind(address, Config::default().queue(QUEUE))?;
    let handle = server.handle();
    println!(
        "full queues on ws://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    let (outboxes, new_outbox) = bounded(1);
    let running = server.spawn(move |conn: &mut Connection| {
        outboxes.send(conn.outbox())?;
        while conn.recv()?.is_some() {}
        Ok(())
    })?;

    let (client, outbox) = connect(handle.local_addr().ok_or("no TCP address")?, &new_outbox)?;
    try_verbs(client, &outbox)?;

    println!(
        "\n{MESSAGES} messages of 16 KiB to a topic with queue={QUEUE}; the member reads after the last one:"
    );
    println!(
        "policy        accepted delivered dropped discarded   got  last  close  publishing took"
    );
    let timeout = Some(BRIEF);
    for policy in [
        Policy::Block { timeout },
        Policy::DropNewest,
        Policy::DropOldest,
        Policy::Conflate,
        Policy::Disconnect { soft: None },
    ] {
        let (client, outbox) = connect(handle.local_addr().ok_or("no TCP address")?, &new_outbox)?;
        try_policy(policy, client, &outbox)?;
    }
    handle.shutdown();
    println!("{}", running.join()?);
    Ok(())
}

/// Calls the three verbs on one full queue.
fn try_verbs(mut client: Client, outbox: &Outbox) -> Result<(), Box<dyn Error>> {
    let long = Duration::from_millis(300);
    while outbox.send_timeout(message(0), long).is_ok() {}
    println!(
        "one client does not read; {} of {QUEUE} messages are queued for it",
        outbox.len()
    );
    if let Err(TrySendError::Full(message)) = outbox.try_send(message(1)) {
        println!(
            "try_send      returns the {} bytes immediately",
            message.len()
        );
    }
    if let Err(SendTimeoutError::Timeout(message)) = outbox.send_timeout(message(2), BRIEF) {
        println!(
            "send_timeout  returns the {} bytes after {BRIEF:?}",
            message.len()
        );
    }
    let since = Instant::now();
    let mut read = 0;
    let sent = thread::scope(|scope| {
        let sending = scope.spawn(|| outbox.send(message(3)));
        while !sending.is_finished() && client.read().is_ok() {
            read += 1;
        }
        sending.join()
    });
    sent.map_err(|_| "the sender panicked")??;
    println!(
        "send          waited until the client had read {read} messages: {:.0?}",
        since.elapsed()
    );
    outbox.close(1000, "");
    read_to_end(&mut client);
    Ok(())
}

/// Publishes to one member that does not read until everything is published, and prints what became of the messages.
fn try_policy(policy: Policy, mut client: Client, outbox: &Outbox) -> Result<(), Box<dyn Error>> {
    let settings = TopicSettings::default().policy(policy).queue(QUEUE);
    let topic = Hub::new(HubConfig::default().topic("*", settings)).topic("one")?;
    let member = topic.subscribe(outbox.clone(), SubscribeOptions::new())?;
    let since = Instant::now();
    for n in 0..MESSAGES {
        // Four keys, because `Conflate` keeps the latest message of each key.
        topic.publish(Publication::from(message(n)).key(&(n % 4).to_string()))?;
    }
    let took = since.elapsed();
    outbox.close(1000, ""); // Has no effect on a client that the policy has disconnected.
    let (got, last, code) = read_to_end(&mut client);
    drop(member);
    let a = outbox.counts();
    println!(
        "{:<14}{:>8}{:>10}{:>8}{:>10}{got:>6}{last:>6}{code:>7}  {took:.0?}",
        policy.to_string(),
        a.accepted,
        a.delivered,
        a.dropped,
        a.discarded
    );
    Ok(())
}

fn connect(
    address: SocketAddr,
    new_outbox: &Receiver<Outbox>,
) -> Result<(Client, Outbox), Box<dyn Error>> {
    let stream = TcpStream::connect(address)?;
    let client = tungstenite::client(format!("ws://{address}/"), stream);
    let (client, _) = client.map_err(|error| error.to_string())?;
    Ok((client, new_outbox.recv()?))
}

/// Reads to the end. Returns the number of messages, the number in the last message, and the code of the Close.
fn read_to_end(client: &mut Client) -> (usize, String, u16) {
    let (mut got, mut last, mut code) = (0, String::new(), 0);
    while let Ok(message) = client.read() {
        match message {
            tungstenite::Message::Text(text) => {
                got += 1;
                last = text.split(' ').next().unwrap_or_default().to_owned();
            }
            tungstenite::Message::Close(frame) => {
                code = frame.map_or(1005, |frame| frame.code.into())
            }
            _ => {}
        }
    }
    (got, last, code)
}

fn message(n: usize) -> Message {
    Message::text(format!("{n} {}", ".".repeat(16 << 10)))
}

//! Learn: what happens to a message when the queue is full is a choice: by the verb to one, by the policy to many.
//! Run:   cargo run --example 04_full_queue    one terminal: the clients that do not read are in the same process.
//! Watch: the table. Each row adds up: accepted = delivered + dropped + discarded, and `got` is what the client counted.
//! Try next: `QUEUE` 1 and 256; a `Block` of 5 s; `SoftLimit { percent: 80, .. }` in `Disconnect`.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

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
/// More than the kernel takes for a client that does not read.
const MESSAGES: usize = 400;

type Client = WebSocket<TcpStream>;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let server = Server::bind(address, Config::default().queue(QUEUE))?;
    let handle = server.handle();
    println!("full queues on ws://{}/", handle.local_addr());
    let (lend, lent) = bounded(1);
    let running = server.spawn(move |conn: &mut Connection| {
        lend.send(conn.outbox())?;
        while conn.recv()?.is_some() {}
        Ok(())
    })?;
    verbs(handle.local_addr(), &lent)?;
    println!(
        "\n{MESSAGES} messages of 16 KiB to a topic with queue={QUEUE}, whose member does not read until the end:"
    );
    println!(
        "policy        accepted delivered dropped discarded   got  last  close  publishing took"
    );
    let brief = Some(Duration::from_millis(50));
    policy(handle.local_addr(), &lent, Policy::Block { timeout: brief })?;
    policy(handle.local_addr(), &lent, Policy::DropNewest)?;
    policy(handle.local_addr(), &lent, Policy::DropOldest)?;
    policy(handle.local_addr(), &lent, Policy::Conflate)?;
    policy(
        handle.local_addr(),
        &lent,
        Policy::Disconnect { soft: None },
    )?;
    handle.shutdown();
    println!("{}", running.join()?);
    Ok(())
}

/// Three verbs, one full queue.
fn verbs(address: SocketAddr, lent: &Receiver<Outbox>) -> Result<(), Box<dyn Error>> {
    let (mut client, outbox) = connect(address, lent)?;
    while outbox
        .send_timeout(message(0), Duration::from_millis(300))
        .is_ok()
    {}
    println!(
        "one client does not read; {} of {QUEUE} messages wait for it",
        outbox.len()
    );
    if let Err(TrySendError::Full(message)) = outbox.try_send(message(1)) {
        println!(
            "try_send      gives the {} bytes back at once",
            message.len()
        );
    }
    let brief = Duration::from_millis(50);
    if let Err(SendTimeoutError::Timeout(message)) = outbox.send_timeout(message(2), brief) {
        println!(
            "send_timeout  gives the {} bytes back after {brief:?}",
            message.len()
        );
    }
    let since = Instant::now();
    let (sent, read) = thread::scope(|scope| {
        let sending = scope.spawn(|| outbox.send(message(3)));
        let mut read = 0;
        while !sending.is_finished() && client.read().is_ok() {
            read += 1;
        }
        (sending.join(), read)
    });
    sent.map_err(|_| "the sender panicked")??;
    println!(
        "send          waited until the client had read {read} messages: {:.0?}",
        since.elapsed()
    );
    outbox.close(1000, "");
    finish(&mut client);
    Ok(())
}

/// One policy, one member that does not read until everything is published, and what became of the messages.
fn policy(
    address: SocketAddr,
    lent: &Receiver<Outbox>,
    policy: Policy,
) -> Result<(), Box<dyn Error>> {
    let settings = TopicSettings::default().policy(policy).queue(QUEUE);
    let topic = Hub::new(HubConfig::default().topic("*", settings)).topic("one")?;
    let (mut client, outbox) = connect(address, lent)?;
    let member = topic.subscribe(outbox.clone(), SubscribeOptions::new())?;
    let since = Instant::now();
    for n in 0..MESSAGES {
        // Four things whose latest value counts, for the policy that looks at keys.
        topic.publish(Publication::from(message(n)).key(&(n % 4).to_string()))?;
    }
    let took = since.elapsed();
    outbox.close(1000, ""); // One that was cut stays cut.
    let (got, last, code) = finish(&mut client);
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
    lent: &Receiver<Outbox>,
) -> Result<(Client, Outbox), Box<dyn Error>> {
    let stream = TcpStream::connect(address)?;
    let client = tungstenite::client(format!("ws://{address}/"), stream);
    let (client, _) = client.map_err(|error| error.to_string())?;
    Ok((client, lent.recv()?))
}

/// Reads to the end: how many came, the number of the last, and the code of the Close.
fn finish(client: &mut Client) -> (usize, String, u16) {
    let (mut got, mut last, mut code) = (0, String::new(), 0);
    while let Ok(message) = client.read() {
        match message {
            Message::Text(text) => {
                got += 1;
                last = text.split(' ').next().unwrap_or_default().to_owned();
            }
            Message::Close(frame) => code = frame.map_or(1005, |frame| frame.code.into()),
            _ => {}
        }
    }
    (got, last, code)
}

fn message(n: usize) -> Message {
    Message::text(format!("{n} {}", ".".repeat(16 << 10)))
}

//! What queueing a message costs its sender: one outbox, and a topic with 1, 10 and 100 members, each with the early
//! flush and without.
//!
//! `cargo bench --bench outbox`. The clients are sockets on loopback that a thread each empties. With the early flush
//! the sender writes to the socket itself; without it, a figure holds its waiting for the writer too, whenever the queue
//! is full.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use crossbeam_channel::{Receiver, bounded};
use standpipe::{
    Config, Connection, Hub, HubConfig, Message, Outbox, Policy, Server, ServerThread,
    SubscribeOptions, TopicSettings,
};

const SIZE: usize = 64;
const MEMBERS: [usize; 3] = [1, 10, 100];

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let mut criterion = Criterion::default().configure_from_args();
    send(&mut short(&mut criterion, "outbox.send 64 B"))?;
    publish(&mut short(&mut criterion, "topic.publish 64 B"))?;
    criterion.final_summary();
    Ok(())
}

fn short<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    group
}

fn send(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<(), Failure> {
    for early in [true, false] {
        let house = House::open(early, 1)?;
        let [outbox] = &house.outboxes[..] else {
            return Err("one client, one outbox".into());
        };
        let message = Message::binary(vec![b'x'; SIZE]);
        group.throughput(Throughput::Elements(1));
        group.bench_function(flush(early), |bencher| {
            bencher.iter(|| outbox.send(message.clone()).expect("its client reads"));
        });
        house.close()?;
    }
    Ok(())
}

fn publish(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<(), Failure> {
    for members in MEMBERS {
        for early in [true, false] {
            let house = House::open(early, members)?;
            let mut settings = HubConfig::default();
            // A publisher faster than the members waits for them: nobody is cut, and no message is dropped.
            settings.default = TopicSettings::default().policy(Policy::Block { timeout: None });
            let topic = Hub::new(settings).topic("bench")?;
            let subscriptions = house
                .outboxes
                .iter()
                .map(|outbox| topic.subscribe(outbox.clone(), SubscribeOptions::new()))
                .collect::<Result<Vec<_>, _>>()?;
            let message = Message::binary(vec![b'x'; SIZE]);
            group.throughput(Throughput::Elements(members as u64));
            let name = format!("{members} members, {}", flush(early));
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let published = topic.publish(message.clone()).expect("it is data");
                    assert_eq!(published.receivers, members, "a member was cut");
                });
            });
            drop(subscriptions);
            house.close()?;
        }
    }
    Ok(())
}

fn flush(early: bool) -> &'static str {
    if early { "early flush" } else { "writer alone" }
}

/// A server with its clients, and the outbox of each.
struct House {
    server: ServerThread,
    outboxes: Vec<Outbox>,
    /// Empties the sockets.
    readers: Vec<thread::JoinHandle<()>>,
}

impl House {
    fn open(early_flush: bool, clients: usize) -> Result<House, Failure> {
        let (give, given) = bounded(clients);
        let config = Config::default().early_flush(early_flush);
        let server = Server::bind("127.0.0.1:0", config)?.spawn(move |conn: &mut Connection| {
            give.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        })?;
        let address = server.handle().local_addr().to_string();
        let readers = (0..clients)
            .map(|_| connect(&address).map(|client| thread::spawn(move || empty(client))))
            .collect::<Result<_, _>>()?;
        let outboxes = take(&given, clients)?;
        Ok(House {
            server,
            outboxes,
            readers,
        })
    }

    fn close(self) -> Result<(), Failure> {
        for outbox in &self.outboxes {
            // The clients do not answer a Close, and need not be waited for.
            outbox.terminate();
        }
        self.server.handle().shutdown();
        self.server.join()?;
        for reader in self.readers {
            reader.join().map_err(|_| "a reader panicked")?;
        }
        Ok(())
    }
}

fn take(given: &Receiver<Outbox>, clients: usize) -> Result<Vec<Outbox>, Failure> {
    let one = |_| Ok(given.recv_timeout(Duration::from_secs(10))?);
    (0..clients).map(one).collect()
}

fn empty(mut client: TcpStream) {
    // Ends with the connection, by a reset too.
    let _ = io::copy(&mut client, &mut io::sink());
}

fn connect(address: &str) -> Result<TcpStream, Failure> {
    let mut client = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    write!(
        client,
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 101") {
        Ok(client)
    } else {
        Err(String::from_utf8_lossy(&head).into())
    }
}

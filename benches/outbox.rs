//! The time that sending a message takes in the sending thread: to one outbox, and to a topic with 1, 10 and 100
//! members, with `early_flush` and without it.
//!
//! Run it with `cargo bench --bench outbox`. The clients are sockets on loopback, and one thread for each client reads
//! and discards the bytes. With `early_flush` the sender itself writes to the socket. Without it, a figure includes the
//! time that the sender waits for the writer whenever the queue is full.

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
        let bench = Bench::start(early, 1)?;
        let [outbox] = &bench.outboxes[..] else {
            return Err("one client must have one outbox".into());
        };
        let message = Message::binary(vec![b'x'; SIZE]);
        group.throughput(Throughput::Elements(1));
        group.bench_function(label(early), |bencher| {
            bencher.iter(|| outbox.send(message.clone()).expect("the client reads"));
        });
        bench.stop()?;
    }
    Ok(())
}

fn publish(group: &mut BenchmarkGroup<'_, WallTime>) -> Result<(), Failure> {
    for members in MEMBERS {
        for early in [true, false] {
            let bench = Bench::start(early, members)?;
            let mut settings = HubConfig::default();
            // A publisher that is faster than the members waits for them. No member is disconnected, and no message is
            // dropped.
            settings.default = TopicSettings::default().policy(Policy::Block { timeout: None });
            let topic = Hub::new(settings).topic("bench")?;
            let subscriptions = bench
                .outboxes
                .iter()
                .map(|outbox| topic.subscribe(outbox.clone(), SubscribeOptions::new()))
                .collect::<Result<Vec<_>, _>>()?;
            let message = Message::binary(vec![b'x'; SIZE]);
            group.throughput(Throughput::Elements(members as u64));
            let name = format!("{members} members, {}", label(early));
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let published = topic
                        .publish(message.clone())
                        .expect("there is no other publisher");
                    assert_eq!(published.receivers, members, "a member was disconnected");
                });
            });
            drop(subscriptions);
            bench.stop()?;
        }
    }
    Ok(())
}

fn label(early_flush: bool) -> &'static str {
    if early_flush {
        "early flush"
    } else {
        "writer only"
    }
}

/// A server with its clients, and the outbox of each client.
struct Bench {
    server: ServerThread,
    outboxes: Vec<Outbox>,
    /// The threads that read from the client sockets.
    readers: Vec<thread::JoinHandle<()>>,
}

impl Bench {
    fn start(early_flush: bool, clients: usize) -> Result<Bench, Failure> {
        let (sender, receiver) = bounded(clients);
        let config = Config::default().early_flush(early_flush);
        let server = Server::bind("127.0.0.1:0", config)?.spawn(move |conn: &mut Connection| {
            sender.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        })?;
        let address = server
            .handle()
            .local_addr()
            .ok_or("no TCP address")?
            .to_string();
        let readers = (0..clients)
            .map(|_| connect(&address).map(|client| thread::spawn(move || discard(client))))
            .collect::<Result<_, _>>()?;
        let outboxes = receive(&receiver, clients)?;
        Ok(Bench {
            server,
            outboxes,
            readers,
        })
    }

    fn stop(self) -> Result<(), Failure> {
        for outbox in &self.outboxes {
            // The clients would not answer a Close, so a closing handshake would only time out.
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

fn receive(outboxes: &Receiver<Outbox>, clients: usize) -> Result<Vec<Outbox>, Failure> {
    let one = |_| Ok(outboxes.recv_timeout(Duration::from_secs(10))?);
    (0..clients).map(one).collect()
}

fn discard(mut client: TcpStream) {
    // Ends with the connection. An error is a reset, which is expected at the end of a benchmark.
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

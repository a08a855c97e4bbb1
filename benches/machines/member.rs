//! [`Member`]: a WebSocket client on loopback that subscribes to topics and discards what it receives.
//!
//! One member for each hub keeps the fan-out small: 16 messages that are delivered together are one write.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use standpipe::{
    Config, Connection, Hub, Outbox, Server, ServerThread, SubscribeOptions, Subscription, Topic,
};

use crate::Failure;
use crate::load::SIZE;

/// The messages of one topic that may wait for the member. Far more than the publishers have in flight.
pub(crate) const QUEUE: usize = 16_384;

/// The bytes of a message on the member's socket: a frame header of two bytes, and the message.
const FRAME: u64 = SIZE as u64 + 2;

pub(crate) struct Member {
    server: ServerThread,
    outbox: Outbox,
    subscriptions: Vec<Subscription>,
    bytes: Arc<AtomicU64>,
    reader: thread::JoinHandle<()>,
}

impl Member {
    pub(crate) fn start(hub: &Hub, topics: &[Topic]) -> Result<Member, Failure> {
        let (sender, receiver) = bounded(1);
        let config = Config::default().hub(hub).queue_bytes(64 << 20);
        let server = Server::bind("127.0.0.1:0", config)?.spawn(move |conn: &mut Connection| {
            sender.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        })?;
        let address = server.handle().local_addr().ok_or("no TCP address")?;
        let client = connect(&address.to_string())?;
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes);
        let reader = thread::Builder::new()
            .name("member".into())
            .spawn(move || discard(client, &counter))?;
        let outbox = receiver.recv_timeout(Duration::from_secs(10))?;
        let subscribe = |topic: &Topic| topic.subscribe(outbox.clone(), SubscribeOptions::new());
        let subscriptions = topics.iter().map(subscribe).collect::<Result<_, _>>()?;
        Ok(Member {
            server,
            outbox,
            subscriptions,
            bytes,
            reader,
        })
    }

    /// Returns how many messages have arrived at the client.
    pub(crate) fn received(&self) -> u64 {
        self.bytes.load(Ordering::Acquire) / FRAME
    }

    pub(crate) fn stop(self) -> Result<(), Failure> {
        drop(self.subscriptions);
        // The client would not answer a Close, so a closing handshake would only time out.
        self.outbox.terminate();
        self.server.handle().shutdown();
        self.server.join()?;
        Ok(self.reader.join().map_err(|_| "a reader panicked")?)
    }
}

fn discard(mut client: TcpStream, bytes: &AtomicU64) {
    let mut buffer = vec![0; 256 << 10];
    // An error is a reset, which is expected at the end.
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        bytes.fetch_add(read as u64, Ordering::AcqRel);
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
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
        Err(io::Error::other(
            String::from_utf8_lossy(&head).into_owned(),
        ))
    }
}

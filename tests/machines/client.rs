//! [`JsonClient`]: a client that speaks JSON mode, and [`Nodes`]: the hubs that clients may connect to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use standpipe::{Client, RecvTimeoutError};

use crate::log::Node;
use crate::wait::DEADLINE;

/// What the threads of all clients share.
#[derive(Debug)]
pub(crate) struct Nodes {
    addresses: Vec<SocketAddr>,
    is_alive: Vec<AtomicBool>,
    /// Publishers have published this many messages.
    pub(crate) published: AtomicUsize,
    /// No more messages will be published.
    pub(crate) is_quiet: AtomicBool,
    /// The test has failed: all clients end.
    pub(crate) has_failed: AtomicBool,
}

impl Nodes {
    pub(crate) fn new(addresses: Vec<SocketAddr>) -> Nodes {
        Nodes {
            is_alive: addresses.iter().map(|_| AtomicBool::new(true)).collect(),
            addresses,
            published: AtomicUsize::new(0),
            is_quiet: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.addresses.len()
    }

    pub(crate) fn set_dead(&self, node: Node) {
        self.is_alive[node].store(false, Ordering::SeqCst);
    }

    /// Returns the node itself, or the first living one after it.
    pub(crate) fn living(&self, node: Node) -> Node {
        let nodes = (node..node + self.count()).map(|node| node % self.count());
        let mut living = nodes.filter(|node| self.is_alive[*node].load(Ordering::SeqCst));
        living.next().unwrap_or(node % self.count())
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::SeqCst)
    }
}

/// A message or an answer of the server. The tests send refs and data that are strings.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Incoming {
    pub(crate) topic: Option<String>,
    pub(crate) id: Option<u64>,
    pub(crate) data: Option<String>,
    pub(crate) gap: Option<(u64, u64)>,
    pub(crate) epoch: Option<String>,
    pub(crate) ack: Option<String>,
    pub(crate) error: Option<String>,
    #[serde(rename = "ref")]
    pub(crate) reference: Option<String>,
}

pub(crate) struct JsonClient(Client);

/// The connection has ended.
pub(crate) struct Ended;

impl JsonClient {
    pub(crate) fn connect(nodes: &Nodes, node: Node) -> Result<JsonClient, Ended> {
        JsonClient::at(nodes.addresses[node])
    }

    pub(crate) fn at(address: SocketAddr) -> Result<JsonClient, Ended> {
        let client = Client::builder(format!("ws://{address}/ws"))
            .subprotocol("standpipe.v1")
            .connect_timeout(DEADLINE)
            .handshake_timeout(DEADLINE)
            .write_timeout(DEADLINE)
            .connect();
        client.map(JsonClient).map_err(|_| Ended)
    }

    pub(crate) fn send(&mut self, command: impl Into<String>) -> Result<(), Ended> {
        self.0
            .send(standpipe::Message::text(command.into()))
            .map_err(|_| Ended)
    }

    /// Returns the next message, or `None` after `limit`.
    pub(crate) fn receive(&mut self, limit: Duration) -> Result<Option<Incoming>, Ended> {
        match self.0.recv_timeout(limit) {
            Ok(Some(message)) => {
                let text = message.to_text().expect("JSON mode sends text");
                let incoming = serde_json::from_str(text);
                Ok(Some(
                    incoming.unwrap_or_else(|error| panic!("{error}: {text}")),
                ))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Ok(None) | Err(_) => Err(Ended),
        }
    }

    /// Waits until `moment`. Messages that arrive meanwhile are lost.
    pub(crate) fn idle_until(&mut self, moment: Instant) -> Result<(), Ended> {
        while let Some(rest) = moment.checked_duration_since(Instant::now()) {
            self.receive(rest)?;
        }
        Ok(())
    }
}

/// Numbers that look random, and are the same in every run with the same seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits fit") % end
    }
}

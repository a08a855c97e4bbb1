//! [`Feed`]: the topics with their policies, who comes to them, and what clients may ask for.

use std::error::Error;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use serde_json::{Map, Value, json};
use standpipe::{Connection, Hub, HubConfig, Message, Policy, PublishError, ServerHandle};
use standpipe::{SubscribeOptions, Subscription, Topic, TopicSettings};

use super::book::Book;
use super::command::Command;
use super::generator::Order;
use super::slow_readers::Readers;

/// Trades that may wait for one reader.
pub(crate) const TRADES: usize = 64;
/// Places for a welcome, a snapshot, a status, and answers.
pub(crate) const ANSWERS: usize = 16;
/// Longer than the generator waits for anybody.
const OBEY: Duration = Duration::from_secs(5);

/// All of it.
pub(crate) struct Feed {
    pub(crate) book: Book,
    /// Updates of each symbol in a second.
    pub(crate) rate: u32,
    /// Both are published to by the generator alone, so it never waits for its turn.
    pub(crate) quotes: Topic,
    pub(crate) trades: Topic,
    status: Topic,
    /// One status at a time, or an older one could be told after a newer one.
    telling: Mutex<()>,
    pub(crate) readers: Readers,
    pub(crate) published: AtomicU64,
    pub(crate) is_paused: AtomicBool,
    generator: Sender<Order>,
    server: ServerHandle,
}

impl Feed {
    pub(crate) fn new(
        symbols: usize,
        rate: u32,
        server: ServerHandle,
        generator: Sender<Order>,
    ) -> Result<Feed, Box<dyn Error>> {
        let settings = TopicSettings::default();
        // A place for each symbol: then a new price always finds its own symbol's place, and takes no other's. It keeps
        // that place in the line, so all symbols have their turn, and none is overtaken for ever by busier ones.
        let quotes = settings.policy(Policy::Conflate).queue(symbols);
        let trades = settings.policy(Policy::DropOldest).queue(TRADES);
        // Only the latest is worth anything.
        let status = settings.policy(Policy::Conflate).queue(1);
        let config = HubConfig::default()
            .topic("quotes", quotes)
            .topic("trades", trades)
            .topic("status", status);
        let hub = Hub::new(config);
        Ok(Feed {
            book: Book::new(symbols),
            rate,
            quotes: hub.topic("quotes")?,
            trades: hub.topic("trades")?,
            status: hub.topic("status")?,
            telling: Mutex::default(),
            readers: Readers::new(server.clone()),
            published: AtomicU64::new(0),
            is_paused: AtomicBool::new(false),
            generator,
            server,
        })
    }

    /// Says what there is, and makes a client a member of what it has asked for.
    pub(crate) fn welcome(
        &self,
        conn: &Connection,
    ) -> Result<Vec<Subscription>, Box<dyn Error + Send + Sync>> {
        let welcome = json!({
            "type": "welcome", "symbols": self.book.len(), "rate": self.rate,
            "control": conn.peer().is_loopback(),
        });
        conn.send(Message::text(welcome.to_string()))?;
        let join = |topic: &str| match topic {
            "quotes" => self.book.join(&self.quotes, conn.outbox()),
            "trades" => self
                .trades
                .subscribe(conn.outbox(), SubscribeOptions::new()),
            _ => self
                .status
                .subscribe(conn.outbox(), SubscribeOptions::new()),
        };
        // Whatever is said twice is joined once.
        let asked: Vec<&str> = super::topics(conn.request()).collect();
        let topics = super::TOPICS.into_iter();
        let joined = topics.filter(|topic| asked.contains(topic)).map(join);
        Ok(joined.collect::<Result<_, PublishError>>()?)
    }

    /// Every message has an answer. Told, and not cut: a page that is newer than the server goes on with what both know.
    ///
    /// # Blocking
    /// To pause and to resume: for the generator, at most 5 s.
    pub(crate) fn answer(&self, conn: &Connection, message: &Message) -> Message {
        let answer = Command::parse(message).and_then(|command| {
            if command.is_control() && !conn.peer().is_loopback() {
                return Err("that is for programs on this machine alone".into());
            }
            self.obey(conn, command)
        });
        answer.unwrap_or_else(|why| text(&json!({ "type": "error", "why": why })))
    }

    fn obey(&self, conn: &Connection, command: Command) -> Result<Message, String> {
        let done = match command {
            Command::Snapshot => return Ok(self.book.snapshot()),
            Command::Ping => {
                let outbox = conn.outbox();
                let pong =
                    json!({ "type": "pong", "now": self.book.now(), "waiting": outbox.len() });
                return Ok(text(&pong));
            }
            Command::Look(reader) => return self.readers.look(reader).map(|look| text(&look)),
            Command::Policy(name) => {
                self.quotes.set_policy(name.policy());
                format!("the policy is {}", self.quotes.settings().policy)
            }
            Command::Slow(kib) => {
                let reader = self.readers.add(kib)?;
                format!("slow {reader} reads {kib} KiB a second")
            }
            Command::Remove(reader) => {
                self.readers.remove(reader)?;
                format!("slow {reader} is gone")
            }
            Command::Pause => {
                self.order(true)?;
                "the generator stands still".into()
            }
            Command::Resume => {
                self.order(false)?;
                "the generator is at work".into()
            }
        };
        // All who look see it now, and not half a second later.
        self.tell_status();
        Ok(text(&json!({ "type": "done", "done": done })))
    }

    fn order(&self, is_pause: bool) -> Result<(), String> {
        let (obeyed, answer) = bounded(1);
        let order = Order { is_pause, obeyed };
        let sent = self.generator.send_timeout(order, OBEY).is_ok();
        let is_obeyed = sent && answer.recv_timeout(OBEY).is_ok();
        is_obeyed
            .then_some(())
            .ok_or_else(|| "the generator waits for a slow reader, and has not heard it yet".into())
    }

    /// Tells all who look what there is to see. Sums, and no rates: who misses one sees nothing wrong in the next.
    pub(crate) fn tell_status(&self) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.book.now();
        let counts = self.quotes.counts();
        let dropped = counts.dropped.into_iter();
        let dropped: Map<String, Value> = dropped
            .map(|(policy, count)| (policy.to_owned(), count.into()))
            .collect();
        let status = json!({
            "type": "status", "now": now, "policy": self.quotes.settings().policy.to_string(),
            "paused": self.is_paused.load(Ordering::Relaxed),
            "published": self.published.load(Ordering::Relaxed),
            "delivered": counts.delivered, "dropped": dropped,
            "clients": self.server.clients(), "memory": resident(), "readers": self.readers.list(now),
        });
        // It conflates, and so it is never busy: who has no room gets the next one.
        if let Err(error) = self.status.publish(text(&status)) {
            println!("status: {error}");
        }
    }
}

fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

/// KiB of memory that this program has, where the kernel tells.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

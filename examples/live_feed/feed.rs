//! [`Feed`]: the topics with their policies, the subscriptions of a client, and the answers to its commands.

use std::error::Error;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use serde_json::{Map, Value, json};
use standpipe::{
    Connection, DropReason, Hub, HubConfig, Message, Policy, ServerHandle, SubscribeError,
};
use standpipe::{SubscribeOptions, Subscription, Topic, TopicSettings};

use super::book::Book;
use super::command::Command;
use super::generator::PauseRequest;
use super::slow_readers::SlowReaders;

/// Trades that may be queued for one reader.
pub(crate) const TRADES: usize = 64;
/// About how old a price may be when a reader gets it, as far as it waits in buffers.
const QUOTES_LATENESS: Duration = Duration::from_millis(500);
/// Room in a client's queue for a welcome, a snapshot, a status, and answers.
pub(crate) const ANSWERS: usize = 16;
/// Timeout for a request to the generator. The generator never waits this long for a reader.
const GENERATOR_TIMEOUT: Duration = Duration::from_secs(5);

/// The state that all clients share.
pub(crate) struct Feed {
    pub(crate) book: Book,
    /// Updates of each symbol per second.
    pub(crate) rate: u32,
    /// Only the generator publishes to `quotes` and `trades`, so it never waits for another publisher.
    pub(crate) quotes: Topic,
    pub(crate) trades: Topic,
    status: Topic,
    /// Serializes [`Feed::publish_status`]. Otherwise an older status could be published after a newer one.
    status_lock: Mutex<()>,
    pub(crate) readers: SlowReaders,
    pub(crate) published: AtomicU64,
    pub(crate) is_paused: AtomicBool,
    generator: Sender<PauseRequest>,
    server: ServerHandle,
}

impl Feed {
    pub(crate) fn new(
        symbols: usize,
        rate: u32,
        server: ServerHandle,
        generator: Sender<PauseRequest>,
    ) -> Result<Feed, Box<dyn Error>> {
        let settings = TopicSettings::default();
        // The queue has room for one message per symbol, so a new price never displaces another symbol's price. It
        // takes the position of the price that it replaces, so all symbols take turns and a busy symbol cannot starve
        // others.
        // A throttled reader accepts bytes as long as the buffers have room, so its lateness is bounded too.
        let quotes = settings
            .policy(Policy::Conflate)
            .queue(symbols)
            .max_lateness(QUOTES_LATENESS);
        let trades = settings.policy(Policy::DropOldest).queue(TRADES);
        // Only the latest status counts.
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
            status_lock: Mutex::default(),
            readers: SlowReaders::new(server.clone()),
            published: AtomicU64::new(0),
            is_paused: AtomicBool::new(false),
            generator,
            server,
        })
    }

    /// Sends the welcome, and subscribes a client to the topics that it has requested.
    pub(crate) fn subscribe(
        &self,
        conn: &Connection,
    ) -> Result<Vec<Subscription>, Box<dyn Error + Send + Sync>> {
        let welcome = json!({
            "type": "welcome", "symbols": self.book.len(), "rate": self.rate,
            "control": may_control(conn),
        });
        conn.send(Message::text(welcome.to_string()))?;
        let subscribe = |topic: &str| match topic {
            "quotes" => self.book.subscribe(&self.quotes, conn.outbox()),
            "trades" => self
                .trades
                .subscribe(conn.outbox(), SubscribeOptions::new()),
            _ => self
                .status
                .subscribe(conn.outbox(), SubscribeOptions::new()),
        };
        // A topic that is requested twice is subscribed to once.
        let requested: Vec<&str> = super::topics(conn.request()).collect();
        let topics = super::TOPICS.into_iter();
        let subscriptions = topics
            .filter(|topic| requested.contains(topic))
            .map(subscribe);
        Ok(subscriptions.collect::<Result<_, SubscribeError>>()?)
    }

    /// Returns the answer to a message from a client.
    ///
    /// An invalid command is answered with an error and does not close the connection. A page that is newer than the
    /// server can therefore still use the commands that both know.
    ///
    /// # Blocking
    /// `pause` and `resume` wait up to 10 s for the generator.
    pub(crate) fn answer(&self, conn: &Connection, message: &Message) -> Message {
        let answer = Command::parse(message).and_then(|command| {
            if command.is_control() && !may_control(conn) {
                return Err("this command is only for clients on the server's machine".into());
            }
            self.execute(conn, command)
        });
        answer.unwrap_or_else(|error| text(&json!({ "type": "error", "why": error })))
    }

    fn execute(&self, conn: &Connection, command: Command) -> Result<Message, String> {
        let done = match command {
            Command::Snapshot => return Ok(self.book.snapshot()),
            Command::Ping => {
                let outbox = conn.outbox();
                let pong =
                    json!({ "type": "pong", "now": self.book.now(), "waiting": outbox.len() });
                return Ok(text(&pong));
            }
            Command::Look(reader) => {
                return self.readers.prices(reader).map(|prices| text(&prices));
            }
            Command::Policy(name) => {
                self.quotes.set_policy(name.policy());
                format!("the policy is {}", self.quotes.settings().policy)
            }
            Command::Slow(kib) => {
                let reader = self.readers.add(kib)?;
                format!("slow {reader} reads {kib} KiB per second")
            }
            Command::Remove(reader) => {
                self.readers.remove(reader)?;
                format!("slow {reader} was removed")
            }
            Command::Pause => {
                self.set_paused(true)?;
                "the generator is paused".into()
            }
            Command::Resume => {
                self.set_paused(false)?;
                "the generator is running".into()
            }
        };
        // Publish the status now, so that all pages show the change immediately instead of up to half a second later.
        self.publish_status();
        Ok(text(&json!({ "type": "done", "done": done })))
    }

    /// Pauses or resumes the generator, and waits until it has.
    fn set_paused(&self, is_pause: bool) -> Result<(), String> {
        let (done, answer) = bounded(1);
        let request = PauseRequest { is_pause, done };
        let is_sent = self
            .generator
            .send_timeout(request, GENERATOR_TIMEOUT)
            .is_ok();
        let is_done = is_sent && answer.recv_timeout(GENERATOR_TIMEOUT).is_ok();
        is_done
            .then_some(())
            .ok_or_else(|| "the generator is waiting for a slow reader and has not answered".into())
    }

    /// Publishes the status to all pages.
    ///
    /// The status holds sums instead of rates. A page that misses one status can still compute rates from the next.
    pub(crate) fn publish_status(&self) {
        let _lock = self
            .status_lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = self.book.now();
        let counts = self.quotes.counts();
        let dropped = |by: &DropReason| (by.to_string(), counts.dropped_by(*by).into());
        let dropped: Map<String, Value> = DropReason::ALL.iter().map(dropped).collect();
        let status = json!({
            "type": "status", "now": now, "policy": self.quotes.settings().policy.to_string(),
            "paused": self.is_paused.load(Ordering::Relaxed),
            "published": self.published.load(Ordering::Relaxed),
            "delivered": counts.delivered, "dropped": dropped,
            "clients": self.server.clients(), "memory": resident(), "readers": self.readers.list(now),
        });
        // The topic conflates, so publishing never waits: a reader without room gets the next status instead.
        if let Err(error) = self.status.publish(text(&status)) {
            println!("status: {error}");
        }
    }
}

fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

/// Returns the resident memory of this program in KiB, if the kernel reports it.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Whether the client is on the server's machine, as far as the server can see. This is enough for an experiment. It is
/// not enough behind a proxy on the same machine, whose clients all look like this: a real server asks for a secret.
fn may_control(conn: &Connection) -> bool {
    conn.peer().is_loopback() && conn.request().has_loopback_host()
}

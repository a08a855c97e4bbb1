//! [`Dashboard`]: a live view of the server, and experiments that can be started from it.
//!
//! While somebody watches, the thread `sp-dash` takes a snapshot twice a second. It encodes the snapshot once and
//! publishes it to a topic of its own hub. The topic has the policy `conflate`, so a slow watcher gets only the latest
//! snapshot and does not delay the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Deserialize;
use serde_json::json;
use standpipe::{
    Connection, Hub, HubConfig, Message, Outbox, Policy, Publication, ServerHandle,
    SubscribeOptions, Topic, TopicSettings,
};

use super::Failure;
use super::admin::disconnect::{Close, Disconnector};
use super::links::Links;
use super::names;
use client_row::ClientRow;
pub(crate) use experiments::Experiments;
use search::{Search, rows_of};
use snapshot::Observer;

mod client_row;
mod experiments;
mod generator;
mod kernel;
mod search;
mod slow;
mod snapshot;

/// Time between two snapshots.
const INTERVAL: Duration = Duration::from_millis(500);
/// The shortest time between two snapshots. After a command, the next snapshot is taken as early as this allows.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Experiments are stopped after nobody has watched for this time.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// The name of the snapshots' topic, and the last segment of the path `/dashboard/live`.
pub(crate) const LIVE: &str = "live";

pub(crate) struct Dashboard {
    handle: ServerHandle,
    hub: Hub,
    live: Topic,
    watchers: AtomicUsize,
    /// Wakes `sp-dash`.
    wake: Sender<()>,
    is_over: AtomicBool,
    experiments: Experiments,
    disconnector: Arc<Disconnector>,
    /// The rows of all clients at the time of the last snapshot, sorted by number. Empty while there is no watcher.
    rows: Mutex<Arc<Vec<ClientRow>>>,
    /// The byte limit of a client's queue.
    queue_bytes: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A command from a watcher.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Command {
    AddSlow {
        topic: String,
        rate: Option<u64>,
    },
    SetRate {
        name: String,
        rate: Option<u64>,
    },
    RemoveSlow {
        name: String,
    },
    SetPolicy {
        topic: String,
        policy: String,
    },
    Generate {
        topic: String,
        rate: u32,
        size: usize,
    },
    Stop {
        topic: String,
    },
    /// Asks for the clients that match, in an order.
    Find(Search),
    /// Asks for the rows of these clients, in this order. A page uses it while a person points at the table.
    Rows {
        clients: Vec<u64>,
    },
    /// Disconnects a client, as `POST /clients/N/disconnect` does.
    Disconnect {
        client: u64,
        code: Option<u16>,
        reason: Option<String>,
    },
    /// Disconnects all clients of a user on all hubs, as `POST /users/U/disconnect` does.
    DisconnectUser {
        user: String,
        code: Option<u16>,
        reason: Option<String>,
    },
}

impl Dashboard {
    /// Starts the thread `sp-dash`. Call [`Dashboard::end`] to end it.
    ///
    /// # Errors
    /// When the thread cannot be started or the topic cannot be created.
    pub(crate) fn start(
        handle: ServerHandle,
        hub: Hub,
        links: Option<Links>,
        experiments: Experiments,
        disconnector: Arc<Disconnector>,
        queue_bytes: usize,
        has_page: bool,
    ) -> Result<Arc<Dashboard>, Failure> {
        let mut settings = HubConfig::default();
        settings.default = TopicSettings::default().policy(Policy::Conflate).queue(1);
        let (wake, woken) = bounded(1);
        let dashboard = Arc::new(Dashboard {
            live: Hub::new(settings).topic(LIVE)?,
            watchers: AtomicUsize::new(0),
            wake,
            is_over: AtomicBool::new(false),
            experiments,
            disconnector,
            rows: Mutex::default(),
            queue_bytes,
            thread: Mutex::default(),
            handle,
            hub,
        });
        let shared = Arc::clone(&dashboard);
        let observer = Observer::new(
            shared.handle.clone(),
            shared.hub.clone(),
            links,
            queue_bytes,
            has_page,
        );
        let thread = Builder::new()
            .name("sp-dash".into())
            .spawn(move || shared.observe(&woken, observer))?;
        *dashboard.lock_thread() = Some(thread);
        Ok(dashboard)
    }

    /// Sends snapshots to a client until it disconnects, and executes its commands.
    pub(crate) fn watch(&self, conn: &mut Connection) -> Result<(), Failure> {
        let _member = self
            .live
            .subscribe(conn.outbox(), SubscribeOptions::new())?;
        let _watcher = Watcher::new(self);
        while let Some(message) = conn.recv()? {
            let result = match &message {
                Message::Text(text) => serde_json::from_str(text)
                    .map_err(|error| format!("invalid command: {error}"))
                    .and_then(|command| self.answer(command)),
                _ => Err("a command must be a text message".into()),
            };
            let answer = result.unwrap_or_else(|error| json!({ "error": error }).to_string());
            conn.send(Message::text(answer))?;
        }
        Ok(())
    }

    /// Executes a command, and returns the answer as JSON.
    fn answer(&self, command: Command) -> Result<String, String> {
        let experiments = &self.experiments;
        let done = match command {
            Command::Find(search) => {
                let found = search.run(&self.rows(), self.queue_bytes)?.to_json();
                return Ok(found);
            }
            Command::Rows { clients } => return Ok(rows_of(&self.rows(), &clients).to_json()),
            _ if self.handle.is_shutting_down() => Err("the server is shutting down".into()),
            Command::AddSlow { topic, rate } => experiments.add_slow(&topic, rate),
            Command::SetRate { name, rate } => experiments.set_rate(&name, rate),
            Command::RemoveSlow { name } => experiments.remove_slow(&name),
            Command::SetPolicy { topic, policy } => self.set_policy(&topic, &policy),
            Command::Generate { topic, rate, size } => experiments.generate(&topic, rate, size),
            Command::Stop { topic } => experiments.stop(&topic),
            Command::Disconnect {
                client,
                code,
                reason,
            } => self.disconnect(client, Close { code, reason }),
            Command::DisconnectUser { user, code, reason } => {
                self.disconnect_user(&user, Close { code, reason })
            }
        };
        // Also after an error, because a command may have failed after a change.
        self.wake();
        done.map(|done| json!({ "done": done }).to_string())
    }

    fn set_policy(&self, topic: &str, policy: &str) -> Result<String, String> {
        let policy: Policy = policy.parse()?;
        let topic = self.hub.get(topic).ok_or("there is no such topic")?;
        topic.set_policy(policy);
        Ok(format!("the policy of {} is now {policy}", topic.name()))
    }

    /// Disconnects a client without waiting for what is queued, because the queue of a slow client may never become empty.
    fn disconnect(&self, number: u64, close: Close) -> Result<String, String> {
        let (code, reason) = close.checked()?;
        let client = self.handle.client(number).filter(Outbox::is_open);
        let client = client.ok_or_else(|| format!("client {number} has gone"))?;
        client.close_now(code, &reason);
        Ok(format!("client {number} was disconnected with {code}"))
    }

    /// # Blocking
    /// With links up to `--redis-timeout`.
    fn disconnect_user(&self, user: &str, close: Close) -> Result<String, String> {
        names::check("a user", user)?;
        let (code, reason) = close.checked()?;
        let clients = match self.disconnector.disconnect_user(user, code, &reason)? {
            0 if !self.disconnector.has_links() => {
                return Err(format!("user {user} has no clients"));
            }
            1 => format!("1 client of user {user} was disconnected with {code}"),
            n => format!("{n} clients of user {user} were disconnected with {code}"),
        };
        if self.disconnector.has_links() {
            return Ok(format!("{clients} on this hub; the other hubs do the same"));
        }
        Ok(clients)
    }

    /// The main function of `sp-dash`.
    ///
    /// # Blocking
    /// While there are watchers or experiments, waits up to [`INTERVAL`]. Otherwise waits without a limit. A new
    /// watcher, a command and [`Dashboard::end`] wake this thread.
    fn observe(&self, woken: &Receiver<()>, mut observer: Observer) {
        let (mut last, mut last_watched) = (Instant::now(), Instant::now());
        while !self.is_over.load(Ordering::Acquire) {
            if self.is_in_use() {
                let mut next = last + INTERVAL;
                while woken.recv_deadline(next).is_ok() {
                    next = last + MIN_INTERVAL;
                    if Instant::now() >= next || self.is_over.load(Ordering::Acquire) {
                        break;
                    }
                }
            } else {
                let _ = woken.recv();
                last_watched = Instant::now();
            }
            last = Instant::now();
            self.experiments.join_ended();
            if self.handle.is_shutting_down() {
                self.experiments.drain();
            }
            let watchers = self.watchers.load(Ordering::Acquire);
            if watchers > 0 {
                last_watched = last;
                let (slow, generators) = self.experiments.figures();
                let (snapshot, rows) = observer.snapshot(watchers, slow, generators);
                self.set_rows(rows);
                // Publishing to a conflating topic neither waits nor fails.
                let _ = self
                    .live
                    .publish(Publication::from(Message::text(snapshot)).json());
            } else {
                self.set_rows(Vec::new());
                if last.duration_since(last_watched) > ABANDONED_AFTER {
                    self.experiments.stop_all();
                }
            }
        }
    }

    fn rows(&self) -> Arc<Vec<ClientRow>> {
        Arc::clone(&self.lock_rows())
    }

    fn set_rows(&self, rows: Vec<ClientRow>) {
        let old = std::mem::replace(&mut *self.lock_rows(), Arc::new(rows));
        // The lock is released here. No watcher waits while thousands of rows are freed.
        drop(old);
    }

    fn lock_rows(&self) -> MutexGuard<'_, Arc<Vec<ClientRow>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_use(&self) -> bool {
        self.watchers.load(Ordering::Acquire) > 0 || !self.experiments.is_empty()
    }

    /// Ends `sp-dash` and all experiments. Call this after the server has ended.
    ///
    /// # Blocking
    /// Waits until all these threads have ended. The server has ended, so none of them waits for long.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.lock_thread().take() {
            // A thread that panicked has also ended.
            let _ = thread.join();
        }
        self.experiments.join_all();
    }

    fn wake(&self) {
        // A full channel is not an error: a wake-up is already pending.
        let _ = self.wake.try_send(());
    }

    fn lock_thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a client as a watcher until it is dropped.
struct Watcher<'a>(&'a Dashboard);

impl<'a> Watcher<'a> {
    fn new(dashboard: &'a Dashboard) -> Watcher<'a> {
        dashboard.watchers.fetch_add(1, Ordering::AcqRel);
        dashboard.wake();
        Watcher(dashboard)
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

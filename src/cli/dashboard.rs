//! [`Dashboard`]: the house as it is now, live for whoever watches, and things to try on it.
//!
//! Its thread `sp-dash` looks twice a second while somebody watches, and publishes what it saw, encoded once, to a topic
//! of a hub of its own that conflates: a watcher that is slow gets the latest, and costs the others nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Deserialize;
use serde_json::json;
use standpipe::{
    Connection, Hub, HubConfig, Message, Policy, Publication, ServerHandle, SubscribeOptions,
    Topic, TopicSettings,
};

use super::publish::escaped;
use super::{Failure, names, topics};
use generator::Generator;
use slow::{Slow, Whereto};
use snapshot::Observer;

mod generator;
mod kernel;
mod slow;
mod snapshot;

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(500);
/// A command shows at once, but no more often than this.
const SOONEST: Duration = Duration::from_millis(100);
/// What was begun here ends when nobody has watched for so long.
const FORGOTTEN: Duration = Duration::from_secs(60);
const SLOW: usize = 8;
const GENERATORS: usize = 4;
/// What its topic and its path are called.
pub(crate) const LIVE: &str = "live";

pub(crate) struct Dashboard {
    handle: ServerHandle,
    hub: Hub,
    /// What the slow clients bring, where tokens are asked for.
    token: Option<String>,
    live: Topic,
    watchers: AtomicUsize,
    bell: Sender<()>,
    over: AtomicBool,
    numbers: AtomicU64,
    toys: Mutex<Toys>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What people have begun here.
#[derive(Default)]
struct Toys {
    slow: Vec<Slow>,
    /// Places taken by those that are still connecting.
    coming: usize,
    generators: Vec<Generator>,
}

/// What a watcher asks for.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
enum Order {
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
}

impl Dashboard {
    /// # Errors
    /// When there is no thread for it, or no topic.
    pub(crate) fn start(
        handle: ServerHandle,
        hub: Hub,
        token: Option<String>,
        queue_bytes: usize,
    ) -> Result<Arc<Dashboard>, Failure> {
        let mut settings = HubConfig::default();
        settings.default = TopicSettings::default().policy(Policy::Conflate).queue(1);
        let (bell, rung) = bounded(1);
        let dashboard = Arc::new(Dashboard {
            live: Hub::new(settings).topic(LIVE)?,
            handle,
            hub,
            token,
            watchers: AtomicUsize::new(0),
            bell,
            over: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
            toys: Mutex::default(),
            thread: Mutex::default(),
        });
        let own = Arc::clone(&dashboard);
        let thread = Builder::new()
            .name("sp-dash".into())
            .spawn(move || own.observe(&rung, queue_bytes))?;
        *lock(&dashboard.thread) = Some(thread);
        Ok(dashboard)
    }

    /// Shows a client everything until it is gone, and does what it asks for.
    pub(crate) fn watch(&self, conn: &mut Connection) -> Result<(), Failure> {
        let _member = self
            .live
            .subscribe(conn.outbox(), SubscribeOptions::new())?;
        let _watcher = Watcher::new(self);
        while let Some(message) = conn.recv()? {
            let done = match &message {
                Message::Text(text) => serde_json::from_str(text)
                    .map_err(|error| format!("no command: {error}"))
                    .and_then(|order| self.obey(order)),
                _ => Err("commands are text".into()),
            };
            let answer = match done {
                Ok(done) => json!({ "done": done }),
                Err(error) => json!({ "error": error }),
            };
            conn.send(Message::text(answer.to_string()))?;
            self.ring();
        }
        Ok(())
    }

    fn obey(&self, order: Order) -> Result<String, String> {
        if self.handle.is_shutting_down() {
            return Err("shutting down".into());
        }
        match order {
            Order::AddSlow { topic, rate } => self.add_slow(&topic, rate),
            Order::SetRate { name, rate } => {
                let toys = lock(&self.toys);
                let slow = toys.slow.iter().find(|slow| slow.name == name);
                slow.ok_or("there is no such client")?.set_rate(rate);
                Ok(format!("{name} reads at another rate"))
            }
            Order::RemoveSlow { name } => {
                let found = {
                    let mut toys = lock(&self.toys);
                    let at = toys.slow.iter().position(|slow| slow.name == name);
                    at.map(|at| toys.slow.remove(at))
                };
                found.ok_or("there is no such client")?.leave();
                Ok(format!("{name} has left"))
            }
            Order::SetPolicy { topic, policy } => {
                let policy = topics::policy(&policy)?;
                let topic = self.hub.get(&topic).ok_or("there is no such topic")?;
                topic.set_policy(policy);
                Ok(format!("{} has the policy {policy}", topic.name()))
            }
            Order::Generate { topic, rate, size } => self.generate(&topic, rate, size),
            Order::Stop { topic } => {
                let mut toys = lock(&self.toys);
                let own = |generator: &&mut Generator| generator.topic == topic;
                let found: Vec<_> = toys.generators.iter_mut().filter(own).collect();
                if found.is_empty() {
                    return Err("nothing is generated there".into());
                }
                found.into_iter().for_each(Generator::stop);
                Ok(format!("nothing more is generated to {topic}"))
            }
        }
    }

    fn add_slow(&self, topic: &str, rate: Option<u64>) -> Result<String, String> {
        names::check("a topic", topic)?;
        let address = self.handle.local_addrs().first().copied();
        let address: SocketAddr = address.ok_or("there is no TCP port to connect to")?;
        let number = {
            let mut toys = lock(&self.toys);
            if toys.slow.len() + toys.coming >= SLOW {
                return Err(format!("there are {SLOW} slow clients; remove one first"));
            }
            toys.coming += 1;
            self.number()
        };
        let path = format!("/ws/{}?name=slow-{number}", escaped(topic));
        let to = Whereto {
            address: super::address::reachable(address),
            path: &path,
            token: self.token.as_deref(),
        };
        // Not under the lock: it is our own acceptor that is waited for.
        let started = Slow::start(number, topic, rate, &to);
        let mut toys = lock(&self.toys);
        toys.coming -= 1;
        let slow = started?;
        let name = slow.name.clone();
        toys.slow.push(slow);
        Ok(format!("{name} is a member of {topic}"))
    }

    fn generate(&self, topic: &str, rate: u32, size: usize) -> Result<String, String> {
        names::check("a topic", topic)?;
        if !(1..=generator::FASTEST).contains(&rate) {
            return Err(format!(
                "a rate is 1 to {} messages a second",
                generator::FASTEST
            ));
        }
        if size > generator::LARGEST {
            return Err(format!(
                "a message has at most {} bytes",
                generator::LARGEST
            ));
        }
        let topic = self.hub.topic(topic).map_err(|error| error.to_string())?;
        let mut toys = lock(&self.toys);
        // Another rate for the same topic takes the place of the first.
        for generator in &mut toys.generators {
            if generator.topic == topic.name() {
                generator.stop();
            }
        }
        // One that stops may still wait for its topic, and is a thread until it is done.
        if toys.generators.len() >= GENERATORS {
            return Err(format!("{GENERATORS} generators are there; stop one first"));
        }
        let name = topic.name().to_owned();
        let generator = Generator::start(self.number(), topic, rate, size)?;
        toys.generators.push(generator);
        Ok(format!("{name} gets {rate} messages a second"))
    }

    /// What `sp-dash` does.
    ///
    /// # Blocking
    /// For its bell: rung by a watcher that comes, a command, and the end. Twice a second while there is something to
    /// look at.
    fn observe(&self, rung: &Receiver<()>, queue_bytes: usize) {
        let mut observer = Observer::new(self.handle.clone(), self.hub.clone(), queue_bytes);
        let (mut last, mut watched) = (Instant::now(), Instant::now());
        while !self.over.load(Ordering::Acquire) {
            if !self.is_in_use() {
                let _ = rung.recv();
                watched = Instant::now();
            } else {
                let mut next = last + EVERY;
                while rung.recv_deadline(next).is_ok() {
                    next = last + SOONEST;
                    if Instant::now() >= next || self.over.load(Ordering::Acquire) {
                        break;
                    }
                }
            }
            last = Instant::now();
            self.reap();
            self.run_out();
            let watchers = self.watchers.load(Ordering::Acquire);
            if watchers > 0 {
                watched = last;
                let toys = lock(&self.toys);
                let slow = toys.slow.iter().map(Slow::figures).collect();
                let generators = toys.generators.iter().map(Generator::figures).collect();
                drop(toys);
                let seen = observer.look(watchers, slow, generators);
                // It conflates, so it neither waits nor fails.
                let _ = self
                    .live
                    .publish(Publication::from(Message::text(seen)).json());
            } else if last.duration_since(watched) > FORGOTTEN {
                self.forget();
            }
        }
    }

    fn is_in_use(&self) -> bool {
        let toys = lock(&self.toys);
        self.watchers.load(Ordering::Acquire) > 0
            || !(toys.slow.is_empty() && toys.generators.is_empty())
    }

    /// Joins generators that have ended.
    fn reap(&self) {
        let ended: Vec<Generator> = {
            let mut toys = lock(&self.toys);
            let all = std::mem::take(&mut toys.generators);
            let (ended, left) = all.into_iter().partition(Generator::has_ended);
            toys.generators = left;
            ended
        };
        ended.into_iter().for_each(Generator::join);
    }

    fn forget(&self) {
        let slow = {
            let mut toys = lock(&self.toys);
            toys.generators.iter_mut().for_each(Generator::stop);
            std::mem::take(&mut toys.slow)
        };
        slow.into_iter().for_each(Slow::leave);
    }

    /// Lets everything run out when the house is being closed: slow clients read what is left, and get their 1001.
    fn run_out(&self) {
        if self.handle.is_shutting_down() {
            let mut toys = lock(&self.toys);
            toys.generators.iter_mut().for_each(Generator::stop);
            toys.slow.iter().for_each(|slow| slow.set_rate(None));
        }
    }

    /// Ends all of it, when the server has ended.
    ///
    /// # Blocking
    /// Until its threads have ended: nothing they wait for is left.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.ring();
        if let Some(thread) = lock(&self.thread).take() {
            // A thread that panicked has ended, too.
            let _ = thread.join();
        }
        self.forget();
        let generators = std::mem::take(&mut lock(&self.toys).generators);
        generators.into_iter().for_each(Generator::join);
    }

    fn ring(&self) {
        // Rung already is as good.
        let _ = self.bell.try_send(());
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Somebody who watches.
struct Watcher<'a>(&'a Dashboard);

impl<'a> Watcher<'a> {
    fn new(dashboard: &'a Dashboard) -> Watcher<'a> {
        dashboard.watchers.fetch_add(1, Ordering::AcqRel);
        dashboard.ring();
        Watcher(dashboard)
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

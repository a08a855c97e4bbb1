//! [`Experiments`]: the slow clients and message generators that people have started from the dashboard.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use standpipe::{ConnectionSender, Hub, ServerHandle};

use super::generator::{self, Generator};
use super::slow::{self, Entrance, SlowClient, Target};
use crate::cli::access::Access;
use crate::cli::address::reachable;
use crate::cli::names;
use crate::cli::percent::escaped;

const MAX_SLOW: usize = 8;
const MAX_GENERATORS: usize = 4;

pub(crate) struct Experiments {
    handle: ServerHandle,
    /// Where slow clients connect if the listeners have TLS.
    channel: Option<ConnectionSender>,
    hub: Hub,
    /// Has the token that the slow clients send, for a server that requires one.
    access: Arc<Access>,
    /// The number of the last experiment, which is part of its name and its thread's name.
    last_number: AtomicU64,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    slow: Vec<SlowClient>,
    /// Slow clients that are still connecting. They count towards `MAX_SLOW`.
    connecting: usize,
    generators: Vec<Generator>,
}

impl Experiments {
    /// `channel` leads to the server if its listeners have TLS.
    pub(crate) fn new(
        handle: ServerHandle,
        channel: Option<ConnectionSender>,
        hub: Hub,
        access: Arc<Access>,
    ) -> Experiments {
        Experiments {
            handle,
            channel,
            hub,
            access,
            last_number: AtomicU64::new(0),
            running: Mutex::default(),
        }
    }

    /// Connects a slow client and subscribes it to `topic`.
    ///
    /// # Blocking
    /// Waits for the connection and for the opening handshake with this server.
    pub(super) fn add_slow(&self, topic: &str, rate: Option<u64>) -> Result<String, String> {
        names::check("a topic", topic)?;
        let entrance = self.entrance()?;
        let number = {
            let mut running = self.lock();
            if running.slow.len() + running.connecting >= MAX_SLOW {
                return Err(format!(
                    "there are {MAX_SLOW} slow clients; remove one first"
                ));
            }
            running.connecting += 1;
            self.next_number()
        };
        let path = format!("/ws/{}?name=slow-{number}", escaped(topic));
        let token = self.access.tokens.own();
        let target = Target {
            entrance,
            path: &path,
            token,
        };
        // The lock is not held here, because `start` waits for this server's own acceptor.
        let started = SlowClient::start(number, topic, rate, &target);
        let mut running = self.lock();
        running.connecting -= 1;
        let slow = started?;
        let name = slow.name.clone();
        running.slow.push(slow);
        Ok(format!("{name} is subscribed to {topic}"))
    }

    fn entrance(&self) -> Result<Entrance, String> {
        if let Some(channel) = &self.channel {
            return Ok(Entrance::Channel(channel.clone()));
        }
        let address = self.handle.local_addrs().first().copied();
        let address = address.ok_or("the server has no TCP port to connect to")?;
        Ok(Entrance::Listener(reachable(address)))
    }

    pub(super) fn set_rate(&self, name: &str, rate: Option<u64>) -> Result<String, String> {
        let running = self.lock();
        let slow = running.slow.iter().find(|slow| slow.name == name);
        slow.ok_or("there is no such client")?.set_rate(rate);
        Ok(format!("the read rate of {name} has changed"))
    }

    /// Disconnects a slow client and forgets it.
    pub(super) fn remove_slow(&self, name: &str) -> Result<String, String> {
        let removed = {
            let mut running = self.lock();
            let index = running.slow.iter().position(|slow| slow.name == name);
            index.map(|index| running.slow.remove(index))
        };
        removed.ok_or("there is no such client")?.stop();
        Ok(format!("{name} was removed"))
    }

    /// Starts a generator for `topic`. It replaces the topic's previous generator.
    pub(super) fn generate(&self, topic: &str, rate: u32, size: usize) -> Result<String, String> {
        names::check("a topic", topic)?;
        if !(1..=generator::MAX_RATE).contains(&rate) {
            return Err(format!(
                "the rate must be 1 to {} messages per second",
                generator::MAX_RATE
            ));
        }
        if size > generator::MAX_SIZE {
            return Err(format!(
                "a message may have at most {} bytes",
                generator::MAX_SIZE
            ));
        }
        let topic = self.hub.topic(topic).map_err(|error| error.to_string())?;
        let mut running = self.lock();
        for generator in &mut running.generators {
            if generator.topic == topic.name() {
                generator.stop();
            }
        }
        // A stopped generator still counts until its thread ends, because its `publish` may be waiting.
        if running.generators.len() >= MAX_GENERATORS {
            return Err(format!(
                "there are {MAX_GENERATORS} generators; stop one first"
            ));
        }
        let name = topic.name().to_owned();
        let generator = Generator::start(self.next_number(), topic, rate, size)?;
        running.generators.push(generator);
        Ok(format!("sending {rate} messages per second to {name}"))
    }

    /// Stops the generator of `topic`.
    pub(super) fn stop(&self, topic: &str) -> Result<String, String> {
        let mut running = self.lock();
        let matching = |generator: &&mut Generator| generator.topic == topic;
        let found: Vec<_> = running.generators.iter_mut().filter(matching).collect();
        if found.is_empty() {
            return Err("no generator sends to this topic".into());
        }
        found.into_iter().for_each(Generator::stop);
        Ok(format!("stopped sending to {topic}"))
    }

    pub(super) fn is_empty(&self) -> bool {
        let running = self.lock();
        running.slow.is_empty() && running.generators.is_empty()
    }

    pub(super) fn figures(&self) -> (Vec<slow::Figures>, Vec<generator::Figures>) {
        let running = self.lock();
        (
            running.slow.iter().map(SlowClient::figures).collect(),
            running.generators.iter().map(Generator::figures).collect(),
        )
    }

    /// Joins generators whose threads have ended.
    pub(super) fn join_ended(&self) {
        let ended: Vec<Generator> = {
            let mut running = self.lock();
            let all = std::mem::take(&mut running.generators);
            let (ended, active) = all.into_iter().partition(Generator::has_ended);
            running.generators = active;
            ended
        };
        ended.into_iter().for_each(Generator::join);
    }

    /// Stops all generators, and lets slow clients read at full speed, so that shutdown can drain them: they read what
    /// is queued, and then Close 1001.
    pub(super) fn drain(&self) {
        let mut running = self.lock();
        running.generators.iter_mut().for_each(Generator::stop);
        running.slow.iter().for_each(|slow| slow.set_rate(None));
    }

    /// Disconnects all slow clients and stops all generators, without waiting for the generators.
    pub(super) fn stop_all(&self) {
        let slow = {
            let mut running = self.lock();
            running.generators.iter_mut().for_each(Generator::stop);
            std::mem::take(&mut running.slow)
        };
        slow.into_iter().for_each(SlowClient::stop);
    }

    /// Stops everything and joins all threads.
    ///
    /// # Blocking
    /// Waits for the last `publish` of each generator.
    pub(super) fn join_all(&self) {
        self.stop_all();
        let generators = std::mem::take(&mut self.lock().generators);
        generators.into_iter().for_each(Generator::join);
    }

    fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

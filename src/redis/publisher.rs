//! [`Publisher`]: thread `sp-redis-pub`, which owns the sending connection.
//!
//! It sends all publishes that wait as one pipeline, and then receives all replies. Publishes of one topic become one call
//! of the script. Heartbeats go the same way: each is published to this hub's own channel and must come back on the
//! subscriber connection. This proves that the whole way works, not only the socket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::{Value, cmd};

use super::calls::{Expected, by_topic, publish_call};
use super::connection::{
    Commands, ServerConnection, ServerError, elements, mastership, number, time,
};
use super::fences::Fences;
use super::figures::Figures;
use super::interval::Interval;
use super::link::Link;
use super::pending::{PendingPublish, Stage};
use super::presence::PresenceWriter;
use super::topics::Query;
use crate::hub::Topic;
use crate::sync::lock;

/// Every so many heartbeats, the server's identity is asked for.
const IDENTITY_INTERVAL: u64 = 10;

/// How often the lifetime of the counters and streams of open topics is extended.
const REFRESH_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// The most keys whose lifetime is extended together.
const MAX_REFRESHED: usize = 512;

/// How long a counter is kept after the last publish, in milliseconds.
pub(super) const COUNTER_LIFETIME_MS: u64 = 3_600_000;

pub(super) struct Publisher {
    pub(super) link: Arc<Link>,
    pub(super) connection: ServerConnection,
    /// The number of the connection.
    pub(super) number: u64,
    pub(super) epoch: String,
    /// The hash of the script that publishes.
    pub(super) script: String,
    presence: PresenceWriter,
    next_heartbeat: Instant,
    next_refresh: Instant,
    fences: Fences,
    /// Log lines about refused publishes.
    refusals: Interval,
}

impl Publisher {
    pub(super) fn new(
        link: Arc<Link>,
        connection: ServerConnection,
        number: u64,
        (epoch, script): (String, String),
        in_doubt: Vec<Arc<PendingPublish>>,
        presence: PresenceWriter,
    ) -> Publisher {
        let now = Instant::now();
        Publisher {
            link,
            connection,
            number,
            epoch,
            script,
            presence,
            next_heartbeat: now,
            next_refresh: now + REFRESH_INTERVAL,
            fences: Fences::new(in_doubt),
            refusals: Interval::default(),
        }
    }

    /// Publishes until the link is lost. Returns the publishes whose outcome is not known.
    ///
    /// # Blocking
    /// Waits for publishes and for the next heartbeat. Woken by publishing threads, and by
    /// [`Link::wake_all`](super::link::Link::wake_all). Waits for replies up to the timeout.
    pub(super) fn run(mut self) -> Vec<Arc<PendingPublish>> {
        while self.link.is_current(self.number) {
            let until = self.next_heartbeat.min(self.presence.next_step());
            let publishes = self.link.queue.take(until);
            let mut sent = Vec::new();
            let round = self
                .round(publishes, &mut sent)
                .and_then(|()| self.presence.step(&mut self.connection))
                .and_then(|()| self.refresh_lifetimes());
            if let Err(error) = round {
                self.link.set_lost(self.number, &error.to_string());
                self.fences.in_doubt.extend(sent);
                break;
            }
            if self.link.is_stopped() {
                self.say_goodbye();
                break;
            }
        }
        self.fences.in_doubt
    }

    /// Sends one pipeline and receives its replies. After an error, `sent` has the publishes without a reply.
    fn round(
        &mut self,
        publishes: Vec<Arc<PendingPublish>>,
        sent: &mut Vec<Arc<PendingPublish>>,
    ) -> Result<(), ServerError> {
        let (mut commands, mut expected) = (Commands::default(), VecDeque::new());
        let now = Instant::now();
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + self.link.timeout / 5;
            self.add_heartbeat(now, &mut commands, &mut expected);
            self.settle_in_doubt();
        }
        self.add_waiting(publishes, &mut commands, &mut expected);
        if commands.len() == 0 {
            return Ok(());
        }
        let received = self.exchange(&commands, &mut expected);
        if received.is_err() {
            sent.extend(expected.into_iter().flat_map(|expected| match expected {
                Expected::Publishes(publishes) => publishes,
                _ => Vec::new(),
            }));
        }
        received
    }

    /// Adds publishes, and the call of the subscriber thread if it has something to do.
    fn add_waiting(
        &self,
        publishes: Vec<Arc<PendingPublish>>,
        commands: &mut Commands,
        expected: &mut VecDeque<Expected>,
    ) {
        if self.link.topics.take_news() {
            self.call_subscriber(commands);
            expected.push_back(Expected::Nothing);
        }
        for publishes in by_topic(publishes) {
            self.add_publishes(publishes, commands, expected);
        }
    }

    /// Sends what waits before all replies have been received, so that the server has always something to do. At the next
    /// heartbeat this ends.
    fn send_more(&mut self, expected: &mut VecDeque<Expected>) -> Result<(), ServerError> {
        if Instant::now() >= self.next_heartbeat {
            return Ok(());
        }
        let messages = expected.iter().map(Expected::messages).sum();
        let bytes = expected.iter().map(Expected::bytes).sum();
        let publishes = self.link.queue.take_more(messages, bytes);
        if publishes.is_empty() {
            return Ok(());
        }
        let mut commands = Commands::default();
        self.add_waiting(publishes, &mut commands, expected);
        self.connection.send(&commands)
    }

    /// Receives the replies. What has been replied to is removed from `expected`.
    fn exchange(
        &mut self,
        commands: &Commands,
        expected: &mut VecDeque<Expected>,
    ) -> Result<(), ServerError> {
        self.connection.send(commands)?;
        let (mut server_time, mut unexecuted) = (0, Vec::new());
        let mut result = Ok(());
        while let Some(next) = expected.front() {
            let deadline = Instant::now() + self.link.timeout;
            let reply = self.connection.receive(deadline);
            let is_refused = matches!(reply, Err(ServerError::Refused { .. }));
            let reply = match reply {
                Err(error) if !is_refused || !matches!(next, Expected::Publishes(_)) => {
                    result = Err(error);
                    break;
                }
                reply => reply,
            };
            match expected.pop_front().expect("it is the first one") {
                Expected::Publishes(publishes) => {
                    // After an error the replies to the other commands follow, and say the same.
                    let finished = self.finish(publishes, reply, &mut unexecuted);
                    result = result.and(finished);
                    if result.is_ok() {
                        result = self.send_more(expected);
                    }
                }
                Expected::Time(sent_at) => {
                    server_time = reply.ok().as_ref().and_then(time).unwrap_or(0);
                    self.link.measure(server_time, sent_at);
                }
                Expected::Heartbeat(number) => self.fences.add(number, server_time),
                Expected::Identity => {
                    let identity = reply.ok().as_ref().and_then(mastership);
                    if identity
                        .is_none_or(|identity| !identity.is_master || identity.epoch != self.epoch)
                    {
                        result = Err(ServerError::Broken("it is not the same master".into()));
                    }
                }
                Expected::Nothing => {}
            }
        }
        self.link.queue.push_front(unexecuted);
        result
    }

    fn add_heartbeat(
        &mut self,
        now: Instant,
        commands: &mut Commands,
        expected: &mut VecDeque<Expected>,
    ) {
        let number = {
            let mut heartbeats = lock(&self.link.heartbeats);
            heartbeats.sent += 1;
            heartbeats.sent_at = Some(now);
            heartbeats.sent
        };
        // The time is taken before the heartbeat, so every command that is executed after the heartbeat is later.
        commands.add(&cmd("TIME"));
        expected.push_back(Expected::Time(now));
        let mut publish = cmd("PUBLISH");
        publish.arg(self.link.keys.own_channel());
        publish.arg(format!("h{number}"));
        commands.add(&publish);
        expected.push_back(Expected::Heartbeat(number));
        if number % IDENTITY_INTERVAL == 0 {
            commands.add(&cmd("INFO"));
            expected.push_back(Expected::Identity);
        }
    }

    fn call_subscriber(&self, commands: &mut Commands) {
        let mut publish = cmd("PUBLISH");
        publish.arg(self.link.keys.own_channel()).arg("w");
        commands.add(&publish);
    }

    /// Makes the subscriber thread read something, so that it sees that the link is stopped.
    fn say_goodbye(&mut self) {
        if let Err(error) = self.presence.leave(&mut self.connection) {
            log::debug!("redis {}: names are left: {error}", self.link.address());
        }
        let mut commands = Commands::default();
        self.call_subscriber(&mut commands);
        // An error is ignored: then the subscriber thread ends because its connection is broken.
        let _ = self.connection.send(&commands);
    }

    /// Adds a call of the script for publishes to one topic, without those whose threads have taken them back.
    fn add_publishes(
        &self,
        publishes: Vec<Arc<PendingPublish>>,
        commands: &mut Commands,
        expected: &mut VecDeque<Expected>,
    ) {
        let (keys, topic) = (&self.link.keys, publishes[0].topic.clone());
        let channel = keys.channel(topic.name());
        let is_awaited = self.link.topics.is_joined(&channel);
        let deadline = publishes.iter().map(|publish| publish.deadline()).min();
        let deadline = self.link.clock.at(deadline.unwrap_or_else(Instant::now));
        let sent: Vec<_> = publishes
            .into_iter()
            .filter(|publish| publish.try_send(deadline, is_awaited))
            .collect();
        if sent.is_empty() {
            return;
        }
        let floor = self.floor(&topic);
        let script = (&self.script[..], &self.epoch[..]);
        let call = publish_call(&self.link, script, &sent, (deadline, floor));
        commands.add(&call);
        expected.push_back(Expected::Publishes(sent));
    }

    /// Returns the id above which the messages of a topic get theirs. A last id that is far above the server's time comes
    /// from a wrong clock of this hub, from before it was ever connected, and would silence the topic on all hubs.
    fn floor(&self, topic: &Topic) -> u64 {
        let last_id = topic.last_id();
        if last_id > self.link.clock.max_id() {
            return 0;
        }
        last_id
    }

    /// Says what has become of publishes. Those that can be sent again are added to `unexecuted`.
    fn finish(
        &mut self,
        publishes: Vec<Arc<PendingPublish>>,
        reply: Result<Value, ServerError>,
        unexecuted: &mut Vec<Arc<PendingPublish>>,
    ) -> Result<(), ServerError> {
        let mut again = |publishes: Vec<Arc<PendingPublish>>| {
            let publishes = publishes.into_iter();
            unexecuted.extend(publishes.filter(|publish| publish.set_not_executed(None)));
        };
        match reply {
            Ok(reply) => {
                let Some([id, now, nodes]) = elements(&reply).map(|parts| {
                    let part = |n: usize| parts.get(n).and_then(number);
                    [part(0), part(1), part(2)]
                }) else {
                    return Err(super::connection::unexpected("the script"));
                };
                match (id, nodes) {
                    (Some(first_id), Some(nodes)) => self.assign(&publishes, first_id, nodes),
                    // The script has refused it. Perhaps only another publish of the same call was late.
                    _ => {
                        let now = now.ok_or_else(|| super::connection::unexpected("the script"))?;
                        let (late, early): (Vec<_>, Vec<_>) = publishes
                            .into_iter()
                            .partition(|publish| self.link.clock.at(publish.deadline()) < now);
                        refuse(&late, "redis did not take it in time");
                        again(early);
                    }
                }
                Ok(())
            }
            Err(error) if error.is_no_master() => {
                again(publishes);
                Err(ServerError::Broken(error.to_string()))
            }
            Err(ServerError::Refused { code, .. }) if code == "NOSCRIPT" => {
                again(publishes);
                Err(ServerError::Broken("the script is not loaded".into()))
            }
            Err(error) => {
                let reason = match &error {
                    ServerError::Refused { code, .. } => format!("redis refused it: {code}"),
                    ServerError::Broken(_) => return Err(error),
                };
                if self.refusals.is_over() {
                    log::warn!("redis {}: a publish failed: {error}", self.link.address());
                }
                for publish in publishes {
                    publish.settle(Stage::Refused(reason.clone().into()));
                }
                Ok(())
            }
        }
    }

    fn assign(&self, publishes: &[Arc<PendingPublish>], mut first_id: u64, nodes: u64) {
        let nodes = usize::try_from(nodes).unwrap_or(usize::MAX);
        for publish in publishes {
            publish.settle(Stage::Replied { first_id, nodes });
            Figures::add(&self.link.figures.published, publish.len());
            first_id += publish.len() as u64;
        }
    }

    /// Sends publishes again that the server has not executed, and makes local messages of those that it may have executed.
    fn settle_in_doubt(&mut self) {
        let returned = lock(&self.link.heartbeats).returned;
        let deadline = Instant::now() + self.link.timeout;
        let over = self.fences.take_over(returned, deadline);
        self.link.queue.push_front(over.not_executed);
        for publish in over.unproved {
            self.link.topics.ask(Query::Settle(publish));
        }
    }

    /// Extends the lifetime of what belongs to open topics, in which nothing may have been published for long.
    fn refresh_lifetimes(&mut self) -> Result<(), ServerError> {
        let now = Instant::now();
        if now < self.next_refresh {
            return Ok(());
        }
        self.next_refresh = now + REFRESH_INTERVAL;
        let topics = self.link.topics.all();
        for topics in topics.chunks(MAX_REFRESHED) {
            let mut commands = Commands::default();
            for (_, topic) in topics {
                let mut expire = cmd("PEXPIRE");
                expire.arg(self.link.keys.counter(topic.name()));
                expire.arg(COUNTER_LIFETIME_MS);
                commands.add(&expire);
            }
            self.connection
                .call(&commands, Instant::now() + self.link.timeout)?;
        }
        Ok(())
    }
}

fn refuse(publishes: &[Arc<PendingPublish>], reason: &'static str) {
    for publish in publishes {
        publish.settle(Stage::Refused(reason.into()));
    }
}

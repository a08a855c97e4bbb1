//! [`Subscriber`]: thread `sp-redis-sub`, which owns the subscriber connection and a connection for questions.
//!
//! Everything that changes a topic's place in the server's sequence while the link is up runs here, so that it has one
//! order. The thread never waits for a member. It never polls: the heartbeats guarantee that something arrives.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Value, cmd};

use super::connection::{Commands, ServerConnection, ServerError, bytes, elements};
use super::delivery::deliver;
use super::figures::Figures;
use super::interval::Interval;
use super::join::{Joining, MAX_TOGETHER};
use super::link::Link;
use super::malformed::Malformed;
use super::record::{self, Payload};
use super::topics::{Query, Requests};
use super::users::UserDisconnect;
use crate::hub::Since;
use crate::hub::Topic;
use crate::sync::lock;

/// The most topics that join together while the link is up. Messages are not delivered meanwhile.
const MAX_JOINING: usize = 64;

/// How far above the last id of its topic an id may be, if it is above the server's clock.
const MAX_FOLLOWING: u64 = 65_536;

pub(super) struct Subscriber {
    pub(super) link: Arc<Link>,
    pub(super) connection: ServerConnection,
    pub(super) joining: Joining,
    /// The number of the connection.
    pub(super) number: u64,
    /// Channels whose subscription has not been confirmed yet.
    pub(super) unconfirmed: HashSet<String>,
    /// Topics whose subscription has been confirmed, and that have not joined yet.
    pub(super) confirmed: Vec<(String, Topic)>,
    /// Log lines about payloads that are not valid.
    pub(super) refusals: Interval,
}

impl Subscriber {
    /// Receives until the link is lost.
    ///
    /// # Blocking
    /// Waits for the next message, up to the timeout. Woken by every message and heartbeat.
    pub(super) fn run(mut self) {
        if let Err(error) = self.connection.set_timeout(self.link.timeout) {
            return self.link.set_lost(self.number, &error.to_string());
        }
        while self.is_current() {
            let step = self.connection.receive_next();
            if !self.is_current() {
                break;
            }
            let step = step.and_then(|message| {
                self.link.set_received();
                self.handle(&message)?;
                self.joining.refresh_names()
            });
            if let Err(error) = step {
                self.link.set_lost(self.number, &error.to_string());
            }
        }
        self.link.topics.drop_queries();
    }

    fn is_current(&self) -> bool {
        !self.link.is_stopped() && self.link.is_current(self.number)
    }

    fn handle(&mut self, message: &Value) -> Result<(), ServerError> {
        let Some([kind, channel, payload]) =
            elements(message).and_then(|parts| parts.first_chunk())
        else {
            return Ok(());
        };
        let Some(channel) = bytes(channel).and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            return Ok(());
        };
        match (bytes(kind), bytes(payload)) {
            (Some(b"message"), Some(payload)) => {
                if channel == self.link.keys.own_channel() {
                    self.on_own_channel(payload)
                } else if channel == self.link.keys.users_channel() {
                    self.on_users_channel(payload);
                    Ok(())
                } else {
                    self.on_topic(channel, payload)
                }
            }
            (Some(b"subscribe"), _) => self.on_subscribed(channel),
            _ => Ok(()),
        }
    }

    /// Handles a heartbeat, or a call of another thread of this link.
    fn on_own_channel(&mut self, payload: &[u8]) -> Result<(), ServerError> {
        let text = std::str::from_utf8(payload).ok();
        let heartbeat = text.and_then(|text| text.strip_prefix('h')?.parse::<u64>().ok());
        if let Some(heartbeat) = heartbeat {
            let mut heartbeats = lock(&self.link.heartbeats);
            if heartbeat <= heartbeats.sent {
                heartbeats.returned = heartbeats.returned.max(heartbeat);
                if heartbeat == heartbeats.sent
                    && let Some(sent_at) = heartbeats.sent_at.take()
                {
                    self.link.figures.record_round_trip(sent_at.elapsed());
                }
            }
            return Ok(());
        }
        let requests = self.link.topics.take_requests();
        self.answer(requests)
    }

    fn answer(&mut self, requests: Requests) -> Result<(), ServerError> {
        let mut commands = Commands::default();
        for channels in requests.closed.chunks(MAX_TOGETHER) {
            commands.add(cmd("UNSUBSCRIBE").arg(channels));
        }
        for channels in requests.opened.chunks(MAX_TOGETHER) {
            commands.add(cmd("SUBSCRIBE").arg(channels));
        }
        self.unconfirmed.extend(requests.opened);
        self.connection.send(&commands)?;
        for query in requests.queries {
            match query {
                Query::Fill(topic, reply) => {
                    self.joining.fill(&topic)?;
                    // The thread that asked may have given up.
                    let _ = reply.send(());
                }
                Query::Since(topic, since, reply) => {
                    let _ = reply.send(self.check_since(&topic, since)?);
                }
                Query::Command(command, reply) => {
                    let answer = match self.joining.ask(&command) {
                        Err(error) if !error.is_about_command() => return Err(error),
                        answer => answer.map_err(|error| error.to_string()),
                    };
                    let _ = reply.send(answer);
                }
                Query::Settle(publish) => self.joining.settle(&publish)?,
            }
        }
        Ok(())
    }

    /// Lets topics join when their channels have been subscribed to: all that were opened together, up to a limit.
    fn on_subscribed(&mut self, channel: &str) -> Result<(), ServerError> {
        self.unconfirmed.remove(channel);
        if let Some(topic) = self.link.topics.subscribing(channel) {
            self.confirmed.push((channel.to_owned(), topic));
        }
        if self.unconfirmed.is_empty() || self.confirmed.len() >= MAX_JOINING {
            let confirmed = std::mem::take(&mut self.confirmed);
            return self.joining.join(&confirmed, &[]);
        }
        Ok(())
    }

    /// Handles what has been published on the channel of a topic.
    fn on_topic(&mut self, channel: &str, payload: &[u8]) -> Result<(), ServerError> {
        // Until the topic has joined, messages are ignored: its position will be after them.
        let Some((topic, joined_at)) = self.link.topics.joined(channel) else {
            return Ok(());
        };
        // Ids that follow those of the topic are right, even if the server's clock was set back.
        let following = topic.last_id().saturating_add(MAX_FOLLOWING);
        let max_id = self.link.clock.max_id().max(following);
        match record::parse(payload, &self.link.limits, max_id) {
            Ok(Payload::Messages {
                first_id,
                step,
                at_ms,
                records,
            }) => {
                let now_ms = self.link.clock.now() / 1000;
                let lag = Duration::from_millis(now_ms.saturating_sub(at_ms));
                self.link.figures.record_lag(lag);
                let last_id = topic.last_id();
                let is_missing = step > 0 && first_id - step > last_id;
                if is_missing && topic.settings().history > 0 {
                    self.joining.catch_up(&topic, first_id - 1)?;
                } else if first_id > last_id + 1 {
                    Figures::add(&self.link.figures.gaps, 1);
                }
                let is_below = first_id <= last_id;
                deliver(&self.link, &topic, first_id, lag, records);
                // A message after the join that is below the last id: someone else has moved this hub ahead of the
                // counter. The counter is raised, so that no further message is taken for a duplicate.
                if is_below && at_ms > joined_at / 1000 {
                    let channel = channel.to_owned();
                    return self.joining.join(&[(channel, topic)], &[]);
                }
            }
            Ok(Payload::Jump { to }) => {
                if to > topic.last_id() {
                    Figures::add(&self.link.figures.gaps, 1);
                    topic.jump_to(to);
                }
            }
            Ok(Payload::Cleared { to }) => topic.remove_history_up_to(to),
            Ok(Payload::Joined { node, name }) => self.set_present(&topic, node, &name, true),
            Ok(Payload::Left { node, name }) => self.set_present(&topic, node, &name, false),
            Err(reason) => self.report_malformed(&format!("topic {:?}", topic.name()), &reason),
        }
        Ok(())
    }

    /// Handles a user that another hub disconnects, or this one.
    fn on_users_channel(&mut self, payload: &[u8]) {
        match UserDisconnect::parse(payload) {
            Ok(message) if message.node == self.link.node => {}
            Ok(message) => self.link.on_disconnect.call(&message),
            Err(reason) => self.report_malformed("the channel for users", &reason),
        }
    }

    fn report_malformed(&mut self, place: &str, reason: &Malformed) {
        Figures::add(&self.link.figures.malformed, 1);
        if self.refusals.is_over() {
            let address = self.link.address();
            log::warn!("redis {address}: a payload of {place} was dropped: {reason}");
        }
    }

    fn set_present(&self, topic: &Topic, node: u64, name: &str, is_present: bool) {
        if node != self.link.node {
            topic.set_remote_present(node, name, is_present);
        }
    }

    /// Asks the server whether `since` has been assigned.
    fn check_since(&mut self, topic: &Topic, since: u64) -> Result<Since, ServerError> {
        if since <= topic.last_id() {
            return Ok(Since::Assigned);
        }
        let counter = self.link.keys.counter(topic.name());
        let value = self.joining.ask(cmd("GET").arg(counter))?;
        // The epoch has 8 bytes. The last id follows, and then the id at which the ids jumped last.
        let numbers = bytes(&value).and_then(|bytes| std::str::from_utf8(bytes.get(8..)?).ok());
        let last = numbers.and_then(|numbers| numbers.split(' ').next()?.parse::<u64>().ok());
        Ok(match last {
            Some(last) if since <= last => Since::Assigned,
            _ => Since::NotAssigned,
        })
    }
}

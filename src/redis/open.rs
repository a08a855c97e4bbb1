//! The requests of a hub to its link beside publishing: to receive a topic, to complete or remove its history, to check an
//! id.

use std::io;
use std::time::Instant;

use ::redis::{Cmd, Value, cmd};
use crossbeam_channel::{Receiver, Sender};

use super::connection::{bytes, number};
use super::link::Link;
use super::status::LinkState;
use super::topics::Query;
use crate::hub::Topic;
use crate::hub::{Since, Unavailable};

/// The script that removes a history.
const CLEAR: &str = include_str!("clear.lua");

impl Link {
    /// Receives the topic's messages from now on.
    ///
    /// # Blocking
    /// Waits until the topic has its position, up to the timeout while the link is up, and up to twice the timeout
    /// otherwise. Woken by the subscriber thread and by changes of the link's state.
    pub(super) fn open(&self, topic: &Topic) -> Result<(), Unavailable> {
        self.topics.register(self.keys.channel(topic.name()), topic);
        self.queue.call();
        let give_up = Instant::now() + 2 * self.timeout;
        loop {
            if topic.is_placed() {
                return Ok(());
            }
            if self.is_isolated() && topic.place_locally(self.clock.now(), &|| self.is_isolated()) {
                return Ok(());
            }
            let now = Instant::now();
            if now >= give_up || self.is_stopped() {
                return Err(Unavailable("redis does not answer".into()));
            }
            let isolation = Some(self.isolation()).filter(|isolation| *isolation > now);
            let until = isolation.map_or(give_up, |isolation| isolation.min(give_up));
            // The state is only read here, because a thread that changes it wakes those that wait.
            self.topics.wait(until, || {
                topic.is_placed() || self.word.state() == LinkState::Isolated
            });
        }
    }

    /// Completes the local history, if the link is up.
    ///
    /// # Blocking
    /// Waits for the subscriber thread, up to the timeout.
    pub(super) fn fill(&self, topic: &Topic) {
        // Without an answer, the history remains as it is.
        let _ = self.ask(|reply| Query::Fill(topic.clone(), reply));
    }

    /// Removes the history of a topic from the server and from all hubs.
    ///
    /// # Blocking
    /// Waits for the server, up to the timeout.
    pub(super) fn clear_history(&self, topic: &Topic) -> Result<(), Unavailable> {
        let reply = self.call_clear(topic);
        let reply = reply.map_err(|error| Unavailable(error.to_string().into()))?;
        // The members of other hubs are told through the channel. This thread may read the history before that message
        // comes back.
        topic.remove_history_up_to(number(&reply).unwrap_or(0));
        Ok(())
    }

    fn call_clear(&self, topic: &Topic) -> io::Result<Value> {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(CLEAR);
        let script = self.command(load)?;
        let name = topic.name();
        let mut call = cmd("EVALSHA");
        call.arg(bytes(&script).unwrap_or_default()).arg(3);
        call.arg(self.keys.counter(name));
        call.arg(self.keys.stream(name));
        call.arg(self.keys.cleared(name));
        call.arg(self.keys.channel(name)).arg(topic.last_id());
        self.command(call)
    }

    /// Sends a command to the server, and returns the reply.
    ///
    /// # Blocking
    /// Waits for the server, up to the timeout.
    ///
    /// # Errors
    /// The server has refused the command, or may have executed it. The kind is `NotConnected` if the link is isolated.
    pub(super) fn command(&self, command: Cmd) -> io::Result<Value> {
        match self.ask(|reply| Query::Command(command, reply)) {
            Some(answer) => answer.map_err(io::Error::other),
            None if self.is_isolated() => {
                let text = "the connection to redis is lost";
                Err(io::Error::new(io::ErrorKind::NotConnected, text))
            }
            None => {
                let text = "redis does not answer";
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }

    /// Says what is known about an id above the last one of this hub.
    ///
    /// # Blocking
    /// Waits for the server, up to the timeout.
    pub(super) fn check_since(&self, topic: &Topic, since: u64) -> Since {
        if let Some(answer) = self.ask(|reply| Query::Since(topic.clone(), since, reply)) {
            return answer;
        }
        let now = self.clock.now();
        if !self.is_isolated() {
            return Since::Unknown;
        }
        if since > self.clock.max_id() {
            return Since::NotAssigned;
        }
        // The local sequence continues above the id, so the client receives what is published here from now on.
        let above = now.max(since);
        if topic.place_locally(above, &|| self.is_isolated()) {
            Since::Assigned
        } else {
            Since::Unknown
        }
    }

    /// Stops receiving the messages of a topic that has ended.
    pub(super) fn close(&self, topic: &str) {
        let is_up = self.state() == LinkState::Up;
        self.topics.close(self.keys.channel(topic), is_up);
    }

    /// Asks the subscriber thread, and returns its answer. `None` if the link is not up, or is lost meanwhile.
    ///
    /// # Blocking
    /// Waits while the connection has just broken or the topics catch up, and then for the answer: up to the timeout
    /// together.
    fn ask<T>(&self, query: impl FnOnce(Sender<T>) -> Query) -> Option<T> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.state() {
                LinkState::Up => break,
                LinkState::Isolated => return None,
                _ if Instant::now() >= deadline || self.is_stopped() => return None,
                _ => self.topics.wait(deadline.min(self.next_state()), || {
                    matches!(self.word.state(), LinkState::Up | LinkState::Isolated)
                }),
            }
        }
        let (reply, answer): (Sender<T>, Receiver<T>) = crossbeam_channel::bounded(1);
        self.topics.ask(query(reply));
        self.queue.call();
        answer.recv_deadline(deadline).ok()
    }

    /// Returns when the state changes by itself, at the latest.
    fn next_state(&self) -> Instant {
        let now = Instant::now();
        Some(self.isolation())
            .filter(|isolation| *isolation > now)
            .unwrap_or(now + self.timeout)
    }
}

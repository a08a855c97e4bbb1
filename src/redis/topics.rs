//! [`OpenTopics`]: the topics whose messages this hub receives, and what is asked of the subscriber thread.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use ::redis::{Cmd, Value};
use crossbeam_channel::Sender;

use super::pending::PendingPublish;
use crate::hub::Since;
use crate::hub::{Topic, WeakTopic};
use crate::sync::{lock, wait};

#[derive(Debug, Default)]
pub(super) struct OpenTopics {
    state: Mutex<State>,
    /// Woken: threads that wait for a topic's position.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By channel.
    entries: HashMap<String, Entry>,
    /// Channels of topics that have ended. Each is or was in `entries`, and they are taken with every request.
    closed: Vec<String>,
    /// One for each thread that waits for an answer.
    queries: Vec<Query>,
    /// The subscriber thread has to be told that there are requests.
    has_news: bool,
}

#[derive(Debug)]
struct Entry {
    topic: WeakTopic,
    phase: Phase,
}

/// How far the subscription of a topic has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The channel is to be subscribed to.
    Requested,
    /// The server has been asked to. Messages are ignored, because the position will be after them.
    Subscribing,
    /// The channel is subscribed to, but the server has refused to open the topic. It is asked again with the next request.
    Refused,
    /// The topic has its position in the server's sequence. Contains the server's time of that, in microseconds.
    Joined(u64),
}

/// Something to do on the subscriber thread. If it is dropped, there is no answer.
#[derive(Debug)]
pub(super) enum Query {
    /// Completes the history.
    Fill(Topic, Sender<()>),
    /// Asks whether an id has been assigned.
    Since(Topic, u64, Sender<Since>),
    /// Sends a command to the server. An error that is about this command only is an answer.
    Command(Cmd, Sender<Result<Value, String>>),
    /// Makes a local message of a publish.
    Settle(Arc<PendingPublish>),
}

/// What is asked of the subscriber thread.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Channels to subscribe to.
    pub(super) opened: Vec<String>,
    /// Channels to unsubscribe from.
    pub(super) closed: Vec<String>,
    pub(super) queries: Vec<Query>,
}

impl OpenTopics {
    /// Registers a topic, so that its channel is subscribed to.
    pub(super) fn register(&self, channel: String, topic: &Topic) {
        let mut state = lock(&self.state);
        let is_refused = |entry: &Entry| entry.phase == Phase::Refused;
        let is_tried_again = state.entries.get(&channel).is_some_and(is_refused);
        let replaced = match state.entries.get(&channel) {
            // The lock must be released before this reference is dropped, because it may be the last one.
            Some(entry) => entry.topic.upgrade(),
            None => None,
        };
        if replaced.is_none() {
            let entry = Entry {
                topic: topic.downgrade(),
                phase: Phase::Requested,
            };
            state.entries.insert(channel, entry);
        }
        state.has_news |= replaced.is_none() || is_tried_again;
        drop(state);
        drop(replaced);
    }

    /// Removes the topic of a channel, unless a new one has been registered. `is_up` says whether the subscriber thread can
    /// unsubscribe now. Otherwise the channel is not subscribed to again.
    pub(super) fn close(&self, channel: String, is_up: bool) {
        let mut state = lock(&self.state);
        let Some(entry) = state.entries.get(&channel) else {
            return;
        };
        let alive = entry.topic.upgrade();
        if alive.is_none() {
            let was_subscribed = entry.phase != Phase::Requested;
            state.entries.remove(&channel);
            if was_subscribed && is_up {
                state.closed.push(channel);
                state.has_news = true;
            }
        }
        drop(state);
        drop(alive);
    }

    pub(super) fn ask(&self, query: Query) {
        let mut state = lock(&self.state);
        state.queries.push(query);
        state.has_news = true;
    }

    /// Returns whether there are requests that the subscriber thread has not been told of, and considers it told.
    pub(super) fn take_news(&self) -> bool {
        std::mem::take(&mut lock(&self.state).has_news)
    }

    /// Takes all requests. The opened topics are then being subscribed to.
    pub(super) fn take_requests(&self) -> Requests {
        let mut state = lock(&self.state);
        let mut closed = std::mem::take(&mut state.closed);
        closed.retain(|channel| !state.entries.contains_key(channel));
        let mut opened = Vec::new();
        for (channel, entry) in &mut state.entries {
            if matches!(entry.phase, Phase::Requested | Phase::Refused) {
                entry.phase = Phase::Subscribing;
                opened.push(channel.clone());
            }
        }
        Requests {
            opened,
            closed,
            queries: std::mem::take(&mut state.queries),
        }
    }

    /// Forgets all subscriptions and questions, because the connection is new. Returns all channels, which are then being
    /// subscribed to.
    pub(super) fn subscribe_all(&self) -> Vec<String> {
        let mut state = lock(&self.state);
        state.closed.clear();
        let dropped = std::mem::take(&mut state.queries);
        for entry in state.entries.values_mut() {
            entry.phase = Phase::Subscribing;
        }
        let channels = state.entries.keys().cloned().collect();
        // The lock must be released before these are dropped, because they may hold the last reference to a topic.
        drop(state);
        drop(dropped);
        channels
    }

    /// Drops the questions, because nobody can answer them now.
    pub(super) fn drop_queries(&self) {
        let dropped = std::mem::take(&mut lock(&self.state).queries);
        drop(dropped);
    }

    /// Returns the topic of a channel that is being subscribed to.
    pub(super) fn subscribing(&self, channel: &str) -> Option<Topic> {
        let state = lock(&self.state);
        let entry = state.entries.get(channel)?;
        (entry.phase == Phase::Subscribing).then(|| entry.topic.upgrade())?
    }

    /// Returns the topic of a channel, and the server's time when it joined, in microseconds. `None` until then.
    pub(super) fn joined(&self, channel: &str) -> Option<(Topic, u64)> {
        let state = lock(&self.state);
        let entry = state.entries.get(channel)?;
        match entry.phase {
            Phase::Joined(at) => Some((entry.topic.upgrade()?, at)),
            _ => None,
        }
    }

    /// Returns whether the messages of a channel are received.
    pub(super) fn is_joined(&self, channel: &str) -> bool {
        let state = lock(&self.state);
        let entry = state.entries.get(channel);
        entry.is_some_and(|entry| matches!(entry.phase, Phase::Joined(_)))
    }

    pub(super) fn set_joined(&self, channel: &str, at: u64) {
        let mut state = lock(&self.state);
        if let Some(entry) = state.entries.get_mut(channel)
            && entry.phase != Phase::Requested
        {
            entry.phase = Phase::Joined(at);
        }
        self.changed.notify_all();
    }

    /// Records that the server has refused to open a topic. The threads that wait for its position give up by themselves.
    pub(super) fn set_refused(&self, channel: &str) {
        if let Some(entry) = lock(&self.state).entries.get_mut(channel)
            && entry.phase == Phase::Subscribing
        {
            entry.phase = Phase::Refused;
        }
    }

    /// Returns all topics whose channels are being subscribed to.
    pub(super) fn all_subscribing(&self) -> Vec<(String, Topic)> {
        let state = lock(&self.state);
        let entries = state.entries.iter();
        entries
            .filter(|(_, entry)| entry.phase == Phase::Subscribing)
            .filter_map(|(channel, entry)| Some((channel.clone(), entry.topic.upgrade()?)))
            .collect()
    }

    /// Returns all topics that are registered.
    pub(super) fn all(&self) -> Vec<(String, Topic)> {
        let state = lock(&self.state);
        let entries = state.entries.iter();
        entries
            .filter_map(|(channel, entry)| Some((channel.clone(), entry.topic.upgrade()?)))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).entries.len()
    }

    /// Wakes all threads that wait for a position, because the state of the link has changed.
    pub(super) fn wake(&self) {
        let _state = lock(&self.state);
        self.changed.notify_all();
    }

    /// Waits for a change, until `until`, unless `is_done`.
    ///
    /// # Blocking
    /// Woken when a topic has got its position, and when the state of the link changes.
    pub(super) fn wait(&self, until: Instant, is_done: impl Fn() -> bool) {
        let state = lock(&self.state);
        let left = until.saturating_duration_since(Instant::now());
        if !is_done() && !left.is_zero() {
            drop(wait(&self.changed, state, Some(left)));
        }
    }
}

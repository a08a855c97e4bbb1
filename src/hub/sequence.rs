//! The half of [`Topic`] through which an engine assigns the ids: what it has received, where the ids jump, and the local
//! sequence of a hub that is isolated.
//!
//! An engine waits for no member. All of these calls hold the publish token only while they change memory and write what
//! sockets accept, so each waits for the others shortly.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::message::{Publication, TopicMessage, time_before};
use super::outcome::PublishOutcome;
use super::publish::{AfterPublish, Source, acquire_publish_token_soon, deliver_all, encode};
use super::topic::Topic;
use crate::connection::write::frame::EncodedFrame;
use crate::sync::lock;

/// Where a topic is in its sequence of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) last_id: u64,
    /// The topic has got its position from the engine, or began a local sequence without it.
    pub(crate) is_placed: bool,
    /// The first id of a local sequence, if there is one.
    pub(crate) local_from: Option<u64>,
}

/// Messages that an engine has received, with consecutive ids.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) first_id: u64,
    /// How long ago they were published.
    pub(crate) age: Duration,
    pub(crate) publications: Vec<Publication>,
}

/// A message from the history of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: u64,
    /// How long ago it was published.
    pub(crate) age: Duration,
    pub(crate) publication: Publication,
}

impl Topic {
    /// Returns whether the topic has its position. Never waits.
    pub(crate) fn is_placed(&self) -> bool {
        self.state.is_placed.load(Ordering::Acquire)
    }

    /// Returns the topic's position when every publish that had begun is over.
    ///
    /// # Blocking
    /// Waits for the publish token, which is free soon.
    pub(crate) fn position(&self) -> Position {
        let _token = acquire_publish_token_soon(&self.state);
        let members = lock(&self.state.members);
        Position {
            last_id: members.last_id.get(),
            is_placed: self.is_placed(),
            local_from: members.last_id.local_from(),
        }
    }

    /// Gives a topic that is not placed its last id, unless the topic has reached a higher one.
    pub(crate) fn place_at(&self, id: u64) {
        let members = lock(&self.state.members);
        if !self.is_placed() {
            members.last_id.raise_to(id);
            self.state.is_placed.store(true, Ordering::Release);
        }
    }

    /// Begins a local sequence that continues after `now`, if `is_isolated` returns true. Returns whether it does.
    ///
    /// # Blocking
    /// As [`position`](Self::position).
    pub(crate) fn place_locally(&self, now: u64, is_isolated: &dyn Fn() -> bool) -> bool {
        let _token = acquire_publish_token_soon(&self.state);
        if !is_isolated() {
            return false;
        }
        let members = lock(&self.state.members);
        members.last_id.raise_to(now);
        members.last_id.mark_local(members.last_id.get());
        self.state.is_placed.store(true, Ordering::Release);
        true
    }

    /// Publishes messages in a local sequence, which only members of this hub receive, if `is_isolated` returns true.
    /// Otherwise returns the messages. The first message of a local sequence gets the id `now`, or the next one if that is
    /// higher.
    ///
    /// # Blocking
    /// As [`position`](Self::position).
    pub(crate) fn publish_local(
        &self,
        now: u64,
        publications: Vec<Publication>,
        is_isolated: &dyn Fn() -> bool,
    ) -> Result<Vec<PublishOutcome>, Vec<Publication>> {
        let topic = &self.state;
        let encoded = encode(publications);
        let mut after = AfterPublish::new(topic);
        let token = acquire_publish_token_soon(topic);
        if !is_isolated() {
            return Err(encoded.map(|(publication, _)| publication).collect());
        }
        if encoded.len() == 0 {
            return Ok(Vec::new());
        }
        {
            let members = lock(&topic.members);
            if !members.last_id.continues_locally() {
                members.last_id.raise_to(now.saturating_sub(1));
            }
        }
        let outcomes = deliver_all(topic, encoded, Source::Isolated, &mut after);
        if let Some(first) = outcomes.first() {
            lock(&topic.members).last_id.mark_local(first.id);
        }
        drop(token);
        drop(after);
        Ok(outcomes)
    }

    /// Adds received messages to the history, and delivers them. Those with an id that the topic has reached are skipped.
    /// If there are ids between the last one and the first of these, they will never come: members receive a gap.
    ///
    /// Returns one outcome for each message. A message that was skipped has no receivers.
    ///
    /// # Blocking
    /// As [`position`](Self::position). Then waits up to 20 ms for queues that are full although their sockets are not
    /// blocked.
    pub(crate) fn receive(&self, received: Received) -> Vec<PublishOutcome> {
        let topic = &self.state;
        let source = Source::Engine {
            published_at: time_before(received.age),
        };
        let mut encoded = encode(received.publications);
        let mut after = AfterPublish::new(topic);
        let token = acquire_publish_token_soon(topic);
        let mut outcomes = Vec::new();
        {
            let members = lock(&topic.members);
            let last_id = members.last_id.get();
            for id in received.first_id..=last_id {
                if encoded.next().is_none() {
                    break;
                }
                outcomes.push(PublishOutcome {
                    id,
                    nodes: 1,
                    ..PublishOutcome::default()
                });
            }
            if encoded.len() > 0 {
                members
                    .last_id
                    .raise_to(received.first_id.saturating_sub(1));
            }
        }
        outcomes.extend(deliver_all(topic, encoded, source, &mut after));
        drop(token);
        drop(after);
        outcomes
    }

    /// Records that ids up to `to` will never come. Members receive a gap now, even if no message follows. Ends a local
    /// sequence.
    ///
    /// # Blocking
    /// As [`position`](Self::position).
    pub(crate) fn jump_to(&self, to: u64) {
        let topic = &self.state;
        let token = acquire_publish_token_soon(topic);
        let list = {
            let members = lock(&topic.members);
            members.last_id.end_local();
            if !members.last_id.raise_to(to) {
                return;
            }
            Arc::clone(&members.list)
        };
        let policy = topic.settings().policy;
        for member in list.iter() {
            member.miss_up_to(to, policy);
        }
        drop(token);
        for member in list.iter() {
            member.outbox.flush();
        }
    }

    /// Forgets the position and the history, because their ids were wrong. Members cannot be told of ids that go back, so
    /// they are closed with `code` and `reason`.
    ///
    /// # Blocking
    /// As [`position`](Self::position).
    pub(crate) fn restart(&self, code: u16, reason: &str) {
        let token = acquire_publish_token_soon(&self.state);
        let list = {
            let members = lock(&self.state.members);
            members.last_id.restart();
            self.state.is_placed.store(false, Ordering::Release);
            Arc::clone(&members.list)
        };
        self.state.history.clear();
        self.state.is_filled.store(false, Ordering::Release);
        drop(token);
        for member in list.iter() {
            member.outbox.close_now(code, reason);
        }
    }

    /// Completes the history with messages that the engine has stored, below those that are there. The topic is filled
    /// from now on.
    ///
    /// # Blocking
    /// As [`position`](Self::position).
    pub(crate) fn fill_history(&self, mut stored: Vec<Stored>) {
        let topic = &self.state;
        let settings = topic.settings();
        stored.sort_by_key(|stored| stored.id);
        stored.dedup_by_key(|stored| stored.id);
        let messages: Vec<Arc<TopicMessage>> = stored
            .into_iter()
            .map(
                |Stored {
                     id,
                     age,
                     publication,
                 }| {
                    let frame = EncodedFrame::data(&publication.message);
                    let message = TopicMessage::new(publication, frame, id, time_before(age));
                    topic.prepare_for_history(&message);
                    Arc::new(message)
                },
            )
            .collect();
        let _token = acquire_publish_token_soon(topic);
        // A message that has not been received yet will be added when it is.
        let last_id = topic.last_id();
        let reached = messages
            .into_iter()
            .filter(|message| message.id() <= last_id);
        topic.history.put_below(reached.collect(), &settings);
        topic.is_filled.store(true, Ordering::Release);
    }

    /// Returns how many bytes all histories of the hub may use together.
    pub(crate) fn history_limit(&self) -> usize {
        self.state.hub.config.history_bytes
    }

    /// Returns whether the history has been completed from the engine.
    pub(crate) fn is_filled(&self) -> bool {
        self.state.is_filled.load(Ordering::Acquire)
    }
}

#[cfg(test)]
#[path = "tests/sequence.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/sequence_model.rs"]
mod model_tests;

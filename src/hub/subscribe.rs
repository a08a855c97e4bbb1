//! [`Subscription`]: a membership, and how one begins in the past: `since` replays, then goes live, without a hole and
//! without a double.

use std::sync::Arc;

use super::member::{Member, Placed};
use super::message::TopicMessage;
use super::publish::PublishError;
use super::topic::Topic;
use crate::connection::Outbox;

/// How a membership begins.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SubscribeOptions {
    since: Option<u64>,
    envelope: bool,
    presence: bool,
    name: Option<Arc<str>>,
}

impl SubscribeOptions {
    /// A plain one: messages as they are, from now on.
    pub fn new() -> SubscribeOptions {
        SubscribeOptions::default()
    }

    /// With the messages after this id first; what is no longer there is told as a gap, to members with an envelope.
    #[must_use]
    pub fn since(mut self, id: u64) -> Self {
        self.since = Some(id);
        self
    }

    /// Each message in the hub's [`Envelope`](super::Envelope), so that one connection can be on many topics.
    #[must_use]
    pub fn with_envelope(mut self) -> Self {
        self.envelope = true;
        self
    }

    /// Hears who joins and leaves.
    #[must_use]
    pub fn with_presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// Is present under this name.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// A membership; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    topic: Topic,
    member: Arc<Member>,
    name: Option<Arc<str>>,
    last_id: u64,
}

/// Posts that are replayed between two looks at how many are missing.
const SLICE: usize = 64;

impl Topic {
    /// Makes the client behind `outbox` a member until the subscription is dropped.
    ///
    /// # Blocking
    /// With [`since`](SubscribeOptions::since): for room for what is replayed, and for the topic's turn; woken by the client's
    /// progress or end. Without it, never.
    ///
    /// # Errors
    /// [`PublishError::Busy`]: with `since`, the turn did not come.
    pub fn subscribe(
        &self,
        outbox: Outbox,
        how: SubscribeOptions,
    ) -> Result<Subscription, PublishError> {
        let envelope = self.envelope().filter(|_| how.envelope);
        let name = Arc::clone(&self.inner.name);
        let counts = Arc::clone(&self.inner.counts);
        let member = Member::new(outbox, name, envelope, how.presence, counts);
        let last_id = match how.since {
            None => self.add_from_now(&member),
            Some(since) => {
                let last_id = self.replay(&member, since)?;
                member.outbox.flush();
                last_id
            }
        };
        // From here its end is the subscription's.
        let mut subscription = Subscription {
            topic: self.clone(),
            member,
            name: how.name,
            last_id,
        };
        if let Some(name) = &subscription.name {
            let _telling = self.inner.presence.telling();
            match self.inner.presence.enter(name) {
                Some(true) => self.tell_presence(name, true),
                Some(false) => {}
                // Who was never shown does not leave.
                None => subscription.name = None,
            }
        }
        Ok(subscription)
    }

    /// Sends what is missing, slice by slice, with waiting; and when what is left fits in the queue, queues it inside
    /// the turn and makes the client a member there.
    fn replay(&self, member: &Arc<Member>, since: u64) -> Result<u64, PublishError> {
        // An id that we never gave is from a clock that ran ahead: there is nothing to replay.
        let mut at = since.min(self.last_id());
        member.begin_after(at);
        loop {
            let slice = self.inner.history.after(at, SLICE);
            let settings = self.settings();
            if slice.len() == SLICE {
                for post in slice {
                    let place = || full_is_none(member.place(&post, &settings));
                    if member.outbox.wait_for_room(None, place) == Some(Placed::Closed) {
                        return Ok(self.add(member));
                    }
                    at = post.id();
                }
                continue;
            }
            let publish_token = self.take_publish_token(None).ok_or(PublishError::Busy)?;
            let missing = self.inner.history.after(at, usize::MAX);
            let placed = |post: &Arc<TopicMessage>| match member.place(post, &settings) {
                Placed::Full => None,
                _ => Some(post.id()),
            };
            let fitted = missing.iter().map_while(placed).last();
            at = fitted.unwrap_or(at);
            if missing.last().is_none_or(|last| last.id() == at) {
                let last_id = self.add(member);
                member.missed_up_to(last_id, settings.policy);
                return Ok(last_id);
            }
            drop(publish_token);
            let Some(next) = self.inner.history.after(at, 1).pop() else {
                continue;
            };
            let place = || full_is_none(member.place(&next, &settings));
            if member.outbox.wait_for_room(None, place) == Some(Placed::Closed) {
                return Ok(self.add(member));
            }
            at = next.id();
        }
    }
}

fn full_is_none(placed: Placed) -> Option<Placed> {
    (placed != Placed::Full).then_some(placed)
}

impl Subscription {
    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The topic's last id when this began: what came after it comes here.
    pub fn last_id(&self) -> u64 {
        self.last_id
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.topic.remove(&self.member);
        if let Some(name) = &self.name {
            if self.topic.inner.presence.leave(name) {
                // The name outlives the membership by a moment, and so the topic does.
                self.topic.inner.shared.keep(&self.topic.inner);
            }
        }
    }
}

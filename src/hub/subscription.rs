//! [`Subscription`]: the public handle to one client's membership, and how it begins.

use super::outcome::SubscribeError;
use super::subscribe::{self, Membership};
use super::subscribe_options::SubscribeOptions;
use super::topic::Topic;
use crate::connection::Outbox;

impl Topic {
    /// Subscribes the client behind `outbox`, until the returned subscription is dropped.
    ///
    /// A client receives each message once, however often it has subscribed. It stays a member until its last subscription
    /// has been dropped. A further subscription of a member replays nothing, because the client would then receive old
    /// messages after newer ones, and it does not change the envelope. Its name and its wish for presence notices are
    /// added to those of the others. [`Subscription::was_member`] tells whether a subscription is a further one.
    ///
    /// When this returns, the client is a member: it receives every message whose publish begins later. In
    /// [`Handler::run`](crate::Handler::run) this may be after the client has seen that its connection is open. If the
    /// client must be a member before that, subscribe in [`Handler::opening`](crate::Handler::opening).
    ///
    /// # Blocking
    /// On a hub that shares its topics with others, waits until it receives the topic, up to twice the timeout of the server
    /// that connects the hubs. Also waits for its history and its answer about the id, up to that timeout each.
    ///
    /// Otherwise only with [`since`](SubscribeOptions::since). Waits for room in the client's queue, until the connection ends.
    /// Also waits for publishers of this topic, up to [`HubConfig::publish_timeout`](super::HubConfig::publish_timeout)
    /// each time. Woken by the client's progress or end, or by the
    /// publisher. In [`Handler::opening`](crate::Handler::opening) it does not wait for room, and waits for publishers up
    /// to 1 s.
    ///
    /// # Errors
    /// [`SubscribeError`] says why the client is not a member. Without `since`, there are three errors:
    /// [`SubscribeError::QueueTooLarge`], which cannot happen with [`Config::hub`](crate::Config::hub),
    /// [`SubscribeError::Busy`] while another thread subscribes the same client with `since`, and
    /// [`SubscribeError::Unavailable`] on a hub that shares its topics with others.
    ///
    /// ```
    /// # use standpipe::{Connection, SubscribeOptions, Topic};
    /// # fn run(topic: &Topic, conn: &mut Connection) -> standpipe::HandlerResult {
    /// let member = topic.subscribe(conn.outbox(), SubscribeOptions::new())?;
    /// while conn.recv()?.is_some() {}
    /// drop(member); // The client is not a member any more.
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(
        &self,
        outbox: Outbox,
        options: SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        let membership = subscribe::join(&self.state, outbox, options)?;
        Ok(Subscription {
            topic: self.clone(),
            membership,
        })
    }
}

/// One client's subscription to one topic. Dropping it ends the subscription.
///
/// ```
/// use std::collections::HashMap;
/// use standpipe::{Outbox, SubscribeOptions, Subscription, Topic};
///
/// /// The rooms of one client.
/// #[derive(Default)]
/// struct Rooms(HashMap<String, Subscription>);
///
/// impl Rooms {
///     fn enter(&mut self, outbox: Outbox, room: &Topic) -> Result<(), standpipe::SubscribeError> {
///         let subscription = room.subscribe(outbox, SubscribeOptions::new())?;
///         self.0.insert(room.name().to_owned(), subscription);
///         Ok(())
///     }
///
///     fn leave(&mut self, room: &str) {
///         self.0.remove(room);
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    topic: Topic,
    membership: Membership,
}

impl Subscription {
    /// Returns the topic.
    ///
    /// ```
    /// # use standpipe::{PublishError, Subscription};
    /// fn say(room: &Subscription, text: &str) -> Result<u64, PublishError> {
    ///     Ok(room.topic().publish(text)?.id)
    /// }
    /// ```
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Returns the topic's last id when the subscription began. The client receives the messages after it.
    ///
    /// ```
    /// # use standpipe::Subscription;
    /// /// Tells a client where to continue after a lost connection.
    /// fn welcome(room: &Subscription) -> String {
    ///     format!("since={}&epoch={}", room.last_id(), room.topic().epoch())
    /// }
    /// ```
    pub fn last_id(&self) -> u64 {
        self.membership.last_id
    }

    /// Returns whether the client was a member already, because of another subscription. Then nothing was replayed, and
    /// the envelope is the one that the first subscription chose.
    ///
    /// ```
    /// # use standpipe::{Subscription, TopicMessage};
    /// # use std::sync::Arc;
    /// /// Returns what a second view of a topic has missed. The client's first view has received it.
    /// fn missed(view: &Subscription, since: u64) -> Vec<Arc<TopicMessage>> {
    ///     if view.was_member() { view.topic().history(since) } else { Vec::new() }
    /// }
    /// ```
    pub fn was_member(&self) -> bool {
        self.membership.is_repeated
    }
}

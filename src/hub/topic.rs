//! [`Topic`] and [`Subscription`]: the public handles to one topic.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::message::{Publication, TopicMessage};
use super::outcome::{PublishError, PublishOutcome, SubscribeError};
use super::policy::Policy;
use super::publish;
use super::settings::TopicSettings;
use super::stats::TopicCounts;
use super::subscribe::{self, Membership, SubscribeOptions};
use super::topic_state::TopicState;
use crate::connection::Outbox;

/// One topic, to publish to and to subscribe to. Cloning it is cheap; all clones are the same topic.
#[derive(Clone)]
pub struct Topic {
    pub(super) state: Arc<TopicState>,
}

impl Topic {
    /// Returns the topic's name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Returns the number of subscriptions.
    pub fn members(&self) -> usize {
        self.state.members().len()
    }

    /// Returns the id of the most recent message. If nothing has been published yet, this is the id before the first one.
    pub fn last_id(&self) -> u64 {
        self.state.last_id()
    }

    /// Returns the epoch of the topic's ids: a short text that each [`Hub`](super::Hub) chooses at random. Ids of
    /// different epochs cannot be compared, because a hub whose clock was set back may use ids that another hub has
    /// used. A client that resumes sends the epoch together with the last id that it has seen: see
    /// [`SubscribeOptions::epoch`](super::SubscribeOptions::epoch).
    pub fn epoch(&self) -> &str {
        &self.state.hub.epoch
    }

    /// Returns the present settings.
    pub fn settings(&self) -> TopicSettings {
        self.state.settings()
    }

    /// Changes the policy for slow members, from the next message on.
    pub fn set_policy(&self, policy: Policy) {
        self.state.set_policy(policy);
    }

    /// Returns the names that are present, sorted. A name stays for 2 seconds after its last subscription has ended.
    pub fn presence(&self) -> Vec<String> {
        self.state.presence.names()
    }

    /// Returns the messages in the history with ids above `since`, the oldest first. If the topic has not reached the id
    /// `since`, the id is from another [`epoch`](Self::epoch), and the whole history is returned.
    pub fn history(&self, since: u64) -> Vec<Arc<TopicMessage>> {
        self.state.history.remove_expired(&self.settings());
        let since = self.state.continue_after(since, None);
        self.state.history.after(since, usize::MAX)
    }

    /// Returns what became of the topic's messages, over all members.
    pub fn counts(&self) -> TopicCounts {
        self.state.counters.read(self.state.history.len())
    }

    /// Publishes a text or binary message to every member.
    ///
    /// All members receive the messages of a topic in the same order. `Ok` means that the message is queued or written;
    /// for a member that is slow, the topic's [`Policy`] decides.
    ///
    /// # Blocking
    /// - Waits for other publishers of this topic, up to [`HubConfig::publish_timeout`](super::HubConfig::publish_timeout)
    ///   (60 s by default) or the timeout of [`Policy::Block`].
    /// - Waits for members whose queues are full although their sockets are not blocked, until none of them got room for
    ///   100 ms.
    /// - Under [`Policy::Block`], also waits for slow members, up to its timeout.
    ///
    /// The publisher is woken by the previous publisher, or by the progress or end of the member that it waits for.
    ///
    /// # Errors
    /// [`PublishError`] gives the publication back, and says why it was not published. No member received it.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// let topic = Hub::default().topic("news")?;
    /// let outcome = topic.publish("hello")?;
    /// assert_eq!((outcome.receivers, outcome.id), (0, topic.last_id())); // There is no member yet.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish(
        &self,
        publication: impl Into<Publication>,
    ) -> Result<PublishOutcome, PublishError> {
        self.publish_one(publication.into(), None)
    }

    /// Like [`publish`](Self::publish), but waits at most `timeout` for other publishers of this topic.
    ///
    /// # Blocking
    /// Waits for other publishers, up to `timeout` or the timeout of [`Policy::Block`]. When they have finished, the
    /// message gets its id, and then this waits for members as [`publish`](Self::publish) does: `timeout` never decides
    /// that a member is slow.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    ///
    /// ```
    /// # use standpipe::{Hub, PublishError};
    /// # use std::time::Duration;
    /// let topic = Hub::default().topic("news")?;
    /// match topic.publish_timeout("hello", Duration::from_millis(20)) {
    ///     Ok(outcome) => println!("published with id {}", outcome.id),
    ///     Err(error) => println!("other publishers wait for slow members: {:?}", error.into_inner()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_timeout(
        &self,
        publication: impl Into<Publication>,
        timeout: Duration,
    ) -> Result<PublishOutcome, PublishError> {
        self.publish_one(publication.into(), Some(timeout))
    }

    /// Like [`publish`](Self::publish), but does not wait for other publishers of this topic.
    ///
    /// # Blocking
    /// Does not wait for other publishers. If there is none, this waits for members as [`publish`](Self::publish) does.
    ///
    /// # Errors
    /// As [`publish`](Self::publish). [`PublishError::Busy`] means that another thread is publishing at this moment.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// let topic = Hub::default().topic("positions")?;
    /// if topic.try_publish("12,7").is_err() {
    ///     // Another publisher waits for a slow member. A newer position will be published soon.
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_publish(
        &self,
        publication: impl Into<Publication>,
    ) -> Result<PublishOutcome, PublishError> {
        self.publish_one(publication.into(), Some(Duration::ZERO))
    }

    fn publish_one(
        &self,
        publication: Publication,
        timeout: Option<Duration>,
    ) -> Result<PublishOutcome, PublishError> {
        match publish::publish_all(&self.state, vec![publication], timeout) {
            Ok(mut outcomes) => Ok(outcomes.pop().expect("one for each message")),
            Err(PublishError::Busy(mut publications)) => {
                let publication = publications.pop();
                Err(PublishError::Busy(
                    publication.expect("it was not published"),
                ))
            }
        }
    }

    /// Publishes several messages with consecutive ids. This is the same as calling [`publish`](Self::publish) for each,
    /// but no other publisher's message can come between them. A member with nothing pending receives up to 64 of them,
    /// or 64 KiB, in one write.
    ///
    /// Returns one outcome for each message. A member that is disconnected because of one message is not counted for
    /// those after it.
    ///
    /// # Blocking
    /// As [`publish`](Self::publish). All times are for all messages together.
    ///
    /// # Errors
    /// [`PublishError`] gives all publications back, and says why they were not published. No member received any of
    /// them.
    ///
    /// ```
    /// # use standpipe::{Hub, Publication};
    /// let topic = Hub::default().topic("prices")?;
    /// let outcomes = topic.publish_all(vec![
    ///     Publication::from("EUR 1.08").key("EUR"),
    ///     Publication::from("GBP 1.27").key("GBP"),
    /// ])?;
    /// assert_eq!(outcomes[1].id, outcomes[0].id + 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_all(
        &self,
        publications: Vec<Publication>,
    ) -> Result<Vec<PublishOutcome>, PublishError<Vec<Publication>>> {
        publish::publish_all(&self.state, publications, None)
    }

    /// Subscribes the client behind `outbox`, until the returned subscription is dropped.
    ///
    /// When this returns, the client is a member: it receives every message whose publish begins later. In
    /// [`Handler::run`](crate::Handler::run) this may be after the client has seen that its connection is open. If the
    /// client must be a member before that, subscribe in [`Handler::opening`](crate::Handler::opening).
    ///
    /// # Blocking
    /// Only with [`since`](SubscribeOptions::since). Waits for room in the client's queue, until the connection ends.
    /// Also waits for publishers of this topic, up to [`HubConfig::publish_timeout`](super::HubConfig::publish_timeout)
    /// each time. Woken by the client's progress or end, or by the
    /// publisher. In [`Handler::opening`](crate::Handler::opening) it does not wait for room, and waits for publishers up
    /// to 1 s.
    ///
    /// # Errors
    /// [`SubscribeError`] says why the client is not a member. Without `since`, the only error is
    /// [`SubscribeError::QueueTooLarge`].
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

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.name())
            .field("members", &self.members())
            .field("last_id", &self.last_id())
            .finish_non_exhaustive()
    }
}

/// One client's subscription to one topic. Dropping it ends the subscription.
#[derive(Debug)]
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    topic: Topic,
    membership: Membership,
}

impl Subscription {
    /// Returns the topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Returns the topic's last id when the subscription began. The client receives the messages after it.
    pub fn last_id(&self) -> u64 {
        self.membership.last_id
    }
}

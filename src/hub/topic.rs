//! [`Topic`]: the public handle to one topic.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Publication, TopicMessage};
use super::outcome::{PublishError, PublishOutcome};
use super::policy::Policy;
use super::publish;
use super::settings::TopicSettings;
use super::stats::TopicCounts;
use super::topic_state::TopicState;
use crate::connection::Outbox;

/// One topic, to publish to and to subscribe to. Cloning it is cheap; all clones are the same topic.
///
/// ```
/// use standpipe::{Connection, SubscribeOptions, Topic};
///
/// /// A handler for one room: what a member sends goes to all members.
/// fn room(topic: &Topic, conn: &mut Connection) -> standpipe::HandlerResult {
///     let _member = topic.subscribe(conn.outbox(), SubscribeOptions::new())?;
///     while let Some(message) = conn.recv()? {
///         topic.publish(message)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Topic {
    pub(super) state: Arc<TopicState>,
}

impl From<Arc<TopicState>> for Topic {
    fn from(state: Arc<TopicState>) -> Topic {
        Topic { state }
    }
}

impl Topic {
    /// Returns the topic's name.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// assert_eq!(Hub::default().topic("news")?.name(), "news");
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Returns the number of members. A client that has subscribed several times is one member.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// assert_eq!(Hub::default().topic("news")?.members(), 0);
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    pub fn members(&self) -> usize {
        self.state.members().len()
    }

    /// Returns the outboxes of all members, in no particular order. [`Outbox::number`] tells them apart.
    ///
    /// ```
    /// # use standpipe::Topic;
    /// /// Ends a room: its members get what is queued, and then the code.
    /// fn close_room(room: &Topic) {
    ///     for outbox in room.outboxes() {
    ///         outbox.close(4100, "the room is closed");
    ///     }
    /// }
    /// ```
    pub fn outboxes(&self) -> Vec<Outbox> {
        let members = self.state.members();
        members.iter().map(|member| member.outbox.clone()).collect()
    }

    /// Returns the id of the most recent message. If nothing has been published yet, this is the id before the first one.
    ///
    /// On a hub that shares its topics with others, this is the last message that this hub has received, or 0 if it has
    /// not received the topic yet. A hub receives a topic while the topic has members there.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// let topic = Hub::default().topic("news")?;
    /// let before = topic.last_id();
    /// topic.publish("hello")?;
    /// assert_eq!(topic.last_id(), before + 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn last_id(&self) -> u64 {
        self.state.last_id()
    }

    /// Returns the epoch of the topic's ids: a short text that each [`Hub`](super::Hub) chooses at random. Ids of
    /// different epochs cannot be compared, because a hub whose clock was set back may use ids that another hub has
    /// used. A client that resumes sends the epoch together with the last id that it has seen: see
    /// [`SubscribeOptions::epoch`](super::SubscribeOptions::epoch). Hubs that share their topics have the same epoch.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// let hub = Hub::default();
    /// assert_eq!(hub.topic("a")?.epoch(), hub.topic("b")?.epoch());
    /// assert_ne!(hub.topic("a")?.epoch(), Hub::default().topic("a")?.epoch());
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    pub fn epoch(&self) -> &str {
        &self.state.hub.epoch
    }

    /// Returns the present settings.
    ///
    /// ```
    /// # use standpipe::{Hub, TopicSettings};
    /// assert_eq!(Hub::default().topic("news")?.settings(), TopicSettings::default());
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    pub fn settings(&self) -> TopicSettings {
        self.state.settings()
    }

    /// Changes the policy for slow members, from the next message on.
    ///
    /// ```
    /// # use standpipe::{Hub, Policy};
    /// let topic = Hub::default().topic("prices")?;
    /// topic.set_policy(Policy::Conflate);
    /// assert_eq!(topic.settings().policy, Policy::Conflate);
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    pub fn set_policy(&self, policy: Policy) {
        self.state.set_policy(policy);
    }

    /// Returns the names that are present, sorted. A name stays for 2 seconds after its last subscription has ended.
    /// Clients have names by [`with_name`](super::SubscribeOptions::with_name). Up to 10,000 names are listed.
    ///
    /// A hub that shares its topics with others also lists the names on those.
    ///
    /// # Blocking
    /// Only on a hub that shares its topics, if the topic has no members there. Waits for the server that connects the
    /// hubs, up to twice its timeout. Without its answer, returns the names on this hub.
    ///
    /// ```
    /// # use standpipe::Topic;
    /// fn greet(room: &Topic) -> String {
    ///     format!("here are: {}", room.presence().join(", "))
    /// }
    /// ```
    pub fn presence(&self) -> Vec<String> {
        self.open_for_reading();
        self.state.presence.names()
    }

    /// Returns the messages in the history with ids above `since`, the oldest first. If the topic has not reached the id
    /// `since`, the id is from another [`epoch`](Self::epoch), and the whole history is returned.
    ///
    /// On a hub that shares its topics with others, an id that the topic has not reached is from another of these hubs, and
    /// nothing is returned.
    ///
    /// # Blocking
    /// Only on a hub that shares its topics. Waits for the server that connects the hubs, up to twice its timeout, until
    /// the history has been read from there. Without its answer, returns what this hub has received.
    ///
    /// ```
    /// # use standpipe::{Hub, HubConfig, Message, TopicSettings};
    /// let hub = Hub::new(HubConfig::default().topic("*", TopicSettings::default().history(10)));
    /// let topic = hub.topic("news")?;
    /// let first = topic.publish("one")?.id;
    /// topic.publish("two")?;
    /// let later = topic.history(first);
    /// assert_eq!((later.len(), later[0].message()), (1, Message::text("two")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(&self, since: u64) -> Vec<Arc<TopicMessage>> {
        self.fill_for_reading();
        self.state.history.remove_expired(&self.settings());
        let since = self.state.continue_after(since, None);
        let since = since.unwrap_or_else(|_| self.last_id());
        self.state.history.after(since, usize::MAX)
    }

    /// Returns what became of the topic's messages, over all members.
    ///
    /// ```
    /// # use standpipe::Topic;
    /// fn report(topic: &Topic) {
    ///     let counts = topic.counts();
    ///     println!("{} delivered, {} dropped", counts.delivered, counts.dropped);
    /// }
    /// ```
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
    /// - On a hub that shares its topics with others, waits for the server that connects the hubs instead of other
    ///   publishers, up to four times its timeout. Slow members of this hub are waited for before that.
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
    /// Waits for other publishers, or for the server that connects several hubs, up to `timeout` or the timeout of
    /// [`Policy::Block`]. When they have finished, the
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
    /// Does not wait for other publishers. If there is none, this waits for members as [`publish`](Self::publish) does. On a
    /// hub that shares its topics with others, publishers do not wait for each other, and this is the same as
    /// [`publish`](Self::publish).
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
        let one = |mut publications: Vec<Publication>| {
            publications.pop().expect("the one that was not published")
        };
        self.publish_batch(vec![publication], timeout)
            .map(|mut outcomes| outcomes.pop().expect("one for each message"))
            .map_err(|error| error.map(one))
    }

    /// Publishes several messages with consecutive ids. This is the same as calling [`publish`](Self::publish) for each,
    /// but no other publisher's message can come between them. A member with nothing pending receives up to 64 of them,
    /// or 64 KiB, in one write. If the hub shares its topics with others, all of this holds for 64 messages and 1 MiB at a
    /// time.
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
        self.publish_batch(publications, None)
    }

    fn publish_batch(
        &self,
        publications: Vec<Publication>,
        timeout: Option<Duration>,
    ) -> Result<Vec<PublishOutcome>, PublishError<Vec<Publication>>> {
        let (began, messages) = (Instant::now(), publications.len());
        let published = match &self.state.hub.config.engine {
            Some(engine) => self.publish_through(&**engine, publications, timeout),
            None => publish::publish_all(&self.state, publications, timeout),
        };
        let counters = &self.state.counters;
        counters.record_publish(messages, published.is_ok(), began.elapsed());
        published
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

//! [`SubscribeOptions`]: what a subscriber wants.

use std::sync::Arc;

/// What a subscriber wants: see [`Topic::subscribe`](super::Topic::subscribe).
///
/// ```
/// use standpipe::{Connection, SubscribeError, SubscribeOptions, Subscription, Topic};
///
/// /// Subscribes a client that may have seen earlier messages.
/// fn join(conn: &Connection, topic: &Topic, name: &str) -> Result<Subscription, SubscribeError> {
///     let mut options = SubscribeOptions::new().with_name(name);
///     if let Some(Ok(id)) = conn.request().query("since").map(str::parse) {
///         options = options.since(id);
///     }
///     topic.subscribe(conn.outbox(), options)
/// }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SubscribeOptions {
    pub(super) since: Option<u64>,
    pub(super) epoch: Option<Arc<str>>,
    pub(super) envelope: bool,
    pub(super) presence: bool,
    pub(super) name: Option<Arc<str>>,
}

impl SubscribeOptions {
    /// Returns the default: the messages as they were published, from now on.
    ///
    /// ```
    /// # use standpipe::{Connection, Hub, SubscribeOptions};
    /// # fn run(hub: &Hub, conn: &mut Connection) -> standpipe::HandlerResult {
    /// let _member = hub.topic("news")?.subscribe(conn.outbox(), SubscribeOptions::new())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> SubscribeOptions {
        SubscribeOptions::default()
    }

    /// First sends the messages after `id` that are still in the history. A member with an envelope receives a gap notice
    /// for those that are not.
    ///
    /// An id that the topic has not reached is from another hub, such as the one before a restart whose clock was ahead.
    /// It counts as 0: the member receives a gap notice, and everything in the history. If both hubs have used an id, only
    /// the [`epoch`](Self::epoch) tells whose it is.
    ///
    /// ```
    /// # use standpipe::SubscribeOptions;
    /// let last_seen = 1_700_000_000_000_123; // The client has sent it.
    /// let options = SubscribeOptions::new().since(last_seen);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn since(mut self, id: u64) -> Self {
        self.since = Some(id);
        self
    }

    /// Says from which [`Topic::epoch`](super::Topic::epoch) the id in [`since`](Self::since) is. If it is not the
    /// epoch of this topic, the id counts as 0.
    ///
    /// ```
    /// # use standpipe::{Hub, SubscribeOptions};
    /// # let topic = Hub::default().topic("news")?;
    /// let (last_seen, epoch) = (topic.last_id(), topic.epoch()); // The client has sent them.
    /// let options = SubscribeOptions::new().since(last_seen).epoch(epoch);
    /// # let _ = options;
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    #[must_use]
    pub fn epoch(mut self, epoch: &str) -> Self {
        self.epoch = Some(epoch.into());
        self
    }

    /// Sends each message in the hub's [`Envelope`](super::Envelope), so that one connection can subscribe to several
    /// topics.
    ///
    /// ```
    /// # use standpipe::{Connection, Hub, SubscribeOptions, Subscription};
    /// # fn run(hub: &Hub, conn: &mut Connection) -> standpipe::HandlerResult {
    /// let options = SubscribeOptions::new().with_envelope();
    /// let news = hub.topic("news")?.subscribe(conn.outbox(), options.clone())?;
    /// let prices = hub.topic("prices")?.subscribe(conn.outbox(), options)?;
    /// # drop((news, prices));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_envelope(mut self) -> Self {
        self.envelope = true;
        self
    }

    /// Sends a notice when a name joins or leaves. The hub's [`Envelope`](super::Envelope) writes it.
    ///
    /// ```
    /// # use standpipe::SubscribeOptions;
    /// let options = SubscribeOptions::new().with_envelope().with_presence().with_name("ann");
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn with_presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// Lists the client under this name in [`Topic::presence`](super::Topic::presence).
    ///
    /// ```
    /// # use standpipe::SubscribeOptions;
    /// let options = SubscribeOptions::new().with_name("ann");
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }
}

//! A server whose clients have room for every topic of a hub: the half of [`Config`] that knows hubs.

use super::Hub;
use crate::config::Config;

impl Config {
    /// Attaches a hub: the outbox of each client has room for the largest [`TopicSettings::queue`](crate::TopicSettings)
    /// of the hub, even if [`queue`](Self#structfield.queue) is less. So the server's clients can subscribe to every topic
    /// of the hub, also after [`Hub::set_topics`]. The order of this call and [`queue`](Self::queue) does not matter, and several hubs can be attached.
    ///
    /// Nothing else needs to be attached. Every server does what time requires for all hubs of the process: see
    /// [`Hub::sweep`].
    ///
    /// ```no_run
    /// use standpipe::{Config, Connection, Hub, HubConfig, Server, SubscribeOptions, TopicSettings};
    ///
    /// let hub = Hub::new(HubConfig::default().topic("doc-*", TopicSettings::default().queue(256)));
    /// let server = Server::bind("127.0.0.1:9001", Config::default().hub(&hub))?;
    /// server.serve(move |conn: &mut Connection| {
    ///     let _member = hub.topic("doc-7")?.subscribe(conn.outbox(), SubscribeOptions::new())?;
    ///     while conn.recv()?.is_some() {}
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn hub(mut self, hub: &Hub) -> Self {
        let largest = hub.shared.patterns.largest_queue();
        self.topic_queue = self.topic_queue.max(largest);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{HubConfig, TopicSettings};

    #[test]
    fn attached_config_has_room_for_the_largest_queue() {
        let hub = |queue| {
            let large = TopicSettings::default().queue(queue);
            Hub::new(HubConfig::default().topic("large", large))
        };
        let config = Config::default().queue(5).hub(&hub(100)).hub(&hub(80));
        assert_eq!((config.queue, config.queue_capacity()), (5, 100));
        let config = config.queue(7);
        assert_eq!((config.queue, config.queue_capacity()), (7, 100));
        assert_eq!(config.queue(101).queue_capacity(), 101);
        assert_eq!(Config::default().queue(5).queue_capacity(), 5);
        let hub = hub(100);
        let small = TopicSettings::default().queue(1);
        hub.set_topics(vec![("large".into(), small)])
            .expect("there is room");
        // The patterns may get the large queue again.
        assert_eq!(Config::default().queue(5).hub(&hub).queue_capacity(), 100);
    }
}

//! The half of [`Topic`] that calls an engine: for a publish, and before the topic is read.

use std::time::Duration;

use super::engine::{Engine, Unavailable};
use super::message::Publication;
use super::outcome::{ClearHistoryError, PublishError, PublishOutcome};
use super::policy::Policy;
use super::publish::{block_deadline, deadline_after};
use super::topic::Topic;
use crate::clock;

impl Topic {
    /// Publishes messages through the engine. `timeout` limits the wait for the engine, unless it is 0, which only says not
    /// to wait for other publishers.
    ///
    /// # Blocking
    /// Under [`Policy::Block`], waits for slow members of this hub. Then waits as [`Engine::publish`].
    pub(super) fn publish_through(
        &self,
        engine: &dyn Engine,
        publications: Vec<Publication>,
        timeout: Option<Duration>,
    ) -> Result<Vec<PublishOutcome>, PublishError<Vec<Publication>>> {
        if publications.is_empty() {
            return Ok(Vec::new());
        }
        let timed_out = self.wait_for_slow_members(publications.len());
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let mut outcomes = engine.publish(self, publications, timeout.map(deadline_after))?;
        if let Some(first) = outcomes.first_mut().filter(|_| timed_out > 0) {
            first.timed_out = true;
            first.dropped += timed_out;
        }
        Ok(outcomes)
    }

    /// Under [`Policy::Block`], waits until every member has room for `messages` messages and has at most half of its queue
    /// pending: when the messages come back from the engine, nothing waits. A member that still has more when the time is
    /// over is disconnected. Returns how many are.
    ///
    /// # Blocking
    /// Woken by the progress or end of a member.
    fn wait_for_slow_members(&self, messages: usize) -> usize {
        let settings = self.settings();
        if !matches!(settings.policy, Policy::Block { .. }) {
            return 0;
        }
        let most = (settings.queue / 2).min(settings.queue.saturating_sub(messages));
        let (deadline, lateness) = (block_deadline(&settings), settings.lateness_limits());
        let mut timed_out = 0;
        for member in self.state.members().iter() {
            let has_room = || {
                let has_room = || !member.is_open() || member.pending_len() <= most;
                // Nothing reads the answer to a mark while this waits for the client of this very thread.
                let is_unjudged =
                    lateness.is_some_and(|limits| !member.is_late(limits, clock::now()));
                let has_room =
                    has_room() || (is_unjudged && member.outbox.shared().send_held() && has_room());
                has_room.then_some(())
            };
            let is_ready =
                has_room().is_some() || member.outbox.wait_for_room(deadline, has_room).is_some();
            if !is_ready {
                timed_out += 1;
                member.drop_for_disconnect(settings.policy);
                member.outbox.disconnect_slow_consumer(self.name());
            }
        }
        timed_out
    }

    /// Removes the messages that the topic keeps. Members are not affected, and ids continue. A client that resumes with an
    /// older id is told of a gap.
    ///
    /// On a hub that shares its topics with others, the history is removed on all of them.
    ///
    /// # Blocking
    /// Only on a hub that shares its topics. Waits for the server that connects the hubs, up to its timeout.
    ///
    /// # Errors
    /// [`ClearHistoryError`] says why the history may not be removed. This happens only on a hub that shares its topics.
    ///
    /// ```
    /// # use standpipe::{Hub, HubConfig, TopicSettings};
    /// let hub = Hub::new(HubConfig::default().topic("*", TopicSettings::default().history(10)));
    /// let topic = hub.topic("news")?;
    /// topic.publish("wrong")?;
    /// topic.clear_history()?;
    /// assert!(topic.history(0).is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_history(&self) -> Result<(), ClearHistoryError> {
        match &self.state.hub.config.engine {
            Some(engine) => engine
                .clear_history(self)
                .map_err(|Unavailable(reason)| ClearHistoryError::Unavailable(reason)),
            None => {
                self.remove_history_up_to(u64::MAX);
                Ok(())
            }
        }
    }

    /// Removes the messages with ids up to `id` from the history of this hub.
    pub(crate) fn remove_history_up_to(&self, id: u64) {
        self.state.history.remove_up_to(id);
        self.state.hub.release_if_empty(&self.state);
    }

    /// Makes the engine, if there is one, tell what other hubs know about the topic. Without its answer, what this hub
    /// knows remains.
    pub(super) fn open_for_reading(&self) {
        if let Some(engine) = &self.state.hub.config.engine {
            let _ = engine.open(self);
        }
    }

    /// Like [`open_for_reading`](Self::open_for_reading), and completes the history.
    pub(super) fn fill_for_reading(&self) {
        if let Some(engine) = &self.state.hub.config.engine
            && engine.open(self).is_ok()
        {
            engine.fill(self);
        }
    }
}

#[cfg(test)]
#[path = "tests/engine_calls.rs"]
mod tests;

//! The half of [`Outbox`] that topics use: how a publisher waits for room, and the one rule that decides that a client is
//! a slow consumer. [`RetryBudget`]: how long one publish waits.

use std::time::{Duration, Instant};

use log::kv::Value;

use super::outbox::Outbox;
use super::waiting::WaitingForRoom;
use crate::connection::close_cause::CloseCause;
use crate::connection::disconnect_log::Disconnected;
use crate::connection::write::close::{CloseMode, CloseReason, SLOW_CONSUMER};
use crate::escape::escaped;

impl Outbox {
    /// Calls `place`, which queues something, until it succeeds or the client turns out to be a slow consumer. A client
    /// is a slow consumer if its queue is full *and* its socket refuses bytes, or a message is sent to it as a stream.
    /// Only this method decides that. A queue can also be full because its messages have not been written yet. Then
    /// this method flushes and waits. Returns `None` for a slow consumer, and when `budget` is used up.
    ///
    /// # Blocking
    /// Waits for room, within `budget`. Woken by the writer's progress, or by the end of the connection.
    pub(crate) fn retry_until_blocked<T>(
        &self,
        budget: &mut RetryBudget,
        mut place: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let write = &self.shared().write;
        // A message that is sent as a stream holds back the others as a blocked socket does.
        let is_blocked = || write.deadlines.is_blocked() || write.is_streaming();
        let mut has_waited = false;
        loop {
            // Read before `place` is called. If the socket was blocked and the queue is full afterwards, the client is
            // slow.
            let blocked = is_blocked();
            if let Some(placed) = place() {
                if has_waited {
                    budget.progressed();
                }
                return Some(placed);
            }
            if blocked {
                return None;
            }
            self.flush();
            if !is_blocked() {
                self.queue().wait_for_change(budget.next()?);
                has_waited = true;
            }
        }
    }

    /// Calls `place`, which queues something, until it succeeds, or until `deadline`. When the connection has ended,
    /// `place` must return `Some` too.
    ///
    /// # Blocking
    /// Woken by the writer's progress, or by the end of the connection. If the peer accepts nothing for
    /// [`write_timeout`](crate::Config::write_timeout), the connection is reset.
    pub(crate) fn wait_for_room<T>(
        &self,
        deadline: Option<Instant>,
        mut place: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let _waiting = WaitingForRoom::of_client(self.shared().number);
        loop {
            if let Some(placed) = place() {
                return Some(placed);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return None;
            }
            self.flush();
            // Progress wakes this thread. It also checks again after a short time, because room can appear without
            // progress.
            let next_check = now + RetryBudget::CHECK_AGAIN_AFTER;
            self.queue()
                .wait_for_change(deadline.map_or(next_check, |deadline| deadline.min(next_check)));
        }
    }

    /// Discards the queued messages if the connection has ended meanwhile.
    pub(crate) fn drain_if_finished(&self) {
        self.queue().drain_if_finished(self.shared().lifecycle());
    }

    /// Disconnects a slow consumer with 4008. Its queue is discarded. The peer receives the code only if it reads again
    /// within `close_timeout`.
    pub(crate) fn disconnect_slow_consumer(&self, topic: &str) {
        let (messages, capacity, bytes) = (self.len(), self.capacity(), self.bytes());
        let reason =
            format!("slow consumer: {messages} of {capacity} messages, {bytes} bytes queued");
        let close = CloseReason::new(SLOW_CONSUMER, &reason);
        if self
            .shared()
            .close(CloseMode::Immediate, close, CloseCause::SlowConsumer)
        {
            let fields = [
                ("topic", Value::from(topic)),
                ("code", SLOW_CONSUMER.into()),
            ];
            let topic = escaped(topic);
            Disconnected::SlowConsumer.log(
                &self.shared().name,
                &fields,
                format_args!("disconnected by topic {topic}: {SLOW_CONSUMER}, {reason}"),
            );
        }
    }
}

/// How long one publish waits for queues that are full although their sockets are not blocked: until 100 ms have passed in
/// which none of them got room. On a busy machine, a writer may need some time until it runs.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    limit: Duration,
    /// Progress renews the budget.
    is_renewed: bool,
    /// When the budget is used up. `None`: nothing has waited yet, or since the last progress.
    end: Option<Instant>,
}

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget {
            limit: Self::WITHOUT_PROGRESS,
            is_renewed: true,
            end: None,
        }
    }
}

impl RetryBudget {
    const WITHOUT_PROGRESS: Duration = Duration::from_millis(100);
    /// The interval at which a waiting thread checks whether the socket has become blocked.
    const CHECK_AGAIN_AFTER: Duration = Duration::from_millis(10);

    /// Returns a budget that ends when `limit` has passed since its first use, whether or not queues got room.
    pub(crate) fn in_all(limit: Duration) -> RetryBudget {
        RetryBudget {
            limit,
            is_renewed: false,
            end: None,
        }
    }

    /// Returns the time at which the next wait ends, or `None` if the budget is used up.
    fn next(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let end = *self.end.get_or_insert(now + self.limit);
        (now < end).then(|| end.min(now + Self::CHECK_AGAIN_AFTER))
    }

    /// Records that a queue got room.
    fn progressed(&mut self) {
        if self.is_renewed {
            self.end = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_budget_lasts_while_queues_get_room() {
        let mut budget = RetryBudget {
            end: Some(Instant::now()),
            ..RetryBudget::default()
        };
        assert_eq!(budget.next(), None, "100 ms without progress have passed");
        budget.progressed();
        assert!(budget.next().is_some());
    }

    #[test]
    fn budget_of_a_fixed_time_is_not_renewed() {
        let mut budget = RetryBudget::in_all(Duration::from_secs(60));
        let began = Instant::now();
        assert!(budget.next().is_some_and(|next| next > began));
        let end = budget.end;
        budget.progressed();
        assert!(budget.next().is_some() && budget.end == end);
        let mut budget = RetryBudget::in_all(Duration::ZERO);
        assert_eq!(budget.next(), None);
        budget.progressed();
        assert_eq!(budget.next(), None);
    }
}

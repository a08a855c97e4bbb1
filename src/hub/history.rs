//! [`History`]: the last messages of a topic, limited by number and age, and by one byte budget for the whole hub.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::message::TopicMessage;
use super::settings::TopicSettings;
use crate::clock;
use crate::sync::lock;

/// The bytes that all histories of a hub may use together.
#[derive(Debug)]
pub(super) struct HistoryBudget {
    limit: usize,
    used: AtomicUsize,
}

impl HistoryBudget {
    pub(super) fn new(limit: usize) -> HistoryBudget {
        let used = AtomicUsize::new(0);
        HistoryBudget { limit, used }
    }

    fn try_reserve(&self, size: usize) -> bool {
        let more = |used: usize| used.checked_add(size).filter(|used| *used <= self.limit);
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, more).is_ok()
    }

    fn release(&self, size: usize) {
        self.used.fetch_sub(size, Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct History {
    budget: Arc<HistoryBudget>,
    /// The oldest first, each with the bytes that were reserved for it.
    messages: Mutex<VecDeque<(Arc<TopicMessage>, usize)>>,
}

impl History {
    pub(super) fn new(budget: Arc<HistoryBudget>) -> History {
        let messages = Mutex::default();
        History { budget, messages }
    }

    /// Adds `message`. The oldest messages are removed until the settings and the budget have room for it. If the budget
    /// has no room even then, the message is not added and the history is empty: a history has no holes.
    pub(super) fn add(&self, message: &Arc<TopicMessage>, settings: &TopicSettings) {
        if settings.history == 0 {
            return self.clear();
        }
        let size = message.size();
        let mut messages = lock(&self.messages);
        while messages.len() >= settings.history {
            self.remove_oldest(&mut messages);
        }
        while !self.budget.try_reserve(size) {
            if !self.remove_oldest(&mut messages) {
                return;
            }
        }
        messages.push_back((Arc::clone(message), size));
    }

    /// Adds messages, the oldest first, below those that are there. The newest of them are added, as far as the settings
    /// and the budget have room. Nothing is removed for them.
    pub(super) fn put_below(&self, older: Vec<Arc<TopicMessage>>, settings: &TopicSettings) {
        let max_age = settings.max_age.map_or(u64::MAX, clock::millis);
        let mut messages = lock(&self.messages);
        for message in older.into_iter().rev() {
            let lowest = messages.front().map_or(u64::MAX, |(oldest, _)| oldest.id());
            if message.id() >= lowest {
                continue;
            }
            let size = message.size();
            let has_room = messages.len() < settings.history
                && message.age() < max_age
                && self.budget.try_reserve(size);
            if !has_room {
                return;
            }
            messages.push_front((message, size));
        }
    }

    /// Removes the messages for which the settings have no room, and those that are older than the settings allow.
    pub(super) fn trim(&self, settings: &TopicSettings) {
        let mut messages = lock(&self.messages);
        while messages.len() > settings.history {
            self.remove_oldest(&mut messages);
        }
        drop(messages);
        self.remove_expired(settings);
    }

    /// Removes the messages with ids up to `id`.
    pub(super) fn remove_up_to(&self, id: u64) {
        let mut messages = lock(&self.messages);
        while messages
            .front()
            .is_some_and(|(message, _)| message.id() <= id)
        {
            self.remove_oldest(&mut messages);
        }
    }

    /// Removes the messages that are older than the settings allow.
    pub(super) fn remove_expired(&self, settings: &TopicSettings) {
        let Some(max_age) = settings.max_age else {
            return;
        };
        let max_age = clock::millis(max_age);
        let mut messages = lock(&self.messages);
        let is_expired = |message: &TopicMessage| message.age() >= max_age;
        while messages
            .front()
            .is_some_and(|(message, _)| is_expired(message))
        {
            self.remove_oldest(&mut messages);
        }
    }

    /// Returns up to `most` messages with ids above `id`, the oldest first.
    pub(super) fn after(&self, id: u64, most: usize) -> Vec<Arc<TopicMessage>> {
        let messages = lock(&self.messages);
        let from = messages.partition_point(|(message, _)| message.id() <= id);
        messages
            .iter()
            .skip(from)
            .take(most)
            .map(|(message, _)| Arc::clone(message))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.messages).len()
    }

    /// Returns false if the history is empty.
    fn remove_oldest(&self, messages: &mut VecDeque<(Arc<TopicMessage>, usize)>) -> bool {
        let oldest = messages.pop_front();
        if let Some((_, size)) = &oldest {
            self.budget.release(*size);
        }
        oldest.is_some()
    }

    pub(super) fn clear(&self) {
        let mut messages = lock(&self.messages);
        while self.remove_oldest(&mut messages) {}
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
#[path = "tests/history.rs"]
mod tests;

//! [`PublishQueue`]: publishes on their way to the publisher thread, limited by messages and bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::pending::PendingPublish;
use crate::sync::{lock, wait};

/// The most messages that wait to be sent.
const MAX_MESSAGES: usize = 1024;
/// The most bytes that wait to be sent.
const MAX_BYTES: usize = 4 << 20;
/// The most messages that are sent together.
const MAX_TOGETHER: usize = 256;
/// The most bytes that are sent together.
const MAX_BYTES_TOGETHER: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct PublishQueue {
    state: Mutex<State>,
    /// Woken: the publisher thread.
    arrived: Condvar,
    /// Woken: threads that publish.
    has_room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    publishes: VecDeque<Arc<PendingPublish>>,
    messages: usize,
    bytes: usize,
    /// The publisher thread has something else to do than to send publishes.
    is_called: bool,
    is_closed: bool,
}

impl State {
    fn has_room_for(&self, publish: &PendingPublish) -> bool {
        let fits = self.messages + publish.len() <= MAX_MESSAGES
            && self.bytes + publish.size() <= MAX_BYTES;
        // One publish may be larger than the whole queue.
        fits || self.publishes.is_empty()
    }

    fn add(&mut self, publish: &PendingPublish) {
        self.messages += publish.len();
        self.bytes += publish.size();
    }

    /// Takes what waits, up to a number of messages and bytes, or one larger publish.
    fn take(&mut self, (most, most_bytes): (usize, usize)) -> Vec<Arc<PendingPublish>> {
        let (mut taken, mut messages, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = self.publishes.front() {
            messages += next.len();
            bytes += next.size();
            if !taken.is_empty() && (messages > most || bytes > most_bytes) {
                break;
            }
            taken.extend(self.pop());
        }
        taken
    }

    fn pop(&mut self) -> Option<Arc<PendingPublish>> {
        let publish = self.publishes.pop_front()?;
        self.messages -= publish.len();
        self.bytes -= publish.size();
        Some(publish)
    }
}

/// Why a publish is not in the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// The queue had no room until the deadline.
    Full,
    /// The hub is shutting down.
    Closed,
}

impl PublishQueue {
    /// Adds a publish.
    ///
    /// # Blocking
    /// Waits for room until `deadline`. Woken by the publisher thread, and by [`close`](Self::close).
    pub(super) fn push(
        &self,
        publish: &Arc<PendingPublish>,
        deadline: Instant,
    ) -> Result<(), NotQueued> {
        let mut state = lock(&self.state);
        loop {
            if state.is_closed {
                return Err(NotQueued::Closed);
            }
            if state.has_room_for(publish) {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotQueued::Full);
            }
            state = wait(&self.has_room, state, Some(left));
        }
        state.add(publish);
        state.publishes.push_back(Arc::clone(publish));
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts publishes that were not executed back to the front, in their order.
    pub(super) fn push_front(&self, publishes: Vec<Arc<PendingPublish>>) {
        let mut state = lock(&self.state);
        for publish in publishes.into_iter().rev() {
            state.add(&publish);
            state.publishes.push_front(publish);
        }
        self.arrived.notify_one();
    }

    /// Removes a publish whose thread has taken it back.
    pub(super) fn remove(&self, publish: &Arc<PendingPublish>) {
        let mut state = lock(&self.state);
        if let Some(at) = state
            .publishes
            .iter()
            .position(|queued| Arc::ptr_eq(queued, publish))
        {
            state.publishes.remove(at);
            state.messages -= publish.len();
            state.bytes -= publish.size();
            self.has_room.notify_all();
        }
    }

    /// Returns publishes to send together: all that wait, up to 256 messages and 1 MiB.
    ///
    /// # Blocking
    /// Waits until there is one, until `until`. Woken by a publish, by [`call`](Self::call) and by [`close`](Self::close).
    pub(super) fn take(&self, until: Instant) -> Vec<Arc<PendingPublish>> {
        let mut state = lock(&self.state);
        while state.publishes.is_empty() && !state.is_called && !state.is_closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = wait(&self.arrived, state, Some(left));
        }
        state.is_called = false;
        let taken = state.take((MAX_TOGETHER, MAX_BYTES_TOGETHER));
        if !taken.is_empty() {
            self.has_room.notify_all();
        }
        taken
    }

    /// Returns publishes to send while others have no reply yet, with this number of messages and bytes: those that wait
    /// already, up to the same limits together.
    pub(super) fn take_more(&self, messages: usize, bytes: usize) -> Vec<Arc<PendingPublish>> {
        if messages > MAX_TOGETHER / 2 || bytes > MAX_BYTES_TOGETHER / 2 {
            return Vec::new();
        }
        let room = (MAX_TOGETHER - messages, MAX_BYTES_TOGETHER - bytes);
        let taken = lock(&self.state).take(room);
        if !taken.is_empty() {
            self.has_room.notify_all();
        }
        taken
    }

    /// Makes [`take`](Self::take) return, once.
    pub(super) fn call(&self) {
        lock(&self.state).is_called = true;
        self.arrived.notify_one();
    }

    /// Refuses all further publishes. Returns those that wait.
    pub(super) fn close(&self) -> Vec<Arc<PendingPublish>> {
        let mut state = lock(&self.state);
        state.is_closed = true;
        self.arrived.notify_all();
        self.has_room.notify_all();
        state.messages = 0;
        state.bytes = 0;
        state.publishes.drain(..).collect()
    }

    /// Returns the number of messages that wait.
    pub(super) fn messages(&self) -> usize {
        lock(&self.state).messages
    }
}

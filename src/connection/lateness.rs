//! [`Lateness`]: how far a peer is behind with what it was sent, and the topics that wait for it.
//!
//! The kernels and the client's own program buffer what the client has not read. The socket accepts more bytes as long as
//! these buffers have room, so it does not show that the client is behind. A *mark* does: a ping that is sent after the
//! data. Its pong shows that the peer has read everything before it (RFC 6455 §5.5.3). While a mark stays unanswered for
//! longer than a topic allows, the topic holds its messages back. The pong releases them.
//!
//! At most one ping of ours is outstanding (`ping.rs`), and each of them serves as a mark. If one is outstanding already
//! that was sent before the data, its pong comes too early. The next mark corrects this.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::queue::item::TopicSource;
use crate::sync::lock;

/// Times are milliseconds of [`clock::now`](crate::clock::now); 0 means *not set*.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    /// When the last mark was sent.
    marked_at: AtomicU64,
    /// When the unanswered mark was sent, plus the time during which we did not read. 0: every mark is answered.
    unanswered_since: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Each topic is here at most once, because a member has one place in the overflow list.
    topics: Vec<Arc<dyn TopicSource>>,
    /// The connection is closing: nothing is held back any more.
    is_closed: bool,
}

impl Lateness {
    /// Records that a mark is sent at `now`, unless one is unanswered, or the last one was sent less than `interval` ago.
    /// Returns whether the caller must send it.
    pub(crate) fn try_mark(&self, now: u64, interval: u64) -> bool {
        if self.unanswered_since.load(Relaxed) != 0 {
            return false;
        }
        let last = self.marked_at.load(Relaxed);
        if last != 0 && now.saturating_sub(last) < interval {
            return false;
        }
        self.marked_at.store(now, Relaxed);
        // `SeqCst`, as in `is_waiting` and in `Pings`. The caller looks whether a ping is outstanding *afterwards*, and the
        // reader looks for the mark after it has taken a pong. So one of the two finds what the other has done.
        let marked = self
            .unanswered_since
            .compare_exchange(0, now, SeqCst, SeqCst);
        marked.is_ok()
    }

    /// Returns whether a mark has been unanswered for `limit` milliseconds at `now`.
    pub(crate) fn is_late(&self, now: u64, limit: u64) -> bool {
        let since = self.unanswered_since.load(Relaxed);
        since != 0 && now.saturating_sub(since) >= limit
    }

    /// Returns whether a mark is unanswered.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unanswered_since.load(SeqCst) != 0
    }

    /// Adds the time since the mark during which no thread read the peer's bytes. The last read returned at `read_at`, and
    /// the next one begins at `now`. An answer may have arrived unread meanwhile.
    pub(crate) fn add_unread_time(&self, read_at: u64, now: u64) {
        let since = self.unanswered_since.load(Relaxed);
        let unread = now.saturating_sub(read_at.max(since));
        if since != 0 && unread != 0 {
            let _ = self.unanswered_since.compare_exchange(
                since,
                since.saturating_add(unread),
                Relaxed,
                Relaxed,
            );
        }
    }

    /// Records that the mark is answered, or counts as lost. Returns the topics that are released.
    pub(crate) fn release(&self) -> Vec<Arc<dyn TopicSource>> {
        // Cleared before the list is taken: see `hold`.
        self.unanswered_since.store(0, Relaxed);
        std::mem::take(&mut lock(&self.held).topics)
    }

    /// Takes the topics that are held back, although the mark is not answered.
    pub(crate) fn take_held(&self) -> Vec<Arc<dyn TopicSource>> {
        std::mem::take(&mut lock(&self.held).topics)
    }

    /// Releases everything, now and from now on.
    pub(crate) fn close(&self) -> Vec<Arc<dyn TopicSource>> {
        let mut held = lock(&self.held);
        held.is_closed = true;
        std::mem::take(&mut held.topics)
    }

    /// Holds `checkpoint` back if a topic is held, whose messages may have been queued before it. Returns the checkpoint
    /// otherwise.
    pub(crate) fn hold_behind_topics(
        &self,
        checkpoint: Arc<dyn TopicSource>,
    ) -> Option<Arc<dyn TopicSource>> {
        let mut held = lock(&self.held);
        if held.topics.is_empty() {
            return Some(checkpoint);
        }
        held.topics.push(checkpoint);
        None
    }

    /// Holds `topic` back until the mark is answered. Returns the topic if nothing would release it: the answer has arrived
    /// meanwhile, or the connection is closing.
    ///
    /// `release` clears the mark before it locks the list. So either this finds no unanswered mark, or `release` finds the
    /// topic.
    pub(crate) fn hold(&self, topic: Arc<dyn TopicSource>) -> Option<Arc<dyn TopicSource>> {
        let mut held = lock(&self.held);
        if held.is_closed || !self.is_waiting() {
            return Some(topic);
        }
        held.topics.push(topic);
        None
    }
}

#[cfg(test)]
#[path = "tests/lateness.rs"]
mod tests;

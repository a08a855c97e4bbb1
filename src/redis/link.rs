//! [`Link`]: what the threads of one link and the publishing threads share.
//!
//! ```text
//! Joining ──link──▶ Up ──error──▶ Suspect ──silent for the timeout──▶ Isolated
//!    │               │  ▲              │                              │    ▲
//!    │            silence│          link again                     link again
//!    │               │  └── Rejoining ◀┴──────────────────────────────┘    │
//!    │               └─────────────────────────────────────────────────────┤
//!    └── the timeout ──────────────────────────────────────────────────────┘
//! ```
//!
//! `Isolated` lasts while the link thread connects and subscribes. Only the topics' catching up is `Rejoining`, in which no
//! topic is published to locally. So no topic that has caught up can begin a local sequence.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::config::Lost;
use super::figures::Figures;
use super::interval::Interval;
use super::keys::Keys;
use super::link_word::LinkWord;
use super::pending::PendingPublish;
use super::present_names::PresentNames;
use super::queue::PublishQueue;
use super::record::Limits;
use super::server_clock::{MAX_DIFFERENCE, ServerClock};
use super::status::{LinkState, LinkStatus};
use super::topics::OpenTopics;
use super::users::DisconnectCallback;
use crate::sync::lock;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) keys: Keys,
    /// The number of this hub among those that use the server.
    pub(super) node: u64,
    pub(super) limits: Limits,
    pub(super) lost: Lost,
    pub(super) timeout: Duration,
    pub(super) word: LinkWord,
    pub(super) clock: ServerClock,
    pub(super) queue: PublishQueue,
    pub(super) topics: OpenTopics,
    pub(super) names: PresentNames,
    pub(super) on_disconnect: DisconnectCallback,
    pub(super) figures: Figures,
    pub(super) heartbeats: Mutex<Heartbeats>,
    /// The hub is shutting down.
    is_stopped: AtomicBool,
    started: Instant,
    /// When something was received last, in microseconds since `started`.
    last_reception: AtomicU64,
    /// Since when the hub has been isolated. `None` while the link is up.
    isolated_since: Mutex<Option<Instant>>,
    next_seq: AtomicU64,
    /// Publishes without an outcome, by the number of their first message.
    pending: Mutex<BTreeMap<u64, Arc<PendingPublish>>>,
    clock_warnings: Mutex<Interval>,
    /// Wakes the link thread.
    wake: Sender<()>,
    /// The server's address without user and password.
    address: Mutex<String>,
}

/// Messages that this hub sends to its own channel, and has to receive.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    pub(super) sent: u64,
    pub(super) sent_at: Option<Instant>,
    pub(super) returned: u64,
}

/// The configuration of one link.
pub(super) struct LinkSettings {
    pub(super) keys: Keys,
    pub(super) node: u64,
    pub(super) max_message: usize,
    pub(super) lost: Lost,
    pub(super) timeout: Duration,
    pub(super) address: String,
}

impl Link {
    pub(super) fn new(settings: LinkSettings, wake: Sender<()>) -> Link {
        let LinkSettings {
            keys,
            node,
            max_message,
            lost,
            timeout,
            address,
        } = settings;
        Link {
            keys,
            node,
            limits: Limits {
                own_node: node,
                max_message,
            },
            lost,
            timeout,
            word: LinkWord::new(),
            clock: ServerClock::new(),
            queue: PublishQueue::default(),
            topics: OpenTopics::default(),
            names: PresentNames::default(),
            on_disconnect: DisconnectCallback::default(),
            figures: Figures::default(),
            heartbeats: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            started: Instant::now(),
            last_reception: AtomicU64::new(0),
            isolated_since: Mutex::default(),
            next_seq: AtomicU64::new(1),
            pending: Mutex::default(),
            clock_warnings: Mutex::default(),
            wake,
            address: Mutex::new(address),
        }
    }

    /// Returns the state. A link that has been silent for the timeout becomes isolated here, whichever thread asks.
    pub(super) fn state(&self) -> LinkState {
        let (state, connection) = self.word.get();
        let may_wait = matches!(
            state,
            LinkState::Joining | LinkState::Up | LinkState::Suspect
        );
        if !may_wait || Instant::now() < self.isolation() {
            return state;
        }
        let isolated = (LinkState::Isolated, connection);
        if !self.word.change((state, connection), isolated) {
            return self.word.state();
        }
        *lock(&self.isolated_since) = Some(Instant::now());
        Figures::add(&self.figures.isolated, 1);
        log::warn!(
            "redis {}: nothing received for {:?}, so this hub is isolated ({})",
            self.address(),
            self.timeout,
            self.lost
        );
        self.wake_all();
        LinkState::Isolated
    }
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// Makes all threads of the link end.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.state() == LinkState::Isolated
    }

    /// Returns when the link becomes isolated if nothing is received.
    pub(super) fn isolation(&self) -> Instant {
        self.received_at() + self.timeout
    }

    fn received_at(&self) -> Instant {
        self.started + Duration::from_micros(self.last_reception.load(Ordering::SeqCst))
    }

    /// Records that something has been received.
    pub(super) fn set_received(&self) {
        let micros = self.started.elapsed().as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        self.last_reception.store(micros, Ordering::SeqCst);
    }

    /// Records that the link is up again.
    pub(super) fn end_isolation(&self) {
        *lock(&self.isolated_since) = None;
    }

    /// Reports that a connection is broken. Does nothing if this is known already.
    pub(super) fn set_lost(&self, connection: u64, reason: &str) {
        let up = (LinkState::Up, connection);
        if self.word.change(up, (LinkState::Suspect, connection)) {
            log::warn!("redis {}: the connection is lost: {reason}", self.address());
        }
        self.wake_all();
    }

    pub(super) fn is_current(&self, connection: u64) -> bool {
        self.state() == LinkState::Up && self.word.get().1 == connection
    }

    /// Records that the server's time was `server`, in microseconds, between `sent_at` and now.
    pub(super) fn measure(&self, server: u64, sent_at: Instant) {
        let difference = self.clock.measure(server, sent_at, Instant::now());
        if difference > MAX_DIFFERENCE && lock(&self.clock_warnings).is_over() {
            log::warn!(
                "redis {}: its clock differs from this machine's by {difference:?}",
                self.address()
            );
        }
    }

    /// Wakes every thread whose next step depends on the state.
    pub(super) fn wake_all(&self) {
        self.wake_link();
        self.queue.call();
        let pending: Vec<_> = lock(&self.pending).values().cloned().collect();
        pending.iter().for_each(|publish| publish.wake());
        self.topics.wake();
    }

    pub(super) fn wake_link(&self) {
        // A full channel wakes the thread as well.
        let _ = self.wake.try_send(());
    }

    /// Records that `name` is present on this hub, or not any more. The publisher thread tells the server.
    pub(super) fn set_present(&self, topic: &str, name: &str, is_present: bool) {
        self.names.set(topic, name, is_present);
        self.queue.call();
    }

    /// Registers a publish of `count` messages, so that its messages are recognized when they come back. `create` gets the
    /// number of the first one.
    pub(super) fn register(
        &self,
        count: usize,
        create: impl FnOnce(u64) -> PendingPublish,
    ) -> Registered<'_> {
        let first = self.next_seq.fetch_add(count as u64, Ordering::Relaxed);
        let publish = Arc::new(create(first));
        lock(&self.pending).insert(first, Arc::clone(&publish));
        Registered {
            link: self,
            publish,
        }
    }

    /// Returns the publish of a message of this hub, and the index of the message in it.
    pub(super) fn publish_of(&self, seq: u64) -> Option<(Arc<PendingPublish>, usize)> {
        let pending = lock(&self.pending);
        let (first, publish) = pending.range(..=seq).next_back()?;
        let index = usize::try_from(seq - first).ok()?;
        (index < publish.len()).then(|| (Arc::clone(publish), index))
    }

    /// Returns all publishes without an outcome.
    pub(super) fn all_pending(&self) -> Vec<Arc<PendingPublish>> {
        lock(&self.pending).values().cloned().collect()
    }

    pub(super) fn address(&self) -> String {
        lock(&self.address).clone()
    }

    pub(super) fn set_address(&self, address: &str) {
        address.clone_into(&mut lock(&self.address));
    }

    pub(super) fn status(&self) -> LinkStatus {
        let (round_trip, lag) = self.figures.durations();
        LinkStatus {
            address: self.address(),
            state: self.state(),
            silent_for: self.received_at().elapsed(),
            isolated_for: lock(&self.isolated_since).map(|since| since.elapsed()),
            queue: self.queue.messages(),
            topics: self.topics.len(),
            nodes: self.figures.nodes.load(Ordering::Relaxed),
            counts: self.figures.counts(),
            round_trip,
            lag,
        }
    }
}

/// A publish that is registered with its link, until this is dropped.
pub(super) struct Registered<'a> {
    link: &'a Link,
    pub(super) publish: Arc<PendingPublish>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        lock(&self.link.pending).remove(&self.publish.first_seq);
    }
}

//! [`Shard`]: the link to one server, and its thread.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

use super::candidate::{address, candidates};
use super::config::RedisConfig;
use super::connection::fnv1a;
use super::keys::Keys;
use super::link::{Link, LinkSettings};
use super::link_thread::LinkThread;
use super::status::LinkStatus;
use crate::sync::{Latch, lock};

/// How long a shutdown waits for the threads, in addition to the timeout. Only the resolution of a host name can take
/// longer, because the system has no time limit for it.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(1);

/// The longest time that a shutdown waits for the server.
const MAX_SHUTDOWN: Duration = Duration::from_secs(5);

pub(super) struct Shard {
    link: Arc<Link>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Set when the thread has ended.
    has_ended: Arc<Latch>,
    /// Identifies the server for the choice of the shard of a topic.
    hash: u64,
}

impl Shard {
    /// Starts the link to the server at `urls`.
    pub(super) fn start(config: &RedisConfig, urls: &str, node: u64) -> io::Result<Shard> {
        let candidates = candidates(urls, config.authorities.as_deref())?;
        let address = address(&candidates[0].info);
        let hash = fnv1a(address.as_bytes());
        let (wake, events) = crossbeam_channel::bounded(1);
        let settings = LinkSettings {
            keys: Keys::new(&config.prefix, node),
            node,
            max_message: config.max_message,
            lost: config.lost,
            timeout: config.timeout,
            address,
        };
        let link = Arc::new(Link::new(settings, wake));
        let has_ended = Arc::new(Latch::new());
        let thread = {
            let (link, has_ended) = (Arc::clone(&link), SetOnDrop(Arc::clone(&has_ended)));
            let thread = LinkThread::new(link, candidates, events);
            Builder::new().name("sp-redis-link".into()).spawn(move || {
                let _has_ended = has_ended;
                thread.run();
            })?
        };
        Ok(Shard {
            link,
            thread: Mutex::new(Some(thread)),
            has_ended,
            hash,
        })
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn status(&self) -> LinkStatus {
        self.link.status()
    }

    /// Returns the weight of this shard for a topic. The shard with the highest weight has the topic.
    pub(super) fn weight(&self, topic: &str) -> u64 {
        // FNV leaves similar inputs similar. Multiplying and shifting spreads their difference over all bits.
        let mut weight = self.hash ^ fnv1a(topic.as_bytes());
        for _ in 0..2 {
            weight = (weight ^ (weight >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        weight ^ (weight >> 32)
    }

    /// Tells the threads to end.
    pub(super) fn stop(&self) {
        self.link.stop();
    }

    /// Waits for the end of the threads.
    ///
    /// # Blocking
    /// Up to the timeout and 1 s more. A thread that still waits for the system's resolution of a host name is left to end
    /// by itself.
    pub(super) fn join(&self) {
        let Some(thread) = lock(&self.thread).take() else {
            return;
        };
        // The link may drop the last reference to the last topic. Its threads end by themselves then.
        let current = thread::current();
        if current
            .name()
            .is_some_and(|name| name.starts_with("sp-redis-"))
        {
            return;
        }
        let limit = self.link.timeout.min(MAX_SHUTDOWN) + SHUTDOWN_MARGIN;
        if self.has_ended.wait(limit) {
            if thread.join().is_err() {
                log::error!("a thread of the redis link panicked");
            }
        } else {
            log::warn!(
                "redis {}: a thread has not ended after {limit:?}",
                self.link.address()
            );
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.stop();
        self.join();
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.fmt(f)
    }
}

/// Sets a latch when it is dropped, also by a panic.
struct SetOnDrop(Arc<Latch>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

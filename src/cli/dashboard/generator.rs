//! [`Generator`]: publishes messages to a topic at a fixed rate, so that the dashboard has something to show.
//!
//! Its thread `sp-gen-N` waits until its next message is due, and then publishes it. Under the policy `block`, `publish`
//! may wait for slow members. The thread ends when it is stopped and `publish` has returned.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::Serialize;
use standpipe::{Message, Publication, Topic};

const STACK: usize = 256 << 10;
/// Messages per second.
pub(super) const MAX_RATE: u32 = 2000;
/// Bytes per message.
pub(super) const MAX_SIZE: usize = 16 << 10;
/// The number of different keys that the messages have in turn, so that a conflating topic can conflate them.
const KEYS: u64 = 8;

pub(super) struct Generator {
    pub(super) topic: String,
    rate: u32,
    size: usize,
    counters: Arc<Counters>,
    /// Dropping the sender stops the thread.
    stop: Option<Sender<Infallible>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    refused: AtomicU64,
    /// Microseconds spent in `publish`. Under the policy `block` this is mostly time spent waiting for slow members.
    publish_micros: AtomicU64,
    /// The thread is in `publish` now.
    is_publishing: AtomicBool,
}

/// A generator as a snapshot shows it.
#[derive(Serialize)]
pub(super) struct Figures {
    topic: String,
    rate: u32,
    size: usize,
    sent: u64,
    refused: u64,
    waited_ms: u64,
    waits: bool,
    stopping: bool,
}

impl Generator {
    pub(super) fn start(
        number: u64,
        topic: Topic,
        rate: u32,
        size: usize,
    ) -> Result<Generator, String> {
        let (stop, stopped) = bounded(0);
        let counters = Arc::new(Counters::default());
        let (name, shared) = (topic.name().to_owned(), Arc::clone(&counters));
        let thread = Builder::new()
            .name(format!("sp-gen-{number}"))
            .stack_size(STACK)
            .spawn(move || publish(&topic, rate, size, &stopped, &shared))
            .map_err(|error| error.to_string())?;
        Ok(Generator {
            topic: name,
            rate,
            size,
            counters,
            stop: Some(stop),
            thread,
        })
    }

    pub(super) fn stop(&mut self) {
        self.stop = None;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_none()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    pub(super) fn figures(&self) -> Figures {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            topic: self.topic.clone(),
            rate: self.rate,
            size: self.size,
            sent: value(&self.counters.sent),
            refused: value(&self.counters.refused),
            waited_ms: value(&self.counters.publish_micros) / 1000,
            waits: self.counters.is_publishing.load(Ordering::Relaxed),
            stopping: self.is_stopping(),
        }
    }

    /// Stops the thread and joins it.
    ///
    /// # Blocking
    /// Waits until the last `publish` has returned. It returns immediately, unless the topic makes publishers wait.
    pub(super) fn join(mut self) {
        self.stop();
        // A thread that panicked has also ended.
        let _ = self.thread.join();
    }
}

fn publish(
    topic: &Topic,
    rate: u32,
    size: usize,
    stopped: &Receiver<Infallible>,
    counters: &Counters,
) {
    let period = Duration::from_secs(1) / rate.max(1);
    let mut next = Instant::now();
    let mut number = 0_u64;
    // Nothing is ever sent through this channel. It is disconnected to stop the thread.
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_deadline(next) {
        let mut text = format!("{{\"n\":{number},\"pad\":\"");
        text.extend(std::iter::repeat_n(
            'x',
            size.saturating_sub(text.len() + 2),
        ));
        text.push_str("\"}");
        let key = format!("k{}", number % KEYS);
        let publication = Publication::from(Message::text(text)).json().key(&key);
        let began = Instant::now();
        counters.is_publishing.store(true, Ordering::Relaxed);
        let counter = match topic.publish(publication) {
            Ok(_) => &counters.sent,
            Err(_) => &counters.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        counters.is_publishing.store(false, Ordering::Relaxed);
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counters.publish_micros.fetch_add(took, Ordering::Relaxed);
        number += 1;
        // Messages that were missed while waiting are not sent later. Otherwise a burst would follow each wait.
        next = (next + period).max(began);
    }
}

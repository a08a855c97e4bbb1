//! [`Generator`]: so many messages a second to a topic, so that there is something to see.
//!
//! Its thread `sp-gen-N` waits for its next message's time and for its topic, as any publisher does, and ends when it
//! is stopped; one that waits under `block` ends when that wait does.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::Serialize;
use standpipe::{Message, Publication, Topic};

const STACK: usize = 256 << 10;
/// Messages a second.
pub(super) const FASTEST: u32 = 2000;
/// Bytes of a message.
pub(super) const LARGEST: usize = 16 << 10;
/// A conflating topic has something to conflate: so many keys take turns.
const KEYS: u64 = 8;

pub(super) struct Generator {
    pub(super) topic: String,
    rate: u32,
    size: usize,
    counts: Arc<Counts>,
    /// Dropped, it stops.
    stop: Option<Sender<Infallible>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    refused: AtomicU64,
    /// Microseconds spent in `publish`: what a publisher that bends to its members loses.
    waited: AtomicU64,
    /// It is in `publish`.
    waits: AtomicBool,
}

/// What a snapshot shows of it.
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
        let counts = Arc::new(Counts::default());
        let (name, counted) = (topic.name().to_owned(), Arc::clone(&counts));
        let thread = Builder::new()
            .name(format!("sp-gen-{number}"))
            .stack_size(STACK)
            .spawn(move || publish(&topic, rate, size, &stopped, &counted))
            .map_err(|error| error.to_string())?;
        Ok(Generator {
            topic: name,
            rate,
            size,
            counts,
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
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            topic: self.topic.clone(),
            rate: self.rate,
            size: self.size,
            sent: count(&self.counts.sent),
            refused: count(&self.counts.refused),
            waited_ms: count(&self.counts.waited) / 1000,
            waits: self.counts.waits.load(Ordering::Relaxed),
            stopping: self.is_stopping(),
        }
    }

    /// # Blocking
    /// Until its last `publish` has returned: at once, unless its topic makes publishers wait.
    pub(super) fn join(mut self) {
        self.stop();
        // A thread that panicked has ended, too.
        let _ = self.thread.join();
    }
}

fn publish(topic: &Topic, rate: u32, size: usize, stopped: &Receiver<Infallible>, counts: &Counts) {
    let period = Duration::from_secs(1) / rate.max(1);
    let mut next = Instant::now();
    let mut number = 0_u64;
    // Nothing is ever sent to it: its end is the message.
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
        counts.waits.store(true, Ordering::Relaxed);
        let counter = match topic.publish(publication) {
            Ok(_) => &counts.sent,
            Err(_) => &counts.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        counts.waits.store(false, Ordering::Relaxed);
        let waited = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counts.waited.fetch_add(waited, Ordering::Relaxed);
        number += 1;
        // What a wait has cost is not made up for, or the queues would meet a burst.
        next = (next + period).max(began);
    }
}

//! Wrong: a broadcast holds the lock on the members, and sends to each with a `send` that waits.
//! What happens: one member's queue is full, so nobody hears anything, and nobody can join or leave: all share the lock.
//! Where it happened: superplane #6427 (evicting under the broadcast's own lock froze every user of a pod),
//! mattermost #7577 (the hub waits for a client that waits for the hub), kubestellar #7957.
//! Right: the lock is for memory work only, and who waits is the topic's policy: `src/hub/topic.rs`, `src/hub/fan.rs`.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Sender, bounded};

use crate::{LONG, Outcome, within};

#[derive(Clone, Default)]
struct Hub {
    members: Arc<Mutex<Vec<Sender<u32>>>>,
}

impl Hub {
    fn join(&self, queue: Sender<u32>) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.push(queue);
    }

    fn publish(&self, message: u32) {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        for member in members.iter() {
            let _ = member.send(message); // Waits for the slowest, with the lock in hand.
        }
    }
}

pub(crate) fn run() -> Outcome {
    let hub = Hub::default();
    let (slow, not_read) = bounded(2);
    let (fast, read) = bounded(2);
    hub.join(slow);
    hub.join(fast);
    let publisher = hub.clone();
    thread::Builder::new().spawn(move || {
        for message in 1..=10 {
            publisher.publish(message);
        }
    })?;
    let mut heard = 0;
    while read.recv_timeout(LONG).is_ok() {
        heard += 1;
    }
    println!("the fast member heard {heard} of 10 messages, and then nothing for a second");
    let newcomer = hub.clone();
    let joined = within(move || newcomer.join(bounded(2).0))?;
    println!("a newcomer joined within a second: {}", joined.is_some());
    // The slow one reads again, and everything goes on: it was never broken, only waiting.
    let rest = thread::Builder::new().spawn(move || not_read.iter().take(10).count())?;
    while heard < 10 && read.recv_timeout(LONG).is_ok() {
        heard += 1;
    }
    println!("once the slow member reads, the fast one has heard {heard}");
    rest.join().map_err(|_| "the slow member panicked")?;
    Ok(())
}

//! Wrong: a broadcast holds the lock on the list of members while it calls a `send` that waits.
//! Result: the queue of one member is full. No other member gets a message, and no client can join or leave,
//! because all of them need the same lock.
//! Where it happened: superplane #6427 (disconnecting under the broadcast's own lock froze every user of a pod),
//! mattermost #7577 (the hub waits for a client that waits for the hub), kubestellar #7957.
//! Right: hold the lock for memory work only. The topic's policy decides about a slow member: `src/hub/policy.rs`,
//! `src/hub/delivery.rs`.

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
            let _ = member.send(message); // Waits for the slowest member, and holds the lock.
        }
    }
}

pub(crate) fn run() -> Outcome {
    let hub = Hub::default();
    let (slow, slow_messages) = bounded(2);
    let (fast, fast_messages) = bounded(2);
    hub.join(slow);
    hub.join(fast);
    let publisher = hub.clone();
    thread::Builder::new().spawn(move || {
        for message in 1..=10 {
            publisher.publish(message);
        }
    })?;
    let mut received = 0;
    while fast_messages.recv_timeout(LONG).is_ok() {
        received += 1;
    }
    println!("the fast member received {received} of 10 messages, and then nothing for a second");
    let new_member = hub.clone();
    let joined = within(move || new_member.join(bounded(2).0))?;
    println!("a new member joined within a second: {}", joined.is_some());
    // When the slow member reads again, everything goes on: nothing was broken, the publisher only waited.
    let slow_reader =
        thread::Builder::new().spawn(move || slow_messages.iter().take(10).count())?;
    while received < 10 && fast_messages.recv_timeout(LONG).is_ok() {
        received += 1;
    }
    println!("once the slow member reads, the fast member has received {received}");
    slow_reader.join().map_err(|_| "the slow member panicked")?;
    Ok(())
}

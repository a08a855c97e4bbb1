//! Thread `sp-watchdog`: ends what is overdue, and wakes the acceptors when the latch is set.
//!
//! Every tick it looks at each client's atomics; it holds clients weakly, takes no lock that anybody waits under, and
//! acts by resetting the client's socket, which frees a thread blocked in `read` and one blocked in `write` in under a
//! millisecond. `SO_RCVTIMEO` and `SO_SNDTIMEO` would not do: they are per call, and a peer that trickles never meets
//! them. It ends when the latch is set and the last client is gone; the scope in `serve` joins it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock::{self, lock};
use crate::connection::{CloseCause, DeadlineCheck, Shared};
use crate::panic::catch_panic;
use crate::server::listener::Listener;
use crate::server::state::ServerState;

/// How late a deadline may be noticed.
const TICK: Duration = Duration::from_millis(50);

/// The same when the latch is set.
const LAST_TICK: Duration = Duration::from_millis(10);

/// What others want done now and then. Every fourth tick.
#[derive(Default)]
pub(super) struct TickCallbacks(Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>);

const ERRANDS_EVERY: u32 = 4;

impl TickCallbacks {
    pub(super) fn add(&self, errand: Box<dyn Fn() + Send + Sync>) {
        lock(&self.0).push(errand.into());
    }

    fn run(&self) {
        let tick_callbacks = lock(&self.0).clone();
        for errand in tick_callbacks {
            if catch_panic(&*errand).is_none() {
                log::error!("what was to be done on a tick panicked");
            }
        }
    }
}

impl fmt::Debug for TickCallbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TickCallbacks({})", lock(&self.0).len())
    }
}

/// # Blocking
/// On its tick and on the latch; from then on, a shorter tick, on the acceptors leaving, and on the last client.
pub(super) fn run(server: &ServerState, listeners: &[Listener]) {
    let mut tick = 0_u32;
    while !server.latch.wait(TICK) {
        patrol(server);
        tick = tick.wrapping_add(1);
        if tick % ERRANDS_EVERY == 0 {
            server.tick_callbacks.run();
        }
    }
    loop {
        // All of them are knocked at.
        let deaf = listeners.iter().fold(None, |deaf, listener| {
            if listener.wake() {
                Some(listener)
            } else {
                deaf
            }
        });
        match deaf {
            Some(listener) => listener.wait_until_done(LAST_TICK),
            None if server.clients.wait_until_empty(Instant::now() + LAST_TICK) => return,
            None => {}
        }
        patrol(server);
    }
}

fn patrol(server: &ServerState) {
    let now = clock::now();
    for client in server.clients.snapshot() {
        look_at(&client, now);
    }
}

fn look_at(client: &Shared, now: u64) {
    match client.state.judge(now, &client.config) {
        DeadlineCheck::Met => {}
        DeadlineCheck::PingDue => {
            client.control.ping(now.to_be_bytes());
            client.notify_writer();
        }
        DeadlineCheck::Overdue(clock) => {
            log::warn!("#{} {} overdue: {clock}, reset", client.number, client.peer);
            client.reset(CloseCause::TimedOut(clock));
        }
    }
}

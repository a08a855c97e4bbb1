//! Thread `sp-watchdog`: resets connections whose deadline has passed, and wakes the acceptors at shutdown.
//!
//! On every tick it reads each client's atomics. It holds clients weakly and takes no lock that anybody waits under. It acts
//! by resetting the client's socket, which frees a thread that is blocked in `read` and one that is blocked in `write` in
//! less than a millisecond. `SO_RCVTIMEO` and `SO_SNDTIMEO` would not do: they apply to each call, and a peer that sends or
//! reads a byte now and then never meets them. The thread ends when the latch is set and the last client is gone; the scope
//! in `serve` joins it.

use std::time::{Duration, Instant};

use super::listener::Listener;
use super::state::ServerState;
use crate::clock;
use crate::connection::CloseCause;
use crate::connection::deadlines::DeadlineCheck;
use crate::connection::shared::Shared;

/// How late a passed deadline may be noticed.
const TICK: Duration = Duration::from_millis(50);

/// The same, during shutdown.
const SHUTDOWN_TICK: Duration = Duration::from_millis(10);

/// The tick callbacks run on every fourth tick: five times per second.
const CALLBACKS_EVERY: u32 = 4;

/// # Blocking
/// On its tick, woken by the latch. During shutdown, on a shorter tick, woken by an acceptor that ends and by the end of the
/// last client.
pub(super) fn run(server: &ServerState, listeners: &[Listener]) {
    let mut tick = 0_u32;
    while !server.latch.wait(TICK) {
        check_all(server);
        tick = tick.wrapping_add(1);
        if tick % CALLBACKS_EVERY == 0 {
            server.tick_callbacks.run();
        }
    }
    loop {
        // Wakes every acceptor, and remembers one that still has to be woken.
        let accepting = listeners.iter().fold(None, |accepting, listener| {
            if listener.wake_accept() {
                Some(listener)
            } else {
                accepting
            }
        });
        match accepting {
            Some(listener) => listener.wait_until_done(SHUTDOWN_TICK),
            None if server
                .clients
                .wait_until_empty(Instant::now() + SHUTDOWN_TICK) =>
            {
                return;
            }
            None => {}
        }
        check_all(server);
    }
}

fn check_all(server: &ServerState) {
    let now = clock::now();
    for client in server.clients.snapshot() {
        check(&client, now);
    }
}

fn check(client: &Shared, now: u64) {
    match client.check_deadlines(now) {
        DeadlineCheck::Met => {}
        DeadlineCheck::PingDue => {
            client.write.deadlines.ping_sent(now);
            client.send_ping(now.to_be_bytes());
        }
        DeadlineCheck::Passed(clock) => {
            log::warn!("#{} {} reset: {clock} passed", client.number, client.peer);
            client.terminate(CloseCause::TimedOut(clock));
        }
    }
}

//! Thread `sp-watchdog`: resets connections whose deadline has passed, and wakes the acceptors at shutdown.
//!
//! On every tick the watchdog reads the atomics of each client. It never waits for a lock that is held during blocking
//! calls. When a deadline has passed, it resets the client's socket. That wakes the threads that are blocked in `read`
//! or `write` in less than a millisecond. `SO_RCVTIMEO` and `SO_SNDTIMEO` cannot replace the watchdog: they apply to a
//! single call, so a peer that sends or reads one byte now and then would never exceed them. The thread ends when the
//! latch is set and the last client has ended. The scope in `serve` joins it.

use std::time::{Duration, Instant};

use super::listener::Listener;
use super::state::ServerState;
use crate::clock::{self, Clock};
use crate::connection::CloseCause;
use crate::connection::deadlines::DeadlineCheck;
use crate::connection::shared::Shared;

/// The interval of the checks, and so the maximum delay with which a passed deadline is noticed.
const TICK: Duration = Duration::from_millis(50);

/// The interval of the checks during a shutdown.
const SHUTDOWN_TICK: Duration = Duration::from_millis(10);

/// The tick callbacks run on every fourth tick: five times per second.
const CALLBACKS_EVERY: u32 = 4;

/// # Blocking
/// Waits for the next tick: woken by the latch. During a shutdown the ticks are shorter: woken when an acceptor ends,
/// or when the last client ends.
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
        // Wakes every acceptor. The result is a listener whose acceptor has not ended yet.
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
        // The time of an idle connection is over, which is no failure of the client.
        DeadlineCheck::Passed(Clock::Handshake) if client.end_idle() => {}
        // Another request may have begun since the check, with a deadline of its own.
        DeadlineCheck::Passed(clock)
            if client.check_deadlines(now) == DeadlineCheck::Passed(clock) =>
        {
            log::warn!("#{} {} reset: {clock} passed", client.number, client.peer);
            client.terminate(CloseCause::TimedOut(clock));
        }
        DeadlineCheck::Passed(_) => {}
    }
}

//! Thread `sp-watchdog`: resets connections whose deadline has passed, and ends the drain delay of a shutdown.
//!
//! On every tick the watchdog reads the atomics of each client. It never waits for a lock that is held during blocking
//! calls. When a deadline has passed, it resets the client's socket. That wakes the threads that are blocked in `read`
//! or `write` in less than a millisecond. `SO_RCVTIMEO` and `SO_SNDTIMEO` cannot replace the watchdog: they apply to a
//! single call, so a peer that sends or reads one byte now and then would never exceed them. Once per second, the
//! watchdog also looks at the socket of each client whose handler is in its own code, because nobody else would notice
//! that the peer has gone. The thread ends when the acceptors and the last client have ended. The scope in `serve`
//! joins it.

use std::time::{Duration, Instant};

use super::own_thread;
use super::refusal_log::{Refusal, RefusalLog};
use super::state::ServerState;
use crate::clock::{self, Clock};
use crate::connection::CloseCause;
use crate::connection::deadlines::DeadlineCheck;
use crate::connection::disconnect_log;
use crate::connection::shared::Shared;
use crate::sweep;

/// The interval of the checks, and so the maximum delay with which a passed deadline is noticed.
const TICK: Duration = Duration::from_millis(50);

/// The watchdog looks for a client's peer on every 20th tick: once per second.
const LOOK_EVERY: u64 = 20;

/// The hubs are swept and the tick callbacks run on every fourth tick: five times per second. The callbacks end when the
/// clients are closed.
const CALLBACKS_EVERY: u32 = 4;

/// # Blocking
/// Waits for the next tick: woken when the server stops accepting. After that, also woken when the last acceptor or the
/// last client ends.
pub(super) fn run(server: &ServerState) {
    own_thread::works_for(server);
    let mut tick = 0_u32;
    while !server.shutdown.wait_for_closing(TICK) {
        check_all(server, u64::from(tick));
        server.shutdown.check_drain_delay();
        tick = tick.wrapping_add(1);
        if tick.is_multiple_of(CALLBACKS_EVERY) {
            sweep::run();
            server.tick_callbacks.run();
        }
    }
    // While an acceptor runs, a client may still be added after the last one has left.
    while !(server.shutdown.wait_for_acceptors(TICK)
        && server.clients.wait_until_empty(Instant::now() + TICK))
    {
        check_all(server, u64::from(tick));
        tick = tick.wrapping_add(1);
        // Clients that are still served, or whose turn to be closed has not come, are still members of topics.
        if tick.is_multiple_of(CALLBACKS_EVERY) {
            sweep::run();
            if !server.shutdown.closes_clients() {
                server.tick_callbacks.run();
            }
        }
    }
    server.tick_callbacks.clear();
    server.refusals.log_rest();
    disconnect_log::log_rest();
}

/// Checks the deadlines of all clients. Also looks for the peers of those clients whose turn it is in this `tick`: each
/// client has one turn per second, and the turns are spread over the ticks.
fn check_all(server: &ServerState, tick: u64) {
    let now = clock::now();
    for client in server.clients.snapshot() {
        check(&client, now, &server.refusals);
        if client.number % LOOK_EVERY == tick % LOOK_EVERY {
            client.look_for_peer();
            let silence = || client.check_silence(now);
            act(&client, now, silence(), silence, &server.refusals);
        }
    }
    server.refusals.log_left_out();
    disconnect_log::log_due();
}

fn check(client: &Shared, now: u64, refusals: &RefusalLog) {
    // A peer that sends something and does not answer pings would otherwise never get what topics hold back.
    client.release_overdue(now);
    let deadlines = || client.check_deadlines(now);
    let found = deadlines();
    if found == DeadlineCheck::Met && client.must_measure(now) {
        client.send_ping(now);
    }
    act(client, now, found, deadlines, refusals);
}

/// Does what is necessary because `check` has `found` this.
fn act(
    client: &Shared,
    now: u64,
    found: DeadlineCheck,
    check: impl Fn() -> DeadlineCheck,
    refusals: &RefusalLog,
) {
    match found {
        DeadlineCheck::Met => {}
        DeadlineCheck::PingDue => {
            client.ping_silent(now);
        }
        DeadlineCheck::StreamIdle => client.close_unfinished(),
        // The time of an idle connection is over, which is no failure of the client.
        DeadlineCheck::Passed(Clock::Handshake) if client.end_idle() => {}
        // A deadline stays passed while the handler of a client that was reset does not return. And another request may
        // have begun since the check, with a deadline of its own.
        DeadlineCheck::Passed(clock)
            if !client.lifecycle().was_reset() && check() == DeadlineCheck::Passed(clock) =>
        {
            refusals.log(
                Refusal::Overdue(clock),
                &client.name.get(),
                format_args!("reset: {clock} passed"),
            );
            client.terminate(CloseCause::TimedOut(clock));
        }
        DeadlineCheck::Passed(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::config::Config;
    use crate::http1::Rules;
    use crate::server::shutdown_signal::ShutdownSignal;
    use crate::sweep::Sweep;

    #[derive(Default)]
    struct Swept(AtomicBool);

    impl Sweep for Swept {
        fn sweep(&self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// The watchdog of another test may sweep the hub too.
    #[test]
    fn hubs_are_swept_until_the_last_client_has_ended() {
        let config = Config::default();
        let rules = Rules::new(&config).expect("an empty list of origins is valid");
        let (shutdown, _) = ShutdownSignal::new(Duration::ZERO).expect("a socket pair");
        let server = ServerState::new(config, rules, shutdown, true, 1, 1);
        server.shutdown.stop_accepting();
        let hub = Arc::new(Swept::default());
        let weak = Arc::downgrade(&hub);
        sweep::register(weak);
        thread::scope(|scope| {
            scope.spawn(|| run(&server));
            let deadline = Instant::now() + Duration::from_secs(30);
            while !hub.0.load(Ordering::SeqCst) && Instant::now() < deadline {
                thread::yield_now();
            }
            server.shutdown.mark_accepting_ended();
        });
        assert!(
            hub.0.load(Ordering::SeqCst),
            "timed out waiting for a sweep"
        );
    }
}

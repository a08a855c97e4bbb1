//! [`Sweep`]: what has to be done regularly for every hub of the process. The watchdog of each server does it.
//!
//! A hub needs no thread and no wiring for this. It registers itself when it is created, and is held weakly here.

use std::sync::{Mutex, Weak};

use crate::panic::catch_panic;
use crate::sync::lock;

/// A hub. This file knows no hub, because a server knows none.
pub(crate) trait Sweep: Send + Sync {
    /// Does what time requires. Never blocks.
    fn sweep(&self);
}

/// All hubs of the process. Those that have ended are removed at the next call of a function of this file.
static HUBS: Mutex<Vec<Weak<dyn Sweep>>> = Mutex::new(Vec::new());

/// Registers a hub, until it ends.
pub(crate) fn register(hub: Weak<dyn Sweep>) {
    let mut hubs = lock(&HUBS);
    hubs.retain(|hub| hub.strong_count() > 0);
    hubs.push(hub);
}

/// Sweeps every hub. Several threads may do this at the same time.
///
/// If the code of a user panics, the other hubs are swept nevertheless.
pub(crate) fn run() {
    let hubs = {
        let mut hubs = lock(&HUBS);
        hubs.retain(|hub| hub.strong_count() > 0);
        hubs.clone()
    };
    for hub in hubs {
        let sweep = || {
            // Dropped here too, because this may be the last reference to the hub and to its envelope.
            if let Some(hub) = hub.upgrade() {
                hub.sweep();
            }
        };
        if catch_panic(sweep).is_none() {
            log::error!("sweeping a hub panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counter {
        sweeps: AtomicUsize,
        panics: bool,
    }

    impl Sweep for Counter {
        fn sweep(&self) {
            self.sweeps.fetch_add(1, Ordering::SeqCst);
            assert!(!self.panics, "user code panics");
        }
    }

    fn registered(panics: bool) -> Arc<Counter> {
        let hub = Arc::new(Counter {
            panics,
            ..Counter::default()
        });
        let weak = Arc::downgrade(&hub);
        register(weak);
        hub
    }

    /// Other tests may sweep at the same time.
    #[test]
    fn every_hub_is_swept_until_it_ends() {
        let hubs = [registered(true), registered(false)];
        run();
        assert!(hubs.iter().all(|hub| hub.sweeps.load(Ordering::SeqCst) > 0));
        let [ended, _] = hubs;
        let weak: Weak<dyn Sweep> = Arc::<Counter>::downgrade(&ended);
        drop(ended);
        run();
        assert!(!lock(&HUBS).iter().any(|hub| hub.ptr_eq(&weak)));
    }
}

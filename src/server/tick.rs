//! [`TickCallbacks`]: callbacks of the program, which the watchdog's thread calls regularly.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::panic::catch_panic;
use crate::sync::lock;

#[derive(Default)]
pub(super) struct TickCallbacks(Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>);

impl TickCallbacks {
    pub(super) fn add(&self, callback: Box<dyn Fn() + Send + Sync>) {
        lock(&self.0).push(callback.into());
    }

    /// Calls all callbacks, without holding the lock. A callback that panics is called again on the next tick.
    pub(super) fn run(&self) {
        let callbacks = lock(&self.0).clone();
        for callback in callbacks {
            if catch_panic(&*callback).is_none() {
                log::error!("a tick callback panicked");
            }
        }
    }
}

impl fmt::Debug for TickCallbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TickCallbacks({})", lock(&self.0).len())
    }
}

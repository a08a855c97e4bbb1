//! [`TickCallbacks`]: what the program wants called regularly, on the watchdog's thread.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::caught::caught;
use crate::sync::lock;

#[derive(Default)]
pub(super) struct TickCallbacks(Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>);

impl TickCallbacks {
    pub(super) fn add(&self, callback: Box<dyn Fn() + Send + Sync>) {
        lock(&self.0).push(callback.into());
    }

    /// Calls all of them, without the lock. A panic costs one call.
    pub(super) fn run(&self) {
        let callbacks = lock(&self.0).clone();
        for callback in callbacks {
            if caught(&*callback).is_none() {
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

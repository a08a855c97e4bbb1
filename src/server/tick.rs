//! [`TickCallback`]: a callback of the program, which the watchdog's thread calls regularly.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::panic::catch_panic;
use crate::sync::lock;

type Callback = Arc<dyn Fn() + Send + Sync>;

/// A callback that the server calls about five times per second: the result of
/// [`ServerHandle::on_tick`](crate::ServerHandle::on_tick). Dropping this value removes the callback; a call that has begun
/// goes on.
///
/// ```
/// use standpipe::{Config, Connection, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let thread = Server::bind("127.0.0.1:0", Config::default())?.spawn(|_: &mut Connection| Ok(()))?;
/// let handle = thread.handle();
/// let callback = thread.handle().on_tick(move || println!("{} clients", handle.clients()));
/// drop(callback); // It is not called any more.
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping this value removes the callback; `detach` keeps it"]
pub struct TickCallback {
    /// `None` after `detach`.
    callbacks: Option<Arc<TickCallbacks>>,
    callback: Callback,
}

impl TickCallback {
    pub(super) fn new(callbacks: &Arc<TickCallbacks>, callback: Callback) -> TickCallback {
        lock(&callbacks.0).push(Arc::clone(&callback));
        let callbacks = Some(Arc::clone(callbacks));
        TickCallback {
            callbacks,
            callback,
        }
    }

    /// Keeps the callback until the clients of the server are closed.
    ///
    /// ```
    /// # use standpipe::{Config, Server};
    /// let server = Server::bind("127.0.0.1:0", Config::default())?;
    /// server.handle().on_tick(|| println!("tick")).detach();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn detach(mut self) {
        self.callbacks = None;
    }
}

impl Drop for TickCallback {
    fn drop(&mut self) {
        let Some(callbacks) = &self.callbacks else {
            return;
        };
        let removed = {
            let mut callbacks = lock(&callbacks.0);
            let at = callbacks
                .iter()
                .position(|each| Arc::ptr_eq(each, &self.callback));
            at.map(|at| callbacks.remove(at))
        };
        // Dropped without the lock, because this may run user code.
        drop(removed);
    }
}

impl fmt::Debug for TickCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TickCallback").finish_non_exhaustive()
    }
}

#[derive(Default)]
pub(super) struct TickCallbacks(Mutex<Vec<Callback>>);

impl TickCallbacks {
    /// Calls all callbacks, without holding the lock. A callback that panics is called again on the next tick.
    pub(super) fn run(&self) {
        let callbacks = lock(&self.0).clone();
        for callback in callbacks {
            if catch_panic(&*callback).is_none() {
                log::error!("a tick callback panicked");
            }
        }
    }

    /// Drops all callbacks, because the server has ended. A callback may hold a handle of the server, and would keep itself
    /// in memory.
    pub(super) fn clear(&self) {
        let callbacks = std::mem::take(&mut *lock(&self.0));
        if catch_panic(|| drop(callbacks)).is_none() {
            log::error!("dropping a tick callback panicked");
        }
    }
}

impl fmt::Debug for TickCallbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TickCallbacks({})", lock(&self.0).len())
    }
}

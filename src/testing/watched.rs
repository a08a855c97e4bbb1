//! [`Watched`]: a handler whose first panic is kept for the test.

use std::any::Any;
use std::error::Error;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crossbeam_channel::Sender;

use crate::connection::Connection;
use crate::handler::Handler;
use crate::http1::{Reply, Request};

/// What a panic carries.
pub(super) type Panic = Box<dyn Any + Send>;

/// A handler that this server owns (in a box), or that its scope has borrowed.
pub(super) struct Watched<D> {
    pub(super) handler: D,
    /// A channel with room for one panic.
    pub(super) panics: Sender<Panic>,
}

impl<D: Deref<Target: Handler>> Watched<D> {
    /// Runs a method of the handler. After a panic, the server still does what it always does.
    fn watch<T>(&self, method: impl FnOnce(&D::Target) -> T) -> T {
        match catch_unwind(AssertUnwindSafe(|| method(&self.handler))) {
            Ok(returned) => returned,
            Err(panic) => {
                let _ = self.panics.try_send(panic);
                resume_unwind(Box::new("the handler panicked"))
            }
        }
    }
}

impl<D: Deref<Target: Handler> + Sync> Handler for Watched<D> {
    fn request(&self, request: &mut Request) -> Reply {
        self.watch(|handler| handler.request(request))
    }

    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        self.watch(|handler| handler.opening(conn))
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.watch(|handler| handler.run(conn))
    }
}

//! [`Checkpoints`]: the checkpoints of one client that have not been reached. Their number is limited, so that they leave
//! room for messages: a call that times out leaves its checkpoint in the queue.

use std::sync::{Arc, Mutex};

use super::tracked::Tracked;
use crate::sync::lock;

#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// The oldest first. Those that have been reached are removed by the next call.
    queued: Mutex<Vec<Arc<Tracked>>>,
    most: usize,
}

impl Checkpoints {
    /// Returns the checkpoints of a queue of `capacity` messages. They can take a quarter of it.
    pub(crate) fn new(capacity: usize) -> Checkpoints {
        Checkpoints {
            queued: Mutex::default(),
            most: (capacity / 4).max(1),
        }
    }

    /// Adds a checkpoint that is about to be queued. If there are too many, returns the oldest: the caller waits for it,
    /// and tries again.
    pub(crate) fn try_add(&self, checkpoint: &Arc<Tracked>) -> Result<(), Arc<Tracked>> {
        let mut queued = lock(&self.queued);
        queued.retain(|other| other.fate().is_none());
        match queued.first() {
            Some(oldest) if queued.len() >= self.most => Err(Arc::clone(oldest)),
            _ => {
                queued.push(Arc::clone(checkpoint));
                Ok(())
            }
        }
    }
}

//! [`WaitingForRoom`]: a guard. While it exists, monitoring shows that this thread waits for room in a client's queue.

use std::cell::RefCell;
use std::sync::Arc;

use crate::connection::activity::Activity;
use crate::connection::shared::Shared;

thread_local! {
    /// The client whose reader this thread is.
    static READER_OF: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Sets the client whose reader this thread is, so that monitoring can show what the thread waits for.
pub(crate) fn set_reader_of(client: Option<Arc<Shared>>) {
    READER_OF.with_borrow_mut(|reader_of| *reader_of = client);
}

pub(crate) struct WaitingForRoom(());

impl WaitingForRoom {
    /// Records that this thread waits for room in the queue of the client with this number.
    pub(crate) fn of_client(number: u64) -> WaitingForRoom {
        set_activity(Activity::WaitingForRoom(number));
        WaitingForRoom(())
    }
}

impl Drop for WaitingForRoom {
    fn drop(&mut self) {
        set_activity(Activity::InHandler);
    }
}

fn set_activity(activity: Activity) {
    READER_OF.with_borrow(|reader_of| {
        if let Some(shared) = reader_of {
            shared.reader.set(activity);
        }
    });
}

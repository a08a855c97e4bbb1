//! Which server the current thread works for. A thread of a server must not wait for the end of that server, because it
//! would wait for itself.

use std::cell::Cell;
use std::ptr;

use super::state::ServerState;

thread_local! {
    static WORKS_FOR: Cell<*const ServerState> = const { Cell::new(ptr::null()) };
}

/// Records that the current thread works for `server` until it ends. Each thread of a server that runs user code calls
/// this at its start.
pub(super) fn works_for(server: &ServerState) {
    WORKS_FOR.set(ptr::from_ref(server));
}

/// Returns whether the current thread works for `server`.
pub(super) fn is_of(server: &ServerState) -> bool {
    ptr::eq(WORKS_FOR.get(), server)
}

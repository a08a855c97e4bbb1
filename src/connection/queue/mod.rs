//! What waits: one client's bounded queue, its byte limit, its entries and its sending end.

pub(crate) mod byte_limit;
pub(crate) mod item;
pub(crate) mod outbox;
pub(crate) mod send_queue;

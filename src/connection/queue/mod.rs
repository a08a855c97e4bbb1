//! Queueing: one client's bounded queue, its entries, its overflow list and its sending end.

pub(crate) mod item;
pub(crate) mod outbox;
pub(crate) mod overflow;
pub(crate) mod room;
pub(crate) mod send_queue;
mod usage;
pub(crate) mod waiting;

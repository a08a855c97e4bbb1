//! Queueing: one client's bounded queue, its entries, its overflow list and its sending end.

pub(crate) mod byte_limit;
mod checkpoints;
pub(crate) mod end;
mod fragments;
pub(crate) mod item;
pub(crate) mod message_writer;
pub(crate) mod outbox;
pub(crate) mod overflow;
pub(crate) mod receipt;
pub(crate) mod room;
pub(crate) mod send_queue;
pub(crate) mod tracked;
mod usage;
mod utf8_check;
pub(crate) mod waiting;

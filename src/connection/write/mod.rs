//! Bytes out: encoded frames, the control slot, the write half, and the threads that may use it.

pub(crate) mod control_slot;
pub(crate) mod direct_write;
pub(crate) mod frame;
pub(crate) mod in_flight;
pub(crate) mod write_half;
pub(crate) mod writer;

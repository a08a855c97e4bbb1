//! Writing: encoded frames, the control slot, frames in flight, and which thread may write.

pub(crate) mod attention;
pub(crate) mod blockage;
pub(crate) mod close;
pub(crate) mod control_slot;
pub(crate) mod direct_write;
pub(crate) mod frame;
pub(crate) mod in_flight;
pub(crate) mod slot;
pub(crate) mod wake_up;
pub(crate) mod write_path;
pub(crate) mod writer;

//! Which connections the server accepts: capacity, handshake slots and limits per address.

pub(crate) mod capacity;
pub(crate) mod handshake_slots;
pub(crate) mod per_address;

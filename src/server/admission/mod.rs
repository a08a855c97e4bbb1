//! Admission: the capacity of the server, the handshake slots, and the limits per address.

mod allocator;
pub(crate) mod capacity;
mod control_group;
#[cfg(test)]
#[path = "tests/fake_root.rs"]
mod fake_root;
pub(crate) mod handshake_slots;
mod limit;
mod limits;
pub(crate) mod per_address;

use crate::sync::Permit;
use per_address::AddressPermit;

/// The permits that an upgraded client holds until it ends.
pub(crate) struct Permits<'server> {
    pub(crate) _client: Permit<'server>,
    pub(crate) _address: AddressPermit<'server>,
}

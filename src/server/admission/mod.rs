//! Admission: the capacity of the server, the handshake slots, and the limits per address.

pub(crate) mod capacity;
pub(crate) mod handshake_slots;
pub(crate) mod per_address;

use crate::sync::Permit;
use per_address::AddressPermit;

/// The permits that an upgraded client holds until it ends.
pub(crate) struct Permits<'server> {
    pub(crate) _client: Permit<'server>,
    pub(crate) _address: AddressPermit<'server>,
}

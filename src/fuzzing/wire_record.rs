//! The target `wire_record`: what another hub, or anybody else, has written to the Redis server.

/// Takes the input for the payload of a channel, and for a record in a stream.
pub fn wire_record(data: &[u8]) {
    crate::redis::check_invariants(data);
}

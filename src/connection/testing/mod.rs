//! Test doubles: a socket that does what a script says, and a whole client without a server.

#[cfg(any(test, fuzzing))]
pub(crate) mod client;
#[cfg(test)]
pub(crate) mod scripted_socket;

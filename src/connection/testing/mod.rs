//! Test doubles: a socket that does what a test tells it, and a client without a server. Also for `fuzzing`.

pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod scripted_socket;
pub(crate) mod single_threaded;

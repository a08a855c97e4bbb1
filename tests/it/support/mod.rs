//! What every test is made of: a server that must end, a client that can misbehave, and deadlines with names.
// Not every tool has a user in every state of the suite.
#![allow(dead_code, unused_imports)]

mod alone;
mod gate;
mod http;
mod process;
mod raw;
mod server;
mod within;

pub(crate) use alone::alone;
pub(crate) use gate::Gate;
pub(crate) use http::{Answer, get, http};
pub(crate) use process::Process;
pub(crate) use raw::{Connect, Frame, Length, Pen, Raw, Rest, Seen, op};
pub(crate) use server::{TestServer, both_ways, echo};
pub(crate) use within::{DEADLINE, until, within};

/// What handlers return.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

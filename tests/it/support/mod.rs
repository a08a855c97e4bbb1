//! What every test is made of: a server that must end, a client that can misbehave, and deadlines with names.
// Not every tool has a user in every state of the suite.
#![allow(dead_code, unused_imports)]

mod alone;
mod connect;
mod frame;
mod gate;
mod http;
#[cfg(feature = "cli")]
mod json;
pub(crate) mod play;
mod process;
mod raw;
mod server;
mod stage;
mod within;

pub(crate) use alone::alone;
pub(crate) use connect::Connect;
pub(crate) use frame::{Frame, Length, op};
pub(crate) use gate::Gate;
pub(crate) use http::{Answer, get, http, post};
#[cfg(feature = "cli")]
pub(crate) use json::Json;
pub(crate) use process::Process;
pub(crate) use raw::{Pen, Raw, Rest, Seen};
pub(crate) use server::{
    TestServer, both_ways, echo, fill, lends_outboxes, only_close, waiting_send,
};
pub(crate) use stage::{Heard, Reader, Stage, Words, heard, heard_of, whole};
pub(crate) use within::{DEADLINE, pass, until, within};

/// What handlers return.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

//! What all tests use: a server that must end, a client that can misbehave, and deadlines that name what they wait for.
// Without the feature `cli`, some helpers are unused.
#![allow(dead_code, unused_imports)]

mod barrier;
mod client;
mod connect;
mod deadline;
mod frame;
mod http;
mod hub_fixture;
#[cfg(feature = "cli")]
mod json_client;
mod log_lines;
mod mode;
mod own_process;
mod process;
#[cfg(feature = "tls")]
mod record_peer;
pub(crate) mod scenario;
mod server;
mod stream;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
pub(crate) mod tls_peer;
#[cfg(feature = "tls")]
mod tls_setup;

pub(crate) use barrier::Barrier;
pub(crate) use client::{Rest, Seen, SendHalf, TestClient};
pub(crate) use connect::Connect;
pub(crate) use deadline::{DEADLINE, assert_lasted, let_time_pass, until, within};
pub(crate) use frame::{Frame, Length, op};
pub(crate) use http::{Answer, get, get_in_clear, http, post};
pub(crate) use hub_fixture::{
    HubFixture, Reader, TextEnvelope, TopicEvent, assert_contiguous, events_of, parse_event,
};
#[cfg(feature = "cli")]
pub(crate) use json_client::JsonClient;
pub(crate) use log_lines::{LogLines, lines_and_left_out};
#[cfg(feature = "client")]
pub(crate) use mode::client_builder;
pub(crate) use mode::{
    Plain, announced, announced_address, bind, has_tls, http_url, listen, over_tls, scheme,
    secure_command, secured, unread_refusal, ws_url,
};
pub(crate) use own_process::in_own_process;
pub(crate) use process::{Process, command_with_signals};
#[cfg(feature = "tls")]
pub(crate) use record_peer::RecordPeer;
pub(crate) use server::{
    TestServer, assert_only_close, echo, echo_with_outboxes, fill, spawn_blocked_send,
    with_both_flush_modes,
};
pub(crate) use stream::{Stream, StreamOptions};
#[cfg(feature = "tls")]
pub(crate) use tls::{client_config, server_config};
#[cfg(feature = "tls")]
pub(crate) use tls_peer::{TlsEnd, TlsPeer};

/// The error type of the handlers in these tests.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

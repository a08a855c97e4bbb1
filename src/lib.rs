//! A WebSocket server made of plain blocking threads.
// In the order in which a message travels.

mod server;

mod http;

mod connection;

mod handler;

mod hub;

mod events;

// What all of them use.

mod clock;
mod config;
mod error;
mod quoted;

pub use config::Config;
pub use connection::{Accounts, Connection, Outbox, Why};
pub use error::{Error, RecvError, SendError, SendTimeoutError, TrySendError};
pub use events::{Event, Events};
pub use handler::Handler;
pub use http::{Peer, Reply, Request};
pub use hub::{Hub, Published, Subscription, Topic};
pub use server::{Report, Running, Server, ServerHandle};
pub use tungstenite;
pub use tungstenite::Message;

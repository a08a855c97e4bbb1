//! A WebSocket server made of plain blocking threads.
mod config;
mod error;
mod http;

pub use crate::http::{Peer, Reply, Request};
pub use config::Config;
pub use error::{Error, RecvError, SendError, SendTimeoutError, TrySendError};
pub use tungstenite;

//! Listeners with TLS: certificates of both sides, reloads, sessions that are resumed, the ways in which connections
//! arrive, and slow clients. `threats/tls.rs` has the attacks.

mod arrivals;
mod certificates;
mod reload;
mod resumption;
mod slow_clients;

//! Hubs on several machines: the binary as three processes, real Redis servers, and faults in full traffic.
//!
//! Every client writes a log. After each scene, [`judge`] decides from the logs alone whether each message came once, in
//! one order, or was told as a gap. Without `redis-server` these tests are skipped, and say so.

// A test that meets an unexpected error ends there.
#![allow(clippy::unwrap_used)]

mod cli;
mod client;
mod cluster;
mod garbage;
mod hub_process;
mod in_doubt;
mod judge;
mod judge_rules;
mod log;
mod member;
mod proxy;
mod publisher;
#[allow(dead_code, reason = "other test programs use the rest")]
mod redis_server;
mod report;
mod scenes;
mod shutdown;
mod wait;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tests with a cluster run one after the other, because each of them uses the whole machine.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Checks that each of the wrong designs fails as its file describes.

use crate::support::Example;

/// Runs a design to its end, and returns its output.
#[track_caller]
fn output_of(design: &str) -> String {
    Example::start("broken", &[design]).end().join("\n")
}

#[test]
fn mutex_socket_delays_push_until_client_sends() {
    let output = output_of("mutex_socket");
    assert!(output.contains("pushed within a second: false"), "{output}");
    assert!(output.contains("after the client spoke: news"), "{output}");
}

#[test]
fn two_writers_put_pong_inside_message() {
    let output = output_of("two_writers");
    assert!(output.contains("the client got no message"), "{output}");
}

#[test]
fn unbounded_queue_never_makes_send_wait() {
    let output = output_of("unbounded_queue");
    let unbounded = "unbounded: after 10000 messages, send has never waited";
    assert!(output.contains(unbounded), "{output}");
    assert!(
        output.contains("send waits; the queue holds 256 KiB"),
        "{output}"
    );
}

#[test]
fn hub_waiting_for_slowest_blocks_all() {
    let output = output_of("hub_waits_for_slowest");
    assert!(output.contains("joined within a second: false"), "{output}");
    assert!(
        output.contains("the fast member has received 10"),
        "{output}"
    );
}

#[test]
fn join_before_drop_deadlocks() {
    let output = output_of("join_before_drop");
    assert!(output.contains("ended within a second: false"), "{output}");
    assert!(output.contains("a clone is left: false"), "{output}");
    assert!(output.contains("drop, then join: true"), "{output}");
}

//! Each of the wrong designs fails as its file says.

use crate::support::Example;

/// What a design prints, run to its end.
#[track_caller]
fn said_by(design: &str) -> String {
    Example::start("broken", &[design]).end().join("\n")
}

#[test]
fn mutex_around_the_socket_keeps_a_push_until_the_client_speaks() {
    let said = said_by("mutex_socket");
    assert!(said.contains("pushed within a second: false"), "{said}");
    assert!(said.contains("after the client spoke: news"), "{said}");
}

#[test]
fn two_writers_put_a_pong_into_the_middle_of_a_message() {
    let said = said_by("two_writers");
    assert!(said.contains("the client got no message"), "{said}");
}

#[test]
fn unbounded_queue_never_makes_its_sender_wait() {
    let said = said_by("unbounded_queue");
    let unbounded = "unbounded: after 10000 messages send never waited";
    assert!(said.contains(unbounded), "{said}");
    assert!(said.contains("send waits; 256 KiB"), "{said}");
}

#[test]
fn hub_that_waits_for_its_slowest_serves_nobody() {
    let said = said_by("hub_waits_for_slowest");
    assert!(said.contains("joined within a second: false"), "{said}");
    assert!(said.contains("the fast one has heard 10"), "{said}");
}

#[test]
fn join_before_drop_never_ends() {
    let said = said_by("join_before_drop");
    assert!(said.contains("ended within a second: false"), "{said}");
    assert!(said.contains("a clone is left: false"), "{said}");
    assert!(said.contains("drop, then join: true"), "{said}");
}

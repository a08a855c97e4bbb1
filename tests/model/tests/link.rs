//! Which thread may move the position of a topic that several hubs share, with every order of the threads' steps.

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::sync::Arc;
use loom::thread;
use standpipe_model::{Link, LinkMutant};

fn explore(mutant: Option<LinkMutant>, scenario: fn(&Arc<Link>)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || scenario(&Arc::new(Link::new(mutant))));
}

/// With `mutant` the scenario must fail with `expected` in the message, and without it pass.
fn finds(mutant: LinkMutant, scenario: fn(&Arc<Link>), expected: &str) {
    explore(None, scenario);
    let result = catch_unwind(AssertUnwindSafe(|| explore(Some(mutant), scenario)));
    let panic = result.expect_err("the mutant must be found");
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .expect("the message of an assertion");
    assert!(
        message.contains(expected),
        "{mutant:?} failed with: {message}"
    );
}

/// A hub is isolated while a client publishes twice, and the link comes back. Then another hub publishes.
fn lost_and_back(link: &Arc<Link>) {
    let client = {
        let link = Arc::clone(link);
        thread::spawn(move || {
            link.publish_locally();
            link.publish_locally();
        })
    };
    link.become_isolated(1);
    link.rejoin();
    if link.is_up_again() {
        let id = link.publish_elsewhere();
        assert!(link.receive(id), "message {id} is lost without a gap");
    }
    client.join().expect("the client ends");
    if link.is_up_again() {
        let id = link.publish_elsewhere();
        assert!(link.receive(id), "message {id} is lost without a gap");
    }
}

/// A thread still judges the silence of the first connection when the second one is up.
fn late_judgement(link: &Arc<Link>) {
    link.become_isolated(1);
    let late = {
        let link = Arc::clone(link);
        thread::spawn(move || link.become_isolated(1))
    };
    link.rejoin();
    late.join().expect("the thread ends");
    assert!(link.is_up_again(), "the new connection counts as silent");
}

#[test]
fn no_message_is_below_the_position_of_a_joined_topic() {
    explore(None, lost_and_back);
}

#[test]
fn silence_of_an_old_connection_does_not_isolate_the_new_one() {
    explore(None, late_judgement);
}

#[test]
fn local_publish_that_checks_once_is_found() {
    let expected = "is lost without a gap";
    finds(LinkMutant::LocalPublishChecksOnce, lost_and_back, expected);
}

#[test]
fn join_without_a_barrier_is_found() {
    let expected = "is lost without a gap";
    finds(LinkMutant::JoinHasNoBarrier, lost_and_back, expected);
}

#[test]
fn join_that_does_not_raise_is_found() {
    let expected = "is lost without a gap";
    finds(LinkMutant::JoinDoesNotRaise, lost_and_back, expected);
}

#[test]
fn link_that_is_up_before_the_join_is_found() {
    let expected = "is lost without a gap";
    finds(LinkMutant::UpBeforeJoin, up_early, expected);
}

#[test]
fn two_words_are_found() {
    let expected = "the new connection counts as silent";
    finds(LinkMutant::TwoWords, late_judgement, expected);
}

/// Another hub publishes as soon as the link is up.
fn up_early(link: &Arc<Link>) {
    link.become_isolated(1);
    link.publish_locally();
    let receiver = {
        let link = Arc::clone(link);
        thread::spawn(move || {
            if link.is_up_again() {
                let id = link.publish_elsewhere();
                assert!(link.receive(id), "message {id} is lost without a gap");
            }
        })
    };
    link.rejoin();
    receiver.join().expect("the receiver ends");
}

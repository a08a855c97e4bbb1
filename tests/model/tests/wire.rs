//! Each sentence is tried in every order of the steps, and each way to get the protocol wrong must be found.
//!
//! `cargo test --release -- --nocapture` tells how many orders there were.

use std::sync::Arc as Plain;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use loom::sync::Arc;
use loom::thread;
use standpipe_model::{CLOSE, Client, Order, Record, When};

/// Times in one run that a thread is stopped which could have gone on. The mistakes below need one or two.
const PREEMPTIONS: usize = 2;

/// Runs `order` with every script, in every order of its steps.
fn explore(name: &str, scripts: &[&'static [usize]], run: fn(&'static [usize])) {
    let (began, runs) = (Instant::now(), Plain::new(AtomicU64::new(0)));
    for &script in scripts {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(PREEMPTIONS);
        model.max_branches = 10_000;
        let runs = Plain::clone(&runs);
        model.check(move || {
            runs.fetch_add(1, Ordering::Relaxed);
            run(script);
        });
    }
    let runs = runs.load(Ordering::Relaxed);
    println!("{name}: {runs} interleavings in {:.1?}", began.elapsed());
}

/// The client, with `other` on a thread of its own, `this` on the test's, and the writer; until nobody rings any more.
fn between(order: Order, script: &[usize], this: fn(&Client), other: fn(&Client)) -> Record {
    let client = Arc::new(Client::new(order, script));
    let writer = {
        let client = Arc::clone(&client);
        thread::spawn(move || client.write())
    };
    let helper = {
        let client = Arc::clone(&client);
        thread::spawn(move || other(&client))
    };
    this(&client);
    helper.join().expect("the helper ends");
    client.let_the_writer_go();
    writer.join().expect("the writer ends");
    client.record()
}

/// What is on the wire, message by message; every one whole.
fn messages(record: &Record) -> Vec<u8> {
    let pairs = record.written.chunks(2);
    pairs
        .map(|pair| {
            assert!(
                pair.len() == 2 && pair[0] == pair[1],
                "cut or mixed: {record:?}"
            );
            pair[0]
        })
        .collect()
}

/// All that was queued, in its order, once each.
fn all_is_written(record: &Record) {
    let written = messages(record);
    assert!(
        written.len() >= record.queued.len(),
        "forgotten: {record:?}"
    );
    assert_eq!(written, record.queued, "another order: {record:?}");
}

/// One Close at the end; before it what was queued first, in its order; the rest discarded, once each.
fn one_close_ends_it(record: &Record) -> Vec<u8> {
    let mut written = messages(record);
    assert_eq!(written.pop(), Some(CLOSE), "not the last: {record:?}");
    assert!(!written.contains(&CLOSE), "two of them: {record:?}");
    assert!(
        record.queued.starts_with(&written),
        "another order: {record:?}"
    );
    let (mut rest, mut discarded) = (
        record.queued[written.len()..].to_vec(),
        record.discarded.clone(),
    );
    rest.sort_unstable();
    discarded.sort_unstable();
    assert_eq!(rest, discarded, "lost, or counted twice: {record:?}");
    written
}

fn one_message_each(order: Order, script: &[usize]) {
    let record = between(
        order,
        script,
        |client| assert!(client.send(b'a')),
        |client| assert!(client.send(b'b')),
    );
    all_is_written(&record);
}

fn two_messages_each(order: Order, script: &[usize]) {
    let record = between(
        order,
        script,
        |client| {
            client.send(b'a');
            client.send(b'b');
        },
        |client| {
            client.send(b'c');
            client.send(b'd');
        },
    );
    all_is_written(&record);
}

/// One thread says its last word and leaves, while the other helps.
fn a_last_word(order: Order, script: &[usize]) {
    let record = between(
        order,
        script,
        |client| {
            assert!(client.send(b'a'));
            client.close(When::Queued);
        },
        |client| {
            // Refused if the Close came first.
            client.send(b'b');
        },
    );
    let written = one_close_ends_it(&record);
    assert!(
        written.contains(&b'a'),
        "overtaken by the Close: {record:?}"
    );
}

/// One thread has queued something and holds its flush back, when it sends more.
fn held_back_then_sent(order: Order, script: &[usize]) {
    let record = between(
        order,
        script,
        |client| {
            client.hold_back(b'a');
            client.send(b'b');
            client.release();
        },
        |client| {
            client.send(b'c');
        },
    );
    all_is_written(&record);
}

#[test]
fn a_message_queued_while_the_wire_is_lent_is_not_forgotten() {
    explore("lent", &[&[]], |script| {
        one_message_each(Order::Right, script)
    });
}

#[test]
fn two_helpers_and_the_writer_keep_the_order() {
    explore("order", &[&[], &[1], &[3, 0]], |script| {
        two_messages_each(Order::Right, script);
    });
}

#[test]
fn a_refusal_hands_over_to_the_writer() {
    explore("refusal", &[&[0], &[1], &[2, 0], &[0, 1, 1]], |script| {
        one_message_each(Order::Right, script);
    });
}

#[test]
fn a_close_posted_while_a_helper_writes_goes_out_once_and_last() {
    explore("close", &[&[], &[1], &[2, 1]], |script| {
        a_last_word(Order::Right, script);
    });
}

#[test]
fn a_close_now_cuts_the_queue_and_a_polite_one_beside_it_goes_nowhere() {
    explore("close now", &[&[], &[1]], |script| {
        let record = between(
            Order::Right,
            script,
            |client| {
                client.send(b'a');
                client.close(When::Queued);
            },
            |client| {
                client.send(b'b');
                client.close(When::Now);
            },
        );
        one_close_ends_it(&record);
    });
}

#[test]
fn who_goes_straight_passes_nobody() {
    explore("straight", &[&[], &[1], &[0, 3]], |script| {
        held_back_then_sent(Order::Right, script);
    });
}

// The model can fail: each of these is one line away from the product.

#[test]
#[should_panic(expected = "forgotten")]
fn who_looks_before_giving_back_forgets_a_message() {
    explore("mutant", &[&[]], |script| {
        one_message_each(Order::LooksTooEarly, script);
    });
}

#[test]
#[should_panic(expected = "forgotten")]
fn a_writer_that_looks_before_giving_back_forgets_a_message() {
    explore("mutant", &[&[1]], |script| {
        one_message_each(Order::WriterLooksTooEarly, script);
    });
}

#[test]
#[should_panic(expected = "forgotten")]
fn who_keeps_a_refusal_to_itself_forgets_a_message() {
    explore("mutant", &[&[0], &[1]], |script| {
        one_message_each(Order::KeepsRefusalsToItself, script);
    });
}

#[test]
#[should_panic(expected = "overtaken by the Close")]
fn who_asks_for_the_close_behind_the_batch_overtakes_a_message() {
    explore("mutant", &[&[0]], |script| {
        a_last_word(Order::AsksForTheCloseTooLate, script);
    });
}

#[test]
#[should_panic(expected = "another order")]
fn who_goes_straight_past_the_queue_changes_the_order() {
    explore("mutant", &[&[]], |script| {
        held_back_then_sent(Order::PassesTheQueue, script);
    });
}

#[test]
#[should_panic(expected = "another order")]
fn who_goes_straight_past_the_hand_changes_the_order() {
    explore("mutant", &[&[0], &[1]], |script| {
        one_message_each(Order::PassesTheHand, script);
    });
}

#[test]
#[should_panic(expected = "not the last")]
fn who_looked_was_refused_and_leaves_forgets_anothers_close() {
    explore("mutant", &[&[]], |script| {
        a_last_word(Order::IsRefusedAndLeaves, script);
    });
}

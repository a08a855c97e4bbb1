//! Each property holds with every order of the threads' steps, and each mutant breaks one of them.
//!
//! `cargo test --release -- --nocapture` prints the number of orders.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc as Plain;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use loom::sync::Arc;
use loom::thread;
use standpipe_model::{CloseMode, FAILS, FRAME_BYTES, Mutant, Record, WritePath};

/// How often a thread that could go on is stopped in one run. Every mutant is found with one or two.
const PREEMPTIONS: usize = 2;

type Scenario = fn(Option<Mutant>, &'static [usize]);

/// Runs `scenario` with each script and with every order of its steps.
fn explore(
    name: &str,
    scenario: Scenario,
    mutant: Option<Mutant>,
    scripts: &[&'static [usize]],
    preemptions: usize,
) {
    let (began, runs) = (Instant::now(), Plain::new(AtomicU64::new(0)));
    for &script in scripts {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.max_branches = 10_000;
        let runs = Plain::clone(&runs);
        model.check(move || {
            runs.fetch_add(1, Ordering::Relaxed);
            scenario(mutant, script);
        });
    }
    let runs = runs.load(Ordering::Relaxed);
    println!("{name}: {runs} orders in {:.1?}", began.elapsed());
}

/// The real protocol must pass.
fn holds(name: &str, scenario: Scenario, scripts: &[&'static [usize]], preemptions: usize) {
    explore(name, scenario, None, scripts, preemptions);
}

/// The protocol with `mutant` must fail with `expected` in the message, and without it pass.
fn finds(mutant: Mutant, scenario: Scenario, script: &'static [usize], expected: &str) {
    let name = format!("{mutant:?}");
    explore(&name, scenario, None, &[script], PREEMPTIONS);
    let result = catch_unwind(AssertUnwindSafe(|| {
        explore(&name, scenario, Some(mutant), &[script], PREEMPTIONS);
    }));
    let panic = result.expect_err("the mutant must be found");
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .expect("the message of an assertion");
    assert!(message.contains(expected), "{name} failed with: {message}");
}

/// Runs `this` on the test's thread, `other` on a second one, and the writer on a third, until no thread notifies the
/// writer any more.
fn run(
    mutant: Option<Mutant>,
    script: &[usize],
    this: fn(&WritePath),
    other: fn(&WritePath),
) -> Record {
    let path = Arc::new(WritePath::new(mutant, true));
    path.open(script);
    run_on(&path, this, other)
}

fn run_on(path: &Arc<WritePath>, this: fn(&WritePath), other: fn(&WritePath)) -> Record {
    let writer = spawn(path, WritePath::run);
    let helper = spawn(path, other);
    this(path);
    helper.join().expect("the helper ends");
    path.let_writer_end();
    writer.join().expect("the writer ends");
    path.record()
}

fn spawn(path: &Arc<WritePath>, run: fn(&WritePath)) -> thread::JoinHandle<()> {
    let path = Arc::clone(path);
    thread::spawn(move || run(&path))
}

/// Returns the frames that the socket has accepted. All of them are whole.
fn frames(record: &Record) -> Vec<u8> {
    let frames = record.written.chunks(FRAME_BYTES);
    frames
        .map(|frame| {
            let is_whole = frame.len() == FRAME_BYTES && frame.iter().all(|&b| b == frame[0]);
            assert!(is_whole, "cut or mixed: {record:?}");
            frame[0]
        })
        .collect()
}

fn messages(frames: &[u8]) -> Vec<u8> {
    let frames = frames.iter().copied();
    frames.filter(u8::is_ascii_lowercase).collect()
}

/// Asserts that a message was written before each message whose `send` began later.
fn assert_ordered(record: &Record, written: &[u8]) {
    let position = |message| written.iter().position(|&other| other == message);
    for &(earlier, later) in &record.ordered {
        if let Some(later) = position(later) {
            let is_ordered = position(earlier).is_some_and(|earlier| earlier < later);
            assert!(is_ordered, "another order: {record:?}");
        }
    }
}

/// Asserts that each accepted message was either written or discarded, and that it was counted once.
fn assert_counted(record: &Record, written: &[u8]) {
    assert!(written == record.delivered, "miscounted: {record:?}");
    let discarded = record.discarded.len();
    assert!(record.discarded_count == discarded, "forgotten: {record:?}");
    let mut counted = [written, &record.discarded].concat();
    let mut accepted = record.accepted.clone();
    counted.sort_unstable();
    accepted.sort_unstable();
    assert!(accepted == counted, "forgotten or twice: {record:?}");
}

/// Asserts that pongs were written in their order and once each, and returns the last of them.
fn assert_pongs(record: &Record, frames: &[u8]) -> Option<u8> {
    let pongs: Vec<u8> = frames.iter().copied().filter(u8::is_ascii_digit).collect();
    let mut set = record.pongs.iter();
    let in_order = pongs.iter().all(|pong| set.any(|other| other == pong));
    assert!(in_order, "pongs in another order: {record:?}");
    pongs.last().copied()
}

/// Asserts that everything was written, and that the connection is still open.
fn assert_all_written(record: &Record) {
    let frames = frames(record);
    let written = messages(&frames);
    assert_counted(record, &written);
    assert!(record.discarded.is_empty(), "discarded: {record:?}");
    assert_ordered(record, &written);
    let last = assert_pongs(record, &frames);
    let latest = record.pongs.last().copied();
    assert!(last == latest, "pong forgotten: {record:?}");
    assert!(!record.writer_ended, "{record:?}");
}

/// Asserts that the Close that was requested is the last frame, and that the writer has ended. What was sent before a
/// Close that waits for the queue must have been written.
fn assert_closed(record: &Record) {
    let mut frames = frames(record);
    let last = frames.pop();
    assert!(record.close.is_some(), "not requested: {record:?}");
    assert!(last == record.close, "Close not the last: {record:?}");
    let written = messages(&frames);
    let pongs = frames.iter().filter(|frame| frame.is_ascii_digit());
    assert!(
        pongs.count() + written.len() == frames.len(),
        "two Closes: {record:?}"
    );
    assert_counted(record, &written);
    assert_ordered(record, &written);
    assert_pongs(record, &frames);
    if record.close == Some(CloseMode::AfterQueue.frame()) {
        let mut before = record.before_close.iter();
        assert!(
            before.all(|message| written.contains(message)),
            "overtaken by the Close: {record:?}"
        );
    }
    assert!(record.writer_ended, "writer not notified: {record:?}");
}

/// Asserts that the counts are right after a connection that broke off, and that the writer has ended.
fn assert_broken_off(record: &Record) {
    // The last frame may be cut.
    let mut whole = record.clone();
    let is_cut = !record.written.len().is_multiple_of(FRAME_BYTES);
    let cut = is_cut.then(|| whole.written.pop()).flatten();
    let written = messages(&frames(&whole));
    assert_counted(record, &written);
    assert_ordered(record, &written);
    assert!(cut.is_none_or(|cut| !cut.is_ascii_lowercase() || record.discarded.contains(&cut)));
    assert!(record.writer_ended, "writer not notified: {record:?}");
}

/// Asserts that all `fragments` were written in order and that no message stands between them. Returns the record without
/// the stream.
fn without_stream(record: &Record, fragments: &[u8]) -> Record {
    let is_fragment = |frame: &u8| b"<=>".contains(frame);
    let all = frames(record);
    let streamed: Vec<u8> = all.iter().copied().filter(is_fragment).collect();
    assert!(streamed == fragments, "fragment forgotten: {record:?}");
    let first = all.iter().position(is_fragment).unwrap_or(0);
    let last = all.iter().rposition(is_fragment).unwrap_or(0);
    let inside = all[first..last].iter();
    let mut others = inside.filter(|frame| !is_fragment(frame));
    assert!(
        others.all(u8::is_ascii_digit),
        "inside the stream: {record:?}"
    );
    let rest = all.into_iter().filter(|frame| !is_fragment(frame));
    Record {
        written: rest.flat_map(|frame| [frame; FRAME_BYTES]).collect(),
        ..record.clone()
    }
}

// The scenarios.

fn one_message_each(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| assert!(path.send(b'a')),
        |path| assert!(path.send(b'b')),
    );
    assert_all_written(&record);
}

fn two_messages_each(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| {
            path.send(b'a');
            path.send(b'b');
        },
        |path| {
            path.send(b'c');
            path.send(b'd');
        },
    );
    assert_all_written(&record);
}

/// With early flush off, only the writer writes.
fn without_early_flush(mutant: Option<Mutant>, script: &[usize]) {
    let path = Arc::new(WritePath::new(mutant, false));
    path.open(script);
    let record = run_on(
        &path,
        |path| {
            path.send(b'a');
            path.send(b'b');
        },
        |path| {
            path.send(b'c');
            path.send_pong(b'1');
        },
    );
    assert_all_written(&record);
}

/// A thread has queued a message and not flushed yet, as a publish does, when it sends another.
fn send_behind_unflushed(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| {
            path.enqueue(b'a');
            path.send(b'b');
            path.flush();
        },
        |path| {
            path.send(b'c');
        },
    );
    assert_all_written(&record);
    let written = record.written.iter();
    let first = written.copied().find(|byte| b"ab".contains(byte));
    assert!(first == Some(b'a'), "another order: {record:?}");
}

/// A thread sends its last message and closes, while another sends.
fn send_then_close(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| {
            assert!(path.send(b'a'));
            path.close(CloseMode::AfterQueue);
        },
        |path| {
            // Refused if the Close came first.
            path.send(b'b');
        },
    );
    assert_closed(&record);
}

/// A thread sends its last message and closes, while another flushes what is already written.
fn close_beside_flush(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| {
            path.send(b'a');
            path.close(CloseMode::AfterQueue);
        },
        WritePath::flush,
    );
    assert_closed(&record);
}

/// The reader answers the peer's Close, while another thread sends and requests a Close of its own.
fn immediate_close(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| {
            path.send(b'a');
            path.close(CloseMode::AfterQueue);
        },
        |path| {
            path.send(b'b');
            path.close(CloseMode::Immediate);
        },
    );
    assert_closed(&record);
}

/// A Close is requested while the opening handshake still holds the write half.
fn close_before_open(mutant: Option<Mutant>, _: &[usize]) {
    let path = Arc::new(WritePath::new(mutant, true));
    let record = run_on(
        &path,
        |path| path.open(&[]),
        |path| {
            path.close(CloseMode::AfterQueue);
        },
    );
    assert_closed(&record);
}

/// Two pongs, while another thread sends.
fn pongs(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| {
            path.send_pong(b'1');
            path.send_pong(b'2');
        },
        |path| {
            path.send(b'a');
        },
    );
    assert_all_written(&record);
}

/// Sends a stream of two fragments.
fn stream_of_two_fragments(path: &WritePath) {
    path.begin_stream();
    path.push_fragment(b'<');
    path.push_fragment(b'>');
}

/// A stream, while another thread sends.
fn stream_beside_message(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(mutant, script, stream_of_two_fragments, |path| {
        path.send(b'a');
    });
    assert_all_written(&without_stream(&record, b"<>"));
}

/// A stream, while the reader answers a ping.
fn stream_beside_pong(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(mutant, script, stream_of_two_fragments, |path| {
        path.send_pong(b'1')
    });
    assert_all_written(&without_stream(&record, b"<>"));
}

/// A stream that is continued after a Close was requested. Another thread sends.
fn stream_beside_close(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| {
            path.begin_stream();
            path.push_fragment(b'<');
            path.close(CloseMode::AfterQueue);
            path.push_fragment(b'>');
        },
        |path| {
            path.send(b'a');
        },
    );
    assert_closed(&without_stream(&record, b"<>"));
}

/// The watchdog leaves a ping to the writer, while another thread sends.
fn ping_by_watchdog(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| {
            path.send(b'a');
            path.send(b'b');
        },
        |path| path.send_ping(b'1'),
    );
    assert_all_written(&record);
}

/// A pong, while another thread sends and closes.
fn pong_beside_close(mutant: Option<Mutant>, script: &[usize]) {
    let record = run(
        mutant,
        script,
        |path| {
            path.send(b'a');
            path.close(CloseMode::AfterQueue);
        },
        |path| path.send_pong(b'1'),
    );
    assert_closed(&record);
}

/// The 101 could not be written: the write half is never put into the slot, and the reader waits for the writer to end.
fn finish_before_open(mutant: Option<Mutant>, _: &[usize]) {
    let path = Arc::new(WritePath::new(mutant, true));
    let record = run_on(&path, WritePath::finish, |_| {});
    path.tear_down();
    assert_broken_off(&record);
}

/// The watchdog gives up the connection, while the reader's thread sends. The reader then tears the connection down.
fn give_up(mutant: Option<Mutant>, script: &[usize]) {
    let path = Arc::new(WritePath::new(mutant, true));
    path.open(script);
    let send = |path: &WritePath| {
        path.send(b'a');
        path.send(b'b');
    };
    run_on(&path, send, WritePath::give_up);
    path.tear_down();
    assert_broken_off(&path.record());
}

/// The socket fails, while two threads send.
fn socket_fails(mutant: Option<Mutant>, script: &[usize]) {
    let path = Arc::new(WritePath::new(mutant, true));
    path.open(script);
    let send = |path: &WritePath| {
        path.send(b'a');
        path.send(b'b');
    };
    run_on(&path, send, |path| {
        path.send(b'c');
    });
    path.tear_down();
    assert_broken_off(&path.record());
}

/// The connection is torn down while another thread may hold the write half.
fn tear_down(mutant: Option<Mutant>, script: &[usize]) {
    let path = Arc::new(WritePath::new(mutant, true));
    path.open(script);
    let writer = spawn(&path, WritePath::run);
    let sender = spawn(&path, |path| {
        path.enqueue(b'a');
        path.flush();
    });
    path.give_up();
    writer.join().expect("the writer ends");
    path.tear_down();
    sender.join().expect("the sender ends");
    assert_broken_off(&path.record());
}

/// The connection is torn down while the watchdog may still drain the queue. Then the counts are final.
fn tear_down_beside_watchdog(mutant: Option<Mutant>, script: &[usize]) {
    let path = Arc::new(WritePath::new(mutant, true));
    path.open(script);
    path.enqueue(b'a');
    let writer = spawn(&path, WritePath::run);
    let watchdog = spawn(&path, WritePath::give_up);
    path.give_up();
    writer.join().expect("the writer ends");
    path.tear_down();
    assert_broken_off(&path.record());
    watchdog.join().expect("the watchdog goes on");
}

// The real protocol.

#[test]
fn a_queued_message_is_never_forgotten() {
    holds("queued", one_message_each, &[&[]], 3);
}

#[test]
fn a_refused_message_is_left_to_the_writer() {
    let scripts: [&[usize]; 4] = [&[0], &[1], &[2, 0], &[0, 1, 1]];
    holds("refused", one_message_each, &scripts, PREEMPTIONS);
}

#[test]
fn two_senders_and_the_writer_keep_the_order() {
    let scripts: [&[usize]; 3] = [&[], &[1], &[3, 0]];
    holds("order", two_messages_each, &scripts, PREEMPTIONS);
}

#[test]
fn the_writer_alone_keeps_the_order() {
    let scripts: [&[usize]; 2] = [&[], &[1, 0]];
    holds("writer alone", without_early_flush, &scripts, PREEMPTIONS);
}

#[test]
fn direct_write_passes_no_message() {
    let scripts: [&[usize]; 3] = [&[], &[1], &[0, 3]];
    holds("direct write", send_behind_unflushed, &scripts, PREEMPTIONS);
}

#[test]
fn a_close_is_written_once_and_last() {
    let scripts: [&[usize]; 5] = [&[], &[0], &[1], &[2, 1], &[0, 0]];
    holds("close", send_then_close, &scripts, PREEMPTIONS);
}

#[test]
fn a_close_passes_no_message() {
    let scripts: [&[usize]; 3] = [&[], &[1], &[0, 1]];
    holds("close and flush", close_beside_flush, &scripts, PREEMPTIONS);
}

#[test]
fn an_immediate_close_replaces_one_that_waits() {
    let scripts: [&[usize]; 3] = [&[], &[1], &[0, 3]];
    holds("immediate close", immediate_close, &scripts, PREEMPTIONS);
}

#[test]
fn a_close_requested_before_open_is_written() {
    holds("close before open", close_before_open, &[&[]], 3);
}

#[test]
fn the_latest_pong_is_written() {
    let scripts: [&[usize]; 4] = [&[], &[0], &[1], &[3, 1]];
    holds("pongs", pongs, &scripts, PREEMPTIONS);
}

#[test]
fn a_ping_left_to_the_writer_is_written() {
    let scripts: [&[usize]; 3] = [&[], &[1], &[0, 3]];
    holds("ping", ping_by_watchdog, &scripts, PREEMPTIONS);
}

#[test]
fn no_pong_follows_the_close() {
    let scripts: [&[usize]; 4] = [&[], &[1], &[3], &[2, 1]];
    holds("pong and close", pong_beside_close, &scripts, PREEMPTIONS);
}

#[test]
fn finish_ends_a_writer_without_a_write_half() {
    holds("finish before open", finish_before_open, &[&[]], 3);
}

#[test]
fn messages_of_a_connection_given_up_are_counted() {
    let scripts: [&[usize]; 3] = [&[], &[1], &[2, 0]];
    holds("give up", give_up, &scripts, PREEMPTIONS);
}

#[test]
fn messages_of_a_failed_socket_are_counted() {
    let scripts: [&[usize]; 3] = [&[FAILS], &[1, FAILS], &[2, FAILS]];
    holds("socket fails", socket_fails, &scripts, PREEMPTIONS);
}

#[test]
fn a_write_half_released_after_tear_down_is_counted() {
    let scripts: [&[usize]; 2] = [&[], &[1]];
    holds("tear down", tear_down, &scripts, PREEMPTIONS);
}

#[test]
fn counts_are_final_after_tear_down() {
    let name = "tear down beside watchdog";
    holds(name, tear_down_beside_watchdog, &[&[], &[1]], PREEMPTIONS);
}

#[test]
fn no_message_stands_inside_a_stream() {
    let scripts: [&[usize]; 3] = [&[], &[1], &[0, 3]];
    holds("stream", stream_beside_message, &scripts, PREEMPTIONS);
}

#[test]
fn a_fragment_is_never_forgotten() {
    let scripts: [&[usize]; 3] = [&[], &[1], &[2, 0]];
    holds("stream and pong", stream_beside_pong, &scripts, PREEMPTIONS);
}

#[test]
fn a_close_waits_for_the_stream() {
    let scripts: [&[usize]; 2] = [&[], &[1]];
    holds(
        "stream and close",
        stream_beside_close,
        &scripts,
        PREEMPTIONS,
    );
}

// The mutants.

#[test]
fn mutant_open_does_not_flush() {
    let mutant = Mutant::OpenDoesNotFlush;
    finds(mutant, close_before_open, &[], "Close not the last");
}

#[test]
fn mutant_helper_looks_before_release() {
    let mutant = Mutant::HelperLooksBeforeRelease;
    finds(mutant, one_message_each, &[], "forgotten");
}

#[test]
fn mutant_writer_looks_before_release() {
    let mutant = Mutant::WriterLooksBeforeRelease;
    finds(mutant, one_message_each, &[1], "forgotten");
}

#[test]
fn mutant_refusal_does_not_notify() {
    let mutant = Mutant::RefusalDoesNotNotify;
    finds(mutant, one_message_each, &[0], "forgotten");
}

#[test]
fn mutant_attention_cleared_after_looking() {
    let mutant = Mutant::AttentionClearedAfterLooking;
    finds(mutant, pongs, &[], "pong forgotten");
}

#[test]
fn mutant_attention_set_before_storing() {
    let mutant = Mutant::AttentionSetBeforeStoring;
    finds(mutant, pongs, &[], "pong forgotten");
}

#[test]
fn mutant_attention_without_total_order() {
    let mutant = Mutant::AttentionWithoutTotalOrder;
    finds(mutant, pong_beside_close, &[], "Close not the last");
}

#[test]
fn mutant_phase_read_before_attention() {
    let mutant = Mutant::PhaseReadBeforeAttention;
    finds(mutant, pong_beside_close, &[], "Close not the last");
}

#[test]
fn mutant_waiting_close_forgotten() {
    let mutant = Mutant::WaitingCloseForgotten;
    finds(mutant, send_then_close, &[0], "Close not the last");
}

#[test]
fn mutant_close_not_seen_before_queue() {
    let mutant = Mutant::CloseNotSeenBeforeQueue;
    finds(mutant, close_beside_flush, &[], "overtaken by the Close");
}

#[test]
fn mutant_pong_after_close() {
    let mutant = Mutant::PongAfterClose;
    finds(mutant, pong_beside_close, &[2, 1], "Close not the last");
}

#[test]
fn mutant_finish_does_not_notify() {
    let mutant = Mutant::FinishDoesNotNotify;
    finds(mutant, finish_before_open, &[], "writer not notified");
}

#[test]
fn mutant_release_ignores_closed() {
    let mutant = Mutant::ReleaseIgnoresClosed;
    finds(mutant, tear_down, &[1], "forgotten");
}

#[test]
fn mutant_direct_write_passes_in_flight() {
    let mutant = Mutant::DirectWritePassesInFlight;
    finds(mutant, one_message_each, &[0], "another order");
}

#[test]
fn mutant_direct_write_passes_queue() {
    let mutant = Mutant::DirectWritePassesQueue;
    finds(mutant, send_behind_unflushed, &[], "another order");
}

#[test]
fn mutant_refused_sender_does_not_flush() {
    let mutant = Mutant::RefusedSenderDoesNotFlush;
    finds(mutant, send_then_close, &[], "Close not the last");
}

#[test]
fn mutant_late_sender_does_not_drain() {
    let mutant = Mutant::LateSenderDoesNotDrain;
    finds(mutant, tear_down, &[], "forgotten");
}

#[test]
fn mutant_drain_does_not_wait() {
    let mutant = Mutant::DrainDoesNotWait;
    finds(mutant, tear_down_beside_watchdog, &[], "forgotten");
}

#[test]
fn mutant_fragment_without_attention() {
    let mutant = Mutant::FragmentWithoutAttention;
    finds(mutant, stream_beside_pong, &[], "fragment forgotten");
}

#[test]
fn mutant_waiting_fragment_forgotten() {
    let mutant = Mutant::WaitingFragmentForgotten;
    finds(mutant, stream_beside_pong, &[], "fragment forgotten");
}

#[test]
fn mutant_direct_write_passes_stream() {
    let mutant = Mutant::DirectWritePassesStream;
    finds(mutant, stream_beside_message, &[], "inside the stream");
}

#[test]
fn mutant_close_passes_stream() {
    let mutant = Mutant::ClosePassesStream;
    finds(mutant, stream_beside_close, &[], "fragment forgotten");
}

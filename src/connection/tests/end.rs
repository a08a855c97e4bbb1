//! The end of a connection: `close_now`, the end callbacks, the cause, and the peer's Close.

use std::mem::ManuallyDrop;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;

use crossbeam_channel::{Receiver, RecvTimeoutError as NoneYet};

use super::*;
use crate::connection::activity::Activity;
use crate::connection::read::reader::ReadEnd;

type Calls = Receiver<(ThreadId, CloseCause)>;

/// Adds an end callback, and returns its calls. The channel disconnects when the callback is dropped.
fn watch(outbox: &Outbox) -> Calls {
    let (called, calls) = crossbeam_channel::unbounded();
    let added = outbox.on_end(move |cause| {
        let _ = called.send((thread::current().id(), cause));
    });
    added.expect("it has few callbacks");
    calls
}

/// Returns the cause of the only call. Checks that the writer made it, or, if `inline`, this thread.
fn the_call(calls: &Calls, inline: bool) -> CloseCause {
    let call = calls.recv_timeout(DEADLINE);
    let (thread, cause) = call.expect("timed out waiting until the callback is called");
    assert_eq!(thread == thread::current().id(), inline);
    let more = calls.recv_timeout(DEADLINE);
    assert_eq!(more, Err(NoneYet::Disconnected), "it is called once");
    cause
}

#[test]
fn end_callback_is_called_once_with_the_cause() {
    type End = fn(&TestClient);
    let peer = CloseCause::Peer {
        code: 4000,
        reason: "bye".into(),
    };
    let ends: [(End, CloseCause); 6] = [
        (
            |client| client.outbox.close(1000, ""),
            application(1000, ""),
        ),
        (
            |client| client.outbox.close_now(4100, "kicked"),
            application(4100, "kicked"),
        ),
        (|client| client.outbox.terminate(), CloseCause::Terminated),
        (
            |client| client.shared.terminate(CloseCause::TimedOut(Clock::Ping)),
            CloseCause::TimedOut(Clock::Ping),
        ),
        (
            |client| {
                client.socket.send(from_client(0x88, b"\x0f\xa0bye"));
                assert_eq!(client.reader(&[]).recv().expect("a Close"), None);
            },
            peer,
        ),
        (
            |client| {
                client.socket.break_after(0);
                let _ = client.outbox.send(text("fails"));
            },
            CloseCause::Gone,
        ),
    ];
    both_ways(|config| {
        for (end, cause) in &ends {
            let client = TestClient::new(config.clone());
            let calls = watch(&client.outbox);
            // The writer is woken, and has nothing to call.
            client.shared.send_pong(bytes::Bytes::new());
            client.shared.write.writer.notify();
            client.socket.until_written(2);
            until("the writer is idle", || {
                client.shared.writer.get().0 == Activity::Idle
            });
            assert!(client.outbox.is_open() && calls.is_empty());
            assert_eq!(client.outbox.cause(), None);
            end(&client);
            assert_eq!(the_call(&calls, false), *cause);
            assert!(!client.outbox.is_open());
            assert_eq!(client.outbox.cause().as_ref(), Some(cause));
            client.end();
        }
    });
}

#[test]
fn end_callback_waits_for_the_frame_in_progress() {
    let client = TestClient::held(Config::default(), 1);
    let calls = watch(&client.outbox);
    client.outbox.close_now(4100, "kicked");
    assert!(!client.outbox.is_open());
    assert_eq!(client.outbox.cause(), Some(application(4100, "kicked")));
    assert!(calls.is_empty(), "the Close has not been written");
    client.socket.accept_all();
    assert_eq!(the_call(&calls, false), application(4100, "kicked"));
    let frames = client.frames();
    assert_eq!(frames[0], (0x81, b"held".to_vec()));
    assert_eq!(frames[1], (0x88, b"\x10\x04kicked".to_vec()));
    client.end();
}

#[test]
fn close_now_discards_the_queue() {
    both_ways(|config| {
        let client = TestClient::held(config, 1);
        for _ in 0..3 {
            client.outbox.try_send(text("queued")).expect("room");
        }
        // It replaces a Close that waits for the queue.
        client.outbox.close(1000, "later");
        client.outbox.close_now(4100, "kicked");
        client.outbox.close_now(4200, "too late");
        client.socket.accept_all();
        client.socket.until_written(6 + 10);
        assert_eq!(client.outbox.cause(), Some(application(4100, "kicked")));
        let counts = client.end();
        assert_eq!((counts.delivered, counts.discarded), (1, 3));
    });
}

#[test]
fn callbacks_are_called_once_when_ends_race() {
    for round in 0..100 {
        let client = TestClient::held(Config::default(), 1);
        let called = Arc::new(AtomicUsize::new(0));
        let count = |outbox: &Outbox| {
            let called = Arc::clone(&called);
            let added = outbox.on_end(move |_| {
                called.fetch_add(1, Ordering::SeqCst);
            });
            added.expect("few callbacks");
        };
        count(&client.outbox);
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                client.outbox.close_now(4100, "kicked");
                client.socket.accept_all();
            });
            scope.spawn(|| {
                barrier.wait();
                client.outbox.terminate();
            });
            scope.spawn(|| {
                barrier.wait();
                client
                    .shared
                    .terminate(CloseCause::TimedOut(Clock::Message));
            });
            barrier.wait();
            count(&client.outbox);
        });
        client.end();
        assert_eq!(called.load(Ordering::SeqCst), 2, "round {round}");
    }
}

/// A thread holds the write half inside `try_write` while the connection is reset, and the watchdog finds a passed
/// deadline.
#[test]
fn callbacks_are_called_once_when_a_held_write_fails() {
    let client = TestClient::new(Config::default());
    let calls = watch(&client.outbox);
    client.socket.hold_try_write(true);
    let outbox = client.outbox.clone();
    let sender = thread::spawn(move || outbox.send(text("held")));
    client.socket.until_in_try_write();
    client.outbox.close_now(4100, "kicked");
    assert!(calls.is_empty(), "the frame in progress is held");
    client.outbox.terminate();
    client.shared.terminate(CloseCause::TimedOut(Clock::Close));
    // The callback does not wait for the sender.
    assert_eq!(the_call(&calls, false), application(4100, "kicked"));
    client.socket.hold_try_write(false);
    let sent = within("the sender is woken", || sender.join());
    sent.expect("no panic").expect("it was in flight");
    client.end();
}

#[test]
fn callback_after_the_end_is_called_immediately() {
    let client = TestClient::new(Config::default());
    // This callback holds the writer between the end and the next callback.
    let (release, held) = crossbeam_channel::bounded::<()>(0);
    let (entered, is_held) = crossbeam_channel::bounded::<()>(1);
    let added = client.outbox.on_end(move |_| {
        let _ = entered.send(());
        let _ = held.recv_timeout(DEADLINE);
    });
    added.expect("the first callback");
    let waiting = watch(&client.outbox);
    client.outbox.terminate();
    let waited = is_held.recv_timeout(DEADLINE);
    waited.expect("timed out waiting until the first callback is called");
    let late = watch(&client.outbox);
    assert_eq!(the_call(&late, true), CloseCause::Terminated);
    assert!(waiting.is_empty());
    drop(release);
    assert_eq!(the_call(&waiting, false), CloseCause::Terminated);
    client.end();
}

#[test]
fn panic_of_a_callback_is_caught() {
    let mut client = TestClient::new(Config::default());
    let panics = |_: CloseCause| panic!("a panic of this test");
    client.outbox.on_end(panics).expect("the first");
    let calls = watch(&client.outbox);
    client.outbox.terminate();
    assert_eq!(the_call(&calls, false), CloseCause::Terminated);
    join_writer(&mut client);
    client.outbox.on_end(panics).expect("called at once");
    client.end();
}

/// Uses the connection when it is dropped. This would wait forever under the lock of the lifecycle.
struct LooksAtIt(Outbox);

impl Drop for LooksAtIt {
    fn drop(&mut self) {
        let _ = (self.0.cause(), self.0.peer_close());
    }
}

#[test]
fn callbacks_are_bounded_and_run_under_no_lock() {
    // Not dropped if this fails, because that would wait for the same lock.
    let client = ManuallyDrop::new(TestClient::new(Config::default()));
    let outbox = client.outbox.clone();
    let calls = within("the 17th callback is refused", move || {
        let calls: Vec<Calls> = (0..15).map(|_| watch(&outbox)).collect();
        let again = outbox.clone();
        let added = outbox.on_end(move |cause| {
            assert!(again.send(text("x")).is_err() && !again.is_open());
            assert_eq!(again.cause(), Some(cause));
            again.on_end(drop).expect("called at once");
        });
        added.expect("the 16th");
        let looks = LooksAtIt(outbox.clone());
        let refused = outbox.on_end(move |_| drop(looks));
        let text = refused.expect_err("the 17th").to_string();
        assert_eq!(text, "the connection already has 16 end callbacks");
        calls
    });
    client.outbox.terminate();
    for call in &calls {
        assert_eq!(the_call(call, false), CloseCause::Terminated);
    }
    ManuallyDrop::into_inner(client).end();
}

#[test]
fn end_of_stream_calls_back_while_the_handler_runs() {
    let client = TestClient::new(Config::default());
    client.shared.reader.set(Activity::InHandler);
    let calls = watch(&client.outbox);
    client.socket.send(from_client(0x88, b"\x0f\xa0bye"));
    client.socket.hang_up();
    client.shared.look_for_peer();
    client.shared.look_for_peer();
    assert_eq!(the_call(&calls, false), CloseCause::Gone);
    assert_eq!(the_call(&watch(&client.outbox), true), CloseCause::Gone);
    // What arrived before the end is still received.
    assert!(client.outbox.is_open());
    assert_eq!(client.outbox.cause(), None);
    client.outbox.send(text("answer")).expect("still open");
    let mut reader = client.reader(&[]);
    assert_eq!(reader.recv().expect("a Close"), None);
    let bye = CloseCause::Peer {
        code: 4000,
        reason: "bye".into(),
    };
    assert_eq!(client.outbox.cause(), Some(bye));
    client.end();
}

#[test]
fn peer_close_is_known_when_ours_was_first() {
    let client = TestClient::new(Config::default());
    client.outbox.close(4100, "kicked");
    client.socket.until_written(10);
    assert_eq!(client.outbox.peer_close(), None);
    client.socket.send(from_client(0x88, b"\x0f\xa0bye"));
    let mut reader = client.reader(&[]);
    assert_eq!(reader.recv().expect("closed"), None);
    assert_eq!(client.outbox.peer_close(), None, "nothing was read");
    reader.discard();
    assert_eq!(reader.ended(), Some(ReadEnd::Closed));
    assert_eq!(client.outbox.cause(), Some(application(4100, "kicked")));
    let close = client.outbox.peer_close().expect("it has arrived");
    assert_eq!((close.code, &*close.reason), (4000, "bye"));
    assert_eq!(close.to_string(), "4000, bye");
    client.end();

    let client = TestClient::new(Config::default());
    client.socket.send(from_client(0x88, b""));
    assert_eq!(client.reader(&[]).recv().expect("a Close"), None);
    let close = client.outbox.peer_close().expect("it has arrived");
    assert_eq!((close.code, &*close.to_string()), (1005, "no code"));
    client.end();
}

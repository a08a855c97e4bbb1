//! Checkpoints, and the messages and topics ahead of them.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::connection::queue::item::{Outgoing, Purpose, TopicSource};
use crate::connection::queue::tracked::{Fate, Tracked};
use crate::error::WaitWrittenError;
use crate::sync::lock;

/// A topic whose messages did not get a ticket.
#[derive(Debug)]
struct TopicOnOverflow(Mutex<Vec<EncodedFrame>>);

impl TopicSource for TopicOnOverflow {
    fn take_next(self: Arc<Self>, _: Purpose) -> Option<Outgoing> {
        unreachable!("the topic has no ticket");
    }

    fn take_overflow(self: Arc<Self>, _: Purpose) -> (Option<Outgoing>, bool) {
        let (message, stays) = {
            let mut left = lock(&self.0);
            (left.pop(), !left.is_empty())
        };
        let outgoing = Outgoing {
            notice: None,
            message,
            source: Some(self),
        };
        (Some(outgoing), stays)
    }

    fn finished(&self, _: bool) {}
}

/// Queues a checkpoint without flushing.
fn push_checkpoint(client: &TestClient) -> Arc<Tracked> {
    let (checkpoint, shared) = (Tracked::new(None), &client.shared);
    let entry = Arc::clone(&checkpoint);
    let is_queued = shared
        .write
        .queue
        .push_checkpoint(entry, Wait::Never, shared.lifecycle());
    assert!(is_queued, "the queue has room");
    checkpoint
}

/// Starts the writer, and lets the socket accept `bytes` of everything that is queued.
fn write_first(client: &mut TestClient, bytes: usize) {
    client.socket.accept(bytes);
    client.shared.write.writer.notify();
    client.start_writer();
    client.socket.until_in_write();
    client.socket.until_written(bytes);
}

fn wait_for(checkpoint: &Arc<Tracked>) -> Option<Fate> {
    assert!(
        checkpoint.known().wait(DEADLINE),
        "timed out waiting for the fate of the checkpoint"
    );
    checkpoint.fate()
}

/// The messages around the checkpoint are written in one call.
#[test]
fn checkpoint_in_a_batch_waits_for_the_messages_ahead() {
    for ends in [false, true] {
        let mut client = TestClient::without_writer(Config::default().early_flush(false));
        push(&client, &text("abc"));
        let checkpoint = push_checkpoint(&client);
        push(&client, &text("def"));
        write_first(&mut client, 4);
        assert_eq!(checkpoint.fate(), None, "a byte is missing");
        if ends {
            client.shared.give_up();
            assert_eq!(wait_for(&checkpoint), Some(Fate::Discarded));
        } else {
            client.socket.accept(1);
            assert_eq!(wait_for(&checkpoint), Some(Fate::Delivered));
            assert_eq!(client.socket.written().len(), 5);
        }
        client.end();
    }
}

/// Puts a topic with `messages` messages on the overflow list, as a topic does that finds the channel full.
fn push_overflow(client: &TestClient, messages: usize) {
    let queue = &client.shared.write.queue;
    let frames = vec![EncodedFrame::data(&text("abc")); messages];
    for frame in &frames {
        assert_eq!(queue.admit(frame.len(), Wait::Never), Admission::Admitted);
        queue.count_accepted(1);
        queue.add_pending(1);
    }
    queue.push_overflow(Arc::new(TopicOnOverflow(Mutex::new(frames))));
}

/// A message on the overflow list may have been queued before the checkpoint, so it is written first.
#[test]
fn checkpoint_waits_for_the_overflow_list() {
    let mut client = TestClient::without_writer(Config::default().early_flush(false));
    // The list is served first, and then again after seven entries of the channel. So the checkpoint comes to the front
    // before the second topic's turn.
    for _ in 0..2 {
        push_overflow(&client, 1);
    }
    push(&client, &text("x"));
    let checkpoint = push_checkpoint(&client);
    write_first(&mut client, 5 + 3);
    assert_eq!(
        checkpoint.fate(),
        None,
        "the second topic's message is missing"
    );
    client.socket.accept_all();
    assert_eq!(wait_for(&checkpoint), Some(Fate::Delivered));
    assert_eq!(client.end().delivered, 3);
}

/// A topic on the overflow list gives one message at a time. All that it has may have been queued before the checkpoint.
#[test]
fn checkpoint_waits_for_all_messages_of_a_topic() {
    let mut client = TestClient::without_writer(Config::default().early_flush(false));
    push_overflow(&client, 3);
    push_overflow(&client, 2);
    let checkpoint = push_checkpoint(&client);
    write_first(&mut client, 4 * 5);
    assert_eq!(checkpoint.fate(), None, "the fifth message is missing");
    client.socket.accept_all();
    assert_eq!(wait_for(&checkpoint), Some(Fate::Delivered));
    assert_eq!(client.end().delivered, 5);
}

/// A topic whose queue is refilled as fast as it is written must not delay a checkpoint for ever.
#[test]
fn checkpoint_waits_for_as_many_messages_as_the_queue_holds() {
    let mut client = TestClient::without_writer(Config::default().early_flush(false).queue(2));
    push_overflow(&client, 20);
    let checkpoint = push_checkpoint(&client);
    // One message before the checkpoint is taken, one ahead of it on the list, and three for its three passes.
    write_first(&mut client, 4 * 5);
    assert_eq!(checkpoint.fate(), None);
    client.socket.accept(5);
    assert_eq!(wait_for(&checkpoint), Some(Fate::Delivered));
    assert_eq!(client.end().delivered, 5);
}

/// A message of a topic that is held back may have been queued before the checkpoint, so it is written first.
#[test]
fn checkpoint_waits_for_topics_that_are_held_back() {
    let client = TestClient::new(Config::default());
    let queue = &client.shared.write.queue;
    let frame = EncodedFrame::data(&text("abc"));
    assert!(queue.lateness.try_mark(1000, 50));
    assert_eq!(queue.admit(frame.len(), Wait::Never), Admission::Admitted);
    queue.count_accepted(1);
    queue.add_pending(1);
    queue.hold(Arc::new(TopicOnOverflow(Mutex::new(vec![frame]))));
    let checkpoint = push_checkpoint(&client);
    client.shared.write.flush();
    until("the checkpoint is taken", || queue.entries() == 0);
    assert_eq!(checkpoint.fate(), None);
    queue.push_released(queue.lateness.release());
    client.shared.write.flush();
    assert_eq!(wait_for(&checkpoint), Some(Fate::Delivered));
    assert_eq!(client.socket.written().len(), 5);
    client.end();
}

/// A call that has timed out leaves its checkpoint in the queue, because no entry can be taken out of the middle.
#[test]
fn checkpoints_leave_room_for_messages() {
    for (capacity, room) in [(1, 0), (2, 1), (8, 6)] {
        let client = TestClient::held(Config::default().queue(capacity), 0);
        for _ in 0..20 {
            let result = client.outbox.wait_written_timeout(Duration::ZERO);
            assert_eq!(result, Err(WaitWrittenError::Timeout));
        }
        for sent in 0..room {
            let result = client.outbox.try_send("x");
            assert!(result.is_ok(), "{sent} of {room} are queued");
        }
        // A call that finds many checkpoints waits for its turn.
        let outbox = client.outbox.clone();
        let waiter = thread::spawn(move || outbox.wait_written());
        client.socket.accept_all();
        let result = within("all is written", || waiter.join()).expect("no panic");
        assert_eq!(result, Ok(()));
        assert_eq!(client.end().delivered, 1 + room);
    }
}

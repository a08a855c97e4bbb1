//! Topics with `max_lateness`, and members that do not answer marks in time.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock;
use crate::config::Config;
use crate::connection::CloseCause;
use crate::connection::activity::Activity;
use crate::connection::testing::frames::from_client;
use crate::connection::testing::single_threaded::SingleThreaded;
use crate::connection::write::close::{CloseMode, CloseReason};
use crate::hub::{
    Hub, HubConfig, Policy, Publication, SubscribeOptions, Subscription, Topic, TopicSettings,
};
use crate::message::Message;

/// A member whose socket accepts everything, so that only the marks show that it is late.
struct Late {
    topic: Topic,
    client: SingleThreaded,
    _subscription: Subscription,
}

impl Late {
    /// Returns a member that has got the message `first` and a mark, and has not answered for too long.
    fn new(policy: Policy, queue: usize) -> Late {
        let settings = TopicSettings::default()
            .policy(policy)
            .queue(queue)
            .max_lateness(Duration::from_millis(200));
        let hub = Hub::new(HubConfig::default().topic("*", settings));
        let topic = hub.topic("t").expect("it is the only topic");
        let client = SingleThreaded::new(Config::default());
        client.accept_per_call(usize::MAX);
        let subscription = topic.subscribe(client.outbox().clone(), SubscribeOptions::new());
        let late = Late {
            topic,
            client,
            _subscription: subscription.expect("without `since` it never fails"),
        };
        late.publish("first", "a");
        late.let_pass(Duration::from_millis(100));
        late
    }

    /// Lets time pass in which the reader waits for the peer: a member is late only after some time.
    fn let_pass(&self, time: Duration) {
        let shared = self.client.outbox().shared();
        shared.reader.set(Activity::Reading);
        let until = clock::after(time);
        while clock::now() < until {
            thread::yield_now();
        }
    }

    fn publish(&self, text: &str, key: &str) -> crate::hub::PublishOutcome {
        let publication = Publication::from(Message::text(text)).key(key);
        self.topic.publish(publication).expect("it is free")
    }

    /// Returns the texts that were written, and `ping` for a ping.
    fn written(&self) -> Vec<String> {
        let text = |(first, payload): (u8, Vec<u8>)| match first {
            0x81 => String::from_utf8(payload).expect("text"),
            0x89 => "ping".into(),
            0x88 => format!("close {}", u16::from_be_bytes([payload[0], payload[1]])),
            other => format!("{other:#x}"),
        };
        self.client.frames().into_iter().map(text).collect()
    }

    /// The peer answers the last mark.
    fn answer(&mut self) {
        let frames = self.client.frames();
        let ping = frames.iter().rfind(|(first, _)| *first == 0x89);
        let (_, payload) = ping.expect("a mark was sent");
        self.client
            .peer_sends(&from_client(0x8a, payload), usize::MAX);
        self.client.peer_sends(&from_client(0x81, b"x"), usize::MAX);
        self.client.recv().expect("the message after the pong");
    }

    fn dropped(&self) -> u64 {
        self.client.outbox().counts().dropped
    }
}

#[test]
fn late_member_gets_the_latest_values_after_its_answer() {
    let mut late = Late::new(Policy::Conflate, 64);
    assert_eq!(late.written(), ["first", "ping"]);
    for (text, key) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a")] {
        assert_eq!(late.publish(text, key).receivers, 1);
    }
    assert_eq!(late.written(), ["first", "ping"], "nothing more is sent");
    assert_eq!((late.client.outbox().len(), late.dropped()), (2, 2));
    late.answer();
    assert_eq!(late.written(), ["first", "ping", "a3", "b1"]);
    late.publish("a4", "a");
    assert_eq!(late.written()[4], "a4", "the member is not late any more");
    late.client.end();
}

#[test]
fn other_policies_apply_when_a_late_member_has_no_room() {
    let mut late = Late::new(Policy::DropOldest, 2);
    for text in ["1", "2", "3", "4"] {
        late.publish(text, "a");
    }
    assert_eq!(late.dropped(), 2);
    late.answer();
    assert_eq!(late.written(), ["first", "ping", "3", "4"]);
    late.client.end();

    let late = Late::new(Policy::Disconnect { soft: None }, 2);
    for (text, dropped) in [("1", 0), ("2", 0), ("3", 1)] {
        assert_eq!(late.publish(text, "a").dropped, dropped, "{text}");
    }
    assert_eq!(late.written(), ["first", "ping", "close 4008"]);
    late.client.end();

    let timeout = Some(Duration::from_millis(20));
    let late = Late::new(Policy::Block { timeout }, 1);
    assert!(!late.publish("1", "a").timed_out);
    assert!(late.publish("2", "a").timed_out);
    late.client.end();
}

#[test]
fn closing_sends_what_is_held_back() {
    let late = Late::new(Policy::Conflate, 64);
    late.publish("a1", "a");
    late.client.outbox().close(1000, "");
    late.client.write();
    assert_eq!(late.written(), ["first", "ping", "a1", "close 1000"]);
    late.client.end();
}

/// The writer looks for a Close after it has been requested, and before the topics are released.
#[test]
fn close_does_not_overtake_what_is_held_back() {
    let late = Late::new(Policy::Conflate, 64);
    late.publish("a1", "a");
    let shared = late.client.outbox().shared();
    let reason = CloseReason::new(1000, "");
    let cause = CloseCause::Shutdown;
    let lifecycle = shared.lifecycle();
    assert!(lifecycle.request_close(CloseMode::AfterQueue, reason, cause));
    shared.write.request_attention();
    late.client.write();
    shared.write.stop_accepting();
    late.client.write();
    assert_eq!(late.written(), ["first", "ping", "a1", "close 1000"]);
    late.client.end();
}

#[test]
fn messages_are_released_when_a_mark_is_lost() {
    let late = Late::new(Policy::Conflate, 64);
    late.publish("a1", "a");
    late.client.outbox().shared().release_held();
    assert_eq!(late.written(), ["first", "ping", "a1"]);
    late.client.end();
}

#[test]
fn handler_that_does_not_read_makes_no_member_late() {
    let late = Late::new(Policy::Conflate, 64);
    let shared = late.client.outbox().shared();
    shared.reader.set(Activity::InHandler);
    late.publish("a1", "a");
    assert_eq!(late.written(), ["first", "ping", "a1"]);
    late.client.end();
}

/// The answer may lie unread, so the handler's own publish must not wait for it.
#[test]
fn handler_that_does_not_read_gets_room_for_its_own_messages() {
    for (policy, written) in [
        (Policy::Block { timeout: None }, "1"),
        (Policy::Disconnect { soft: None }, "1"),
        (Policy::DropOldest, "1"),
    ] {
        let late = Late::new(policy, 1);
        late.publish("1", "a");
        let shared = late.client.outbox().shared();
        shared.reader.set(Activity::InHandler);
        assert_eq!(late.publish("2", "a").receivers, 1);
        assert_eq!(late.written(), ["first", "ping", written, "2"]);
        late.client.end();
    }
}

/// Otherwise, a peer that often sends would never be late, if its handler waits in `select!`.
#[test]
fn time_in_select_counts_against_the_peer() {
    for (waited_in, is_late) in [(Activity::Polling, true), (Activity::InHandler, false)] {
        let mut late = Late::new(Policy::Conflate, 64);
        let shared = Arc::clone(late.client.outbox().shared());
        shared.reader.set(waited_in);
        late.client.peer_sends(&from_client(0x81, b"x"), usize::MAX);
        late.client.recv().expect("a message has been sent");
        let lateness = &shared.write.queue.lateness;
        assert_eq!(lateness.is_late(clock::now(), 90), is_late, "{waited_in}");
        late.client.end();
    }
}

#[test]
fn messages_are_released_after_ping_timeout_whether_anybody_reads() {
    for reader in [Activity::Reading, Activity::InHandler] {
        let late = Late::new(Policy::Conflate, 64);
        late.publish("a1", "a");
        let shared = late.client.outbox().shared();
        shared.reader.set(reader);
        let timeout = clock::millis(shared.config().ping_timeout);
        shared.release_overdue(clock::now());
        assert_eq!(late.written(), ["first", "ping"]);
        shared.release_overdue(clock::now() + timeout);
        assert_eq!(late.written(), ["first", "ping", "a1"]);
        late.client.end();
    }
}

#[test]
fn topic_without_the_setting_sends_no_marks() {
    let late = Late::new(Policy::Conflate, 64);
    let plain = Hub::default().topic("plain").expect("it is the only topic");
    let outbox = late.client.outbox().clone();
    let subscription = plain.subscribe(outbox, SubscribeOptions::new());
    let _subscription = subscription.expect("without `since` it never fails");
    plain.publish(Message::text("plain")).expect("it is free");
    assert_eq!(late.written(), ["first", "ping", "plain"]);
    late.client.end();
}

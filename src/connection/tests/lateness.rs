use super::*;
use crate::connection::queue::item::{Outgoing, Purpose};

#[derive(Debug)]
struct Topic;

impl TopicSource for Topic {
    fn take_next(self: Arc<Self>, _: Purpose) -> Option<Outgoing> {
        None
    }

    fn take_overflow(self: Arc<Self>, _: Purpose) -> (Option<Outgoing>, bool) {
        (None, false)
    }

    fn finished(&self, _: bool) {}
}

fn topic() -> Arc<dyn TopicSource> {
    Arc::new(Topic)
}

#[test]
fn one_mark_is_unanswered_at_a_time() {
    let lateness = Lateness::default();
    assert!(lateness.try_mark(1000, 50));
    assert!(!lateness.try_mark(2000, 50), "the first is unanswered");
    assert!(lateness.release().is_empty());
    assert!(!lateness.try_mark(1049, 50), "the interval is not over");
    assert!(lateness.try_mark(1050, 50));
}

#[test]
fn member_is_late_until_the_answer() {
    let lateness = Lateness::default();
    assert!(!lateness.is_late(u64::MAX, 100), "there is no mark");
    lateness.try_mark(1000, 50);
    assert!(!lateness.is_late(1099, 100));
    assert!(lateness.is_late(1100, 100));
    lateness.add_unread_time(1070, 1100);
    assert!(!lateness.is_late(1129, 100), "30 ms do not count");
    assert!(lateness.is_late(1130, 100));
    lateness.release();
    assert!(!lateness.is_late(1130, 100), "it was answered");
}

/// Otherwise, a handler that was in its own code for a minute would hide for a minute that the peer is late.
#[test]
fn only_the_time_after_the_mark_is_left_out() {
    let lateness = Lateness::default();
    lateness.try_mark(5000, 50);
    lateness.add_unread_time(1000, 5010);
    assert!(!lateness.is_late(5109, 100));
    assert!(lateness.is_late(5110, 100));
}

/// Whichever comes first, the answer or the topic: the topic is never held without a mark that would release it.
#[test]
fn topic_is_held_only_while_a_mark_is_unanswered() {
    let lateness = Lateness::default();
    assert!(lateness.hold(topic()).is_some(), "there is no mark");
    lateness.try_mark(1000, 50);
    assert!(lateness.hold(topic()).is_none());
    assert_eq!(lateness.release().len(), 1);
    assert!(lateness.hold(topic()).is_some(), "the answer came first");
}

#[test]
fn closing_connection_holds_nothing() {
    let lateness = Lateness::default();
    lateness.try_mark(1000, 50);
    assert!(lateness.hold(topic()).is_none());
    assert_eq!(lateness.close().len(), 1);
    assert!(lateness.hold(topic()).is_some());
}

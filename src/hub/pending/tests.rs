//! Any sequence of messages, policies and reads, against a model: a plain list.

use crate::message::Message;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::hub::policy::Policy;

const CAPACITY: usize = 4;
const BEFORE_FIRST: u64 = 100;

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u8),
    /// Publishes by the fast path, if nothing is pending.
    PublishDirectly,
    SetPolicy(Policy),
    Take,
    TakeFromOverflow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Message(u64),
    Gap(u64, u64),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u64,
    key: u8,
    conflated: bool,
}

#[derive(Debug, Default)]
struct Model {
    pending: Vec<Entry>,
    was_full: bool,
    told: u64,
    offered: u64,
}

impl Model {
    fn publish(&mut self, new: Entry, policy: Policy) {
        self.offered = new.id;
        if self.was_full && self.replace(new) {
            return;
        }
        if self.pending.len() == CAPACITY {
            match policy {
                Policy::DropNewest => return,
                Policy::Conflate => {
                    self.was_full = true;
                    let all = self.pending.clone();
                    let is_newest = |e: &Entry| all.iter().all(|o| o.key != e.key || o.id <= e.id);
                    self.pending.retain(|e| !e.conflated || is_newest(e));
                    if self.replace(new) {
                        return;
                    }
                }
                _ => {}
            }
        }
        self.pending.push(new);
        let too_many = self.pending.len().saturating_sub(CAPACITY);
        self.pending.drain(..too_many);
    }

    fn replace(&mut self, new: Entry) -> bool {
        let newest = self.pending.iter_mut().rfind(|e| e.key == new.key);
        match newest {
            Some(old) if new.conflated && old.conflated => *old = new,
            _ => return false,
        }
        true
    }

    fn take(&mut self) -> Vec<Sent> {
        let next = (!self.pending.is_empty()).then(|| self.pending.remove(0));
        self.was_full &= !self.pending.is_empty();
        let gap_end = match next {
            Some(next) if next.conflated => 0,
            Some(next) => next.id - 1,
            None => self.offered,
        };
        let gap = (gap_end > self.told).then_some(Sent::Gap(self.told + 1, gap_end));
        self.told = self.told.max(next.map_or(gap_end, |next| next.id));
        let message = next.map(|next| Sent::Message(next.id));
        gap.into_iter().chain(message).collect()
    }

    fn has_trailing_gap(&self) -> bool {
        let last = self.pending.iter().map(|e| e.id).max();
        self.offered > self.told.max(last.unwrap_or(0))
    }
}

/// Publishes as `Member` does. Returns the number of messages that are dropped.
fn publish(pending: &mut PendingMessages, new: Entry, policy: Policy) -> usize {
    let text = Message::text(new.id.to_string());
    let message = PendingMessage {
        frame: EncodedFrame::data(&text),
        id: new.id,
        key: Some(new.key.to_string().into()),
        conflated: new.conflated,
    };
    let mut dropped = 0;
    match pending.replace_after_full(message) {
        Ok(_) => dropped += 1,
        Err(message) if pending.len() < CAPACITY => pending.push(message),
        Err(_) if policy == Policy::DropNewest => {
            pending.record_missed(new.id);
            dropped += 1;
        }
        Err(message) => {
            pending.displace(message, |_| dropped += 1);
        }
    }
    if pending.needs_ticket_for(pending.len()) {
        pending.add_ticket();
    }
    dropped
}

fn sent(next: Option<Next>) -> Vec<Sent> {
    let Some(Next { gap, message }) = next else {
        return Vec::new();
    };
    let id = |frame: EncodedFrame| {
        let payload = String::from_utf8(frame.payload().to_vec()).expect("text");
        payload.parse().expect("an id")
    };
    let gap = gap.map(|(first, last)| Sent::Gap(first, last));
    let message = message.map(|frame| Sent::Message(id(frame)));
    gap.into_iter().chain(message).collect()
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::DropNewest),
        Just(Policy::DropOldest),
        Just(Policy::Conflate)
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..5_u8).prop_map(Step::Publish),
        1 => Just(Step::PublishDirectly),
        1 => policies().prop_map(Step::SetPolicy),
        3 => Just(Step::Take),
        1 => Just(Step::TakeFromOverflow),
    ];
    vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pending_messages_behave_like_a_list(policy in policies(), steps in steps()) {
        let mut policy = policy;
        let mut pending = PendingMessages::default();
        pending.begin_after(BEFORE_FIRST);
        let mut model = Model { told: BEFORE_FIRST, offered: BEFORE_FIRST, ..Model::default() };
        let (mut all, mut dropped, mut conflates) = (Vec::new(), 0, policy == Policy::Conflate);
        for step in steps {
            let id = model.offered + 1;
            match step {
                Step::Publish(key) => {
                    let new = Entry { id, key, conflated: policy == Policy::Conflate };
                    dropped += publish(&mut pending, new, policy);
                    model.publish(new, policy);
                    if model.was_full {
                        let found = model.pending.iter().rfind(|e| e.key == key);
                        prop_assert!(!new.conflated || found.is_some_and(|e| e.id == id));
                    }
                }
                Step::PublishDirectly => {
                    let is_next = model.pending.is_empty() && model.told == model.offered;
                    prop_assert_eq!(pending.try_advance(id, id), is_next);
                    if is_next {
                        (model.told, model.offered) = (id, id);
                        all.push(Sent::Message(id));
                    }
                }
                Step::SetPolicy(new) => {
                    policy = new;
                    conflates |= policy == Policy::Conflate;
                }
                Step::Take => {
                    let expected = model.take();
                    let mut next = pending.take_for_ticket();
                    if next.is_none() {
                        next = pending.take_for_overflow(true).0;
                    }
                    let next = sent(next);
                    prop_assert_eq!(&next, &expected);
                    all.extend(next);
                }
                Step::TakeFromOverflow => {
                    let expected = model.take();
                    let (next, stays) = pending.take_for_overflow(true);
                    let next = sent(next);
                    prop_assert_eq!(&next, &expected);
                    prop_assert_eq!(stays, model.has_trailing_gap());
                    all.extend(next);
                }
            }
            prop_assert_eq!(pending.len(), model.pending.len());
        }
        let before_drain = all.len();
        while pending.len() > 0 || pending.has_trailing_gap() {
            let (next, _) = pending.take_for_overflow(true);
            let next = sent(next);
            prop_assert_eq!(&next, &model.take());
            all.extend(next);
        }
        // Every message was sent or dropped.
        let ids = |sent: &Sent| match *sent {
            Sent::Message(id) => id..=id,
            Sent::Gap(first, last) => first..=last,
        };
        let messages = all.iter().filter(|sent| matches!(sent, Sent::Message(_))).count();
        prop_assert_eq!(BEFORE_FIRST + (messages + dropped) as u64, model.offered);
        // Gaps that were told without a message published in between were joined.
        for pair in all[before_drain..].windows(2) {
            prop_assert!(!matches!(pair, [Sent::Gap(..), Sent::Gap(..)]), "{all:?}");
        }
        // No id was sent or told twice.
        let mut covered: Vec<u64> = all.iter().flat_map(ids).collect();
        if !conflates {
            // Every id was sent or in a gap, in order.
            prop_assert_eq!(covered, (BEFORE_FIRST + 1..=model.offered).collect::<Vec<_>>());
        } else {
            covered.sort_unstable();
            prop_assert!(covered.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        }
    }
}

fn entry(id: u64, key: u8, policy: Policy) -> Entry {
    let conflated = policy == Policy::Conflate;
    Entry { id, key, conflated }
}

#[test]
fn keys_are_replaced_until_the_queue_is_empty() {
    let mut pending = PendingMessages::default();
    for id in 1..=4 {
        publish(
            &mut pending,
            entry(id, id as u8, Policy::Conflate),
            Policy::Conflate,
        );
    }
    publish(
        &mut pending,
        entry(5, 2, Policy::Conflate),
        Policy::Conflate,
    );
    assert_eq!(sent(pending.take_for_ticket()), [Sent::Message(1)]);
    // There is room, but key 2 keeps its place.
    publish(
        &mut pending,
        entry(6, 2, Policy::Conflate),
        Policy::Conflate,
    );
    for id in [6, 3, 4] {
        assert_eq!(sent(pending.take_for_ticket()), [Sent::Message(id)]);
    }
    publish(
        &mut pending,
        entry(7, 2, Policy::Conflate),
        Policy::Conflate,
    );
    publish(
        &mut pending,
        entry(8, 2, Policy::Conflate),
        Policy::Conflate,
    );
    for id in [7, 8] {
        assert_eq!(sent(pending.take_for_ticket()), [Sent::Message(id)]);
    }
}

#[test]
fn ticket_of_a_dropped_message_returns_nothing() {
    let mut pending = PendingMessages::default();
    publish(
        &mut pending,
        entry(1, 0, Policy::DropOldest),
        Policy::DropOldest,
    );
    pending.drop_oldest();
    assert!(pending.take_for_ticket().is_none());
    assert!(pending.has_trailing_gap());
    let (next, stays) = pending.take_for_overflow(true);
    assert_eq!((sent(next), stays), (vec![Sent::Gap(1, 1)], false));
}

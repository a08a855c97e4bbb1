//! How received messages reach the members of this hub, and the publishes that wait for them.

use std::time::Duration;

use super::figures::Figures;
use super::link::Link;
use super::record::Record;
use crate::hub::{PublishOutcome, Received, Topic};

/// Delivers records with consecutive ids, without those that this hub has delivered already. Tells the publishes of this
/// hub that their messages have come back.
pub(super) fn deliver(
    link: &Link,
    topic: &Topic,
    first_id: u64,
    age: Duration,
    records: Vec<Record>,
) {
    let last_id = topic.last_id();
    let (mut publications, mut own, mut first_new) = (Vec::new(), Vec::new(), first_id);
    for (id, record) in (first_id..).zip(records) {
        let is_own = record.node == link.node;
        if id <= last_id {
            Figures::add(&link.figures.duplicates, 1);
            if is_own {
                let outcome = PublishOutcome {
                    id,
                    ..PublishOutcome::default()
                };
                set_delivered(link, &[(record.seq, outcome)]);
            }
            first_new = id + 1;
            continue;
        }
        if is_own {
            own.push((publications.len(), record.seq));
        }
        publications.push(record.publication);
    }
    if publications.is_empty() {
        return;
    }
    Figures::add(&link.figures.received, publications.len());
    let outcomes = topic.receive(Received {
        first_id: first_new,
        age,
        publications,
    });
    let own: Vec<_> = own
        .into_iter()
        .map(|(index, seq)| (seq, outcomes.get(index).copied().unwrap_or_default()))
        .collect();
    set_delivered(link, &own);
}

/// Tells publishes of this hub the outcomes of their messages, which have these numbers.
fn set_delivered(link: &Link, mut outcomes: &[(u64, PublishOutcome)]) {
    while let [(first, _), rest @ ..] = outcomes {
        let Some((publish, index)) = link.publish_of(*first) else {
            outcomes = rest;
            continue;
        };
        // The messages of one publish have consecutive numbers, and are usually received together.
        let of_publish: Vec<PublishOutcome> = (*first..)
            .zip(outcomes)
            .take(publish.len() - index)
            .take_while(|(expected, (seq, _))| expected == seq)
            .map(|(_, (_, outcome))| *outcome)
            .collect();
        publish.set_delivered(index, &of_publish);
        outcomes = &outcomes[of_publish.len()..];
    }
}

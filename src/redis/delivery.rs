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
        if id <= last_id {
            Figures::add(&link.figures.duplicates, 1);
            if record.node == link.node {
                let outcome = PublishOutcome {
                    id,
                    ..PublishOutcome::default()
                };
                set_delivered(link, record.seq, outcome);
            }
            first_new = id + 1;
            continue;
        }
        if record.node == link.node {
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
    for (index, seq) in own {
        let outcome = outcomes.get(index).copied().unwrap_or_default();
        set_delivered(link, seq, outcome);
    }
}

fn set_delivered(link: &Link, seq: u64, outcome: PublishOutcome) {
    if let Some((publish, index)) = link.publish_of(seq) {
        publish.set_delivered(index, outcome);
    }
}

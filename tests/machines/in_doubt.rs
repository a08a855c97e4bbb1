//! Publishes in doubt: Redis has carried them out, and the connection was cut before the answer.
//!
//! Their hub cannot know that. Under `--redis-lost local` the message becomes a local one, so members on that hub have it
//! with a local id, and members on other hubs with a shared id. For the judge these are two messages: the local one is
//! acknowledged, and the shared one was published without an answer.

use std::collections::{BTreeSet, HashMap};

use crate::log::{Event, MemberLog, Node, Outcome, Published};

/// Separates the shared copies of such messages: renames them, and adds them to what was published. Returns how many
/// messages there are.
pub(crate) fn separate(members: &mut [MemberLog], published: &mut Vec<Published>) -> usize {
    // By topic and payload: the ids, each with the nodes on which it was received.
    let mut received: HashMap<(String, String), HashMap<u64, BTreeSet<Node>>> = HashMap::new();
    for log in &*members {
        let mut at = 0;
        for event in &log.events {
            match event {
                Event::Asked { node, .. } => at = *node,
                Event::Message { id, payload, .. } => {
                    let ids = received.entry((log.topic.clone(), payload.clone()));
                    ids.or_default().entry(*id).or_default().insert(at);
                }
                _ => {}
            }
        }
    }
    // The new name of a shared copy.
    let mut names: HashMap<(String, String, u64), String> = HashMap::new();
    for n in 0..published.len() {
        let message = &published[n];
        let Outcome::Acked(local) = message.outcome else {
            continue;
        };
        let Some(ids) = received.get(&(message.topic.clone(), message.payload.clone())) else {
            continue;
        };
        let is_local = ids
            .get(&local)
            .is_none_or(|nodes| nodes.iter().eq([&message.node]));
        let others: Vec<_> = ids.iter().filter(|(id, _)| **id != local).collect();
        if let ([(shared, nodes)], true) = (&others[..], is_local) {
            // A roaming client may have the shared copy and then the local one, because the local one is made later.
            let is_later = |log: &MemberLog| {
                let ids = ids_of(log, &message.topic, &message.payload);
                ids.last() == Some(shared) && ids.len() > 1
            };
            if !nodes.contains(&message.node) && !members.iter().any(is_later) {
                let name = format!("{} (shared)", message.payload);
                let copy = Published {
                    payload: name.clone(),
                    outcome: Outcome::Lost,
                    ..message.clone()
                };
                names.insert(
                    (copy.topic.clone(), message.payload.clone(), **shared),
                    name,
                );
                published.push(copy);
            }
        }
    }
    for log in &mut *members {
        for event in &mut log.events {
            if let Event::Message { id, payload, .. } = event
                && let Some(name) = names.get(&(log.topic.clone(), payload.clone(), *id))
            {
                payload.clone_from(name);
            }
        }
    }
    names.len()
}

/// Returns the ids with which the member has received the payload.
fn ids_of(log: &MemberLog, topic: &str, payload: &str) -> Vec<u64> {
    let events = log.events.iter().filter(|_| log.topic == topic);
    let ids = events.filter_map(|event| match event {
        Event::Message {
            id, payload: of, ..
        } if of == payload => Some(*id),
        _ => None,
    });
    ids.collect()
}

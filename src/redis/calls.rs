//! The calls of the script that publishes, and what the replies of a pipeline belong to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use ::redis::{Cmd, cmd};

use super::link::Link;
use super::pending::PendingPublish;
use super::publish::MAX_CALL;

/// Groups publishes by topic, up to 64 messages in each group. The order within a topic is kept.
pub(super) fn by_topic(publishes: Vec<Arc<PendingPublish>>) -> Vec<Vec<Arc<PendingPublish>>> {
    let mut groups: Vec<Vec<Arc<PendingPublish>>> = Vec::new();
    // The newest group of each topic, and the number of its messages.
    let mut newest: HashMap<String, (usize, usize)> = HashMap::new();
    for publish in publishes {
        let count = publish.len();
        match newest.get_mut(publish.topic.name()) {
            Some((group, messages)) if *messages + count <= MAX_CALL => {
                *messages += count;
                groups[*group].push(publish);
            }
            _ => {
                newest.insert(publish.topic.name().into(), (groups.len(), count));
                groups.push(vec![publish]);
            }
        }
    }
    groups
}

/// How long a stream is kept after the last publish, unless the topic has a maximum age, in milliseconds.
const STREAM_LIFETIME_MS: u64 = 24 * 3_600_000;

/// A command of a pipeline, for which a reply has to be received.
pub(super) enum Expected {
    Time(Instant),
    Identity,
    Heartbeat(u64),
    /// Publishes to one topic.
    Publishes(Vec<Arc<PendingPublish>>),
    /// Only an error would matter, and the next heartbeat shows it too.
    Nothing,
}

impl Expected {
    pub(super) fn messages(&self) -> usize {
        self.publishes().iter().map(|publish| publish.len()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.publishes().iter().map(|publish| publish.size()).sum()
    }

    fn publishes(&self) -> &[Arc<PendingPublish>] {
        match self {
            Expected::Publishes(publishes) => publishes,
            _ => &[],
        }
    }
}

/// Returns the call of the script for publishes to one topic. The server refuses it after `deadline`, by its own clock in
/// microseconds. The ids are above `floor`.
pub(super) fn publish_call(
    link: &Link,
    (script, epoch): (&str, &str),
    publishes: &[Arc<PendingPublish>],
    (deadline, floor): (u64, u64),
) -> Cmd {
    let (keys, topic) = (&link.keys, &publishes[0].topic);
    let settings = topic.settings();
    let lifetime = settings
        .max_age
        .map_or(STREAM_LIFETIME_MS, crate::clock::millis);
    let count: usize = publishes.iter().map(|publish| publish.len()).sum();
    let size = publishes.iter().map(|publish| publish.size()).sum();
    let mut records: Vec<u8> = Vec::with_capacity(size);
    for publish in publishes {
        records.extend(&publish.records);
    }
    let mut call = cmd("EVALSHA");
    call.arg(script).arg(2);
    call.arg(keys.counter(topic.name()));
    call.arg(keys.stream(topic.name()));
    call.arg(deadline).arg(epoch).arg(floor);
    call.arg(settings.history).arg(lifetime.max(1));
    call.arg(keys.channel(topic.name())).arg(count);
    call.arg(&records[..]);
    call
}

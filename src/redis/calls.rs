//! Which publishes become one call of the script.

use std::collections::HashMap;
use std::sync::Arc;

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

//! The half of [`Topic`] that tells an engine the names on this hub, and takes the names on other hubs from it.

use super::topic::Topic;

impl Topic {
    /// Records that `name` is present on the hub `node`, or is not any more. Members are told if the name is new on all
    /// hubs, or gone from all of them.
    pub(crate) fn set_remote_present(&self, node: u64, name: &str, is_present: bool) {
        let topic = &self.state;
        let _in_order = topic.presence.lock_notices();
        if topic.presence.set_remote(node, name, is_present) {
            topic.send_presence(name, is_present);
        }
    }

    /// Replaces the names on all other hubs, each with the hub on which it is present. Members are told of the differences.
    pub(crate) fn replace_remote_names(&self, names: Vec<(u64, String)>) {
        let topic = &self.state;
        let _in_order = topic.presence.lock_notices();
        let (left, joined) = topic.presence.replace_remote(names);
        for name in left {
            topic.send_presence(&name, false);
        }
        for name in joined {
            topic.send_presence(&name, true);
        }
    }

    /// Returns the names that are present on this hub, also those that have left within the grace.
    #[cfg(test)]
    pub(crate) fn local_names(&self) -> Vec<std::sync::Arc<str>> {
        self.state.presence.local_names()
    }
}

#[cfg(test)]
#[path = "tests/remote_names.rs"]
mod tests;

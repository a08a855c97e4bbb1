//! [`Keys`]: the names of the keys and channels on the server.

use std::fmt::Write;

/// The most bytes of a prefix.
const MAX_PREFIX: usize = 100;

/// The names of the keys and channels that hubs with the same prefix share.
///
/// The name of a topic stands in braces. A cluster keeps keys with the same text in braces on the same server.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    node: u64,
}

impl Keys {
    /// `prefix` has passed [`check_prefix`].
    pub(super) fn new(prefix: &str, node: u64) -> Keys {
        Keys {
            prefix: prefix.into(),
            node,
        }
    }

    /// Returns the key of the counter: the epoch and the last id of a topic.
    pub(super) fn counter(&self, topic: &str) -> String {
        self.of_topic(topic, 'i')
    }

    /// Returns the key of the history of a topic, which is a stream.
    pub(super) fn stream(&self, topic: &str) -> String {
        self.of_topic(topic, 's')
    }

    /// Returns the key of the names in a topic, which is a hash.
    pub(super) fn presence(&self, topic: &str) -> String {
        self.of_topic(topic, 'p')
    }

    /// Returns the key of the id up to which a history has been removed.
    pub(super) fn cleared(&self, topic: &str) -> String {
        self.of_topic(topic, 'x')
    }

    /// Returns the channel of a topic.
    pub(super) fn channel(&self, topic: &str) -> String {
        self.of_topic(topic, 'c')
    }

    /// Returns the channel to this hub.
    pub(super) fn own_channel(&self) -> String {
        self.channel_of_node(self.node)
    }

    /// Returns the channel to a hub.
    pub(super) fn channel_of_node(&self, node: u64) -> String {
        format!("{}:to:{node:016x}", self.prefix)
    }

    /// Returns the key of the hubs with the ends of their leases, which is a sorted set.
    pub(super) fn nodes(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    /// Returns the key of the topics in which a hub has names, which is a set.
    pub(super) fn topics_at(&self, node: u64) -> String {
        format!("{}:at:{node:016x}", self.prefix)
    }

    /// Returns the key that a hub holds while it removes the names of the dead hub `node`.
    pub(super) fn sweep(&self, node: u64) -> String {
        format!("{}:sweep:{node:016x}", self.prefix)
    }

    /// Returns the channel that tells all hubs which users to disconnect.
    pub(super) fn users_channel(&self) -> String {
        format!("{}:users", self.prefix)
    }

    /// Returns the key of a claim.
    pub(super) fn claim(&self, key: &str) -> String {
        format!("{}:idem:{key}", self.prefix)
    }

    fn of_topic(&self, topic: &str, kind: char) -> String {
        let mut key = String::with_capacity(self.prefix.len() + topic.len() + 5);
        key.push_str(&self.prefix);
        key.push_str(":{");
        for char in topic.chars() {
            if matches!(char, '{' | '}' | '%') || char.is_control() {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(key, "%{byte:02X}");
                }
            } else {
                key.push(char);
            }
        }
        key.push_str("}:");
        key.push(kind);
        key
    }
}

/// Returns what is wrong with a prefix.
pub(super) fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() || prefix.len() > MAX_PREFIX {
        return Err(format!("a prefix has 1 to {MAX_PREFIX} bytes"));
    }
    if prefix
        .chars()
        .any(|char| char.is_control() || matches!(char, '{' | '}'))
    {
        return Err("a prefix has no braces and no control characters".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_are_as_documented() {
        let keys = Keys::new("chat", 0xab);
        assert_eq!(keys.counter("news"), "chat:{news}:i");
        assert_eq!(keys.stream("news"), "chat:{news}:s");
        assert_eq!(keys.presence("news"), "chat:{news}:p");
        assert_eq!(keys.channel("news"), "chat:{news}:c");
        assert_eq!(keys.cleared("news"), "chat:{news}:x");
        assert_eq!(keys.own_channel(), "chat:to:00000000000000ab");
        assert_eq!(keys.channel_of_node(u64::MAX), "chat:to:ffffffffffffffff");
        assert_eq!(keys.nodes(), "chat:nodes");
        assert_eq!(keys.topics_at(1), "chat:at:0000000000000001");
        assert_eq!(keys.sweep(1), "chat:sweep:0000000000000001");
        assert_eq!(keys.users_channel(), "chat:users");
        assert_eq!(keys.claim("k"), "chat:idem:k");
    }

    #[test]
    fn each_topic_has_its_own_keys() {
        let keys = Keys::new("p", 1);
        let topics = [
            "news", "", "a}:c", "{{", "100%", "%7B", "{", "%257B", "é\u{85}", "\0\n", "a b*?[x]",
        ];
        let mut all = Vec::from(topics.map(|topic| keys.channel(topic)));
        for key in &all {
            let inner = &key["p:{".len()..key.len() - "}:c".len()];
            assert!(!inner.contains(['{', '}']), "{key}");
            assert!(!key.chars().any(char::is_control), "{key:?}");
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), topics.len());
        assert_eq!(keys.channel("a{1}%\n\u{85}"), "p:{a%7B1%7D%25%0A%C2%85}:c");
    }

    #[test]
    fn prefix_has_no_braces_and_no_control_characters() {
        assert!(check_prefix("standpipe").is_ok() && check_prefix(&"p".repeat(MAX_PREFIX)).is_ok());
        for wrong in ["", "a{", "}", "a\n", &"p".repeat(MAX_PREFIX + 1)] {
            assert!(check_prefix(wrong).is_err(), "{wrong:?}");
        }
    }
}

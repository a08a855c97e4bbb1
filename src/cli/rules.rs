//! [`TopicRules`]: who may publish to a topic and who may subscribe to it; [`CurrentRules`]: the rules in force;
//! [`Rights`]: what one client may do.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use standpipe::HubConfig;

use super::tokens::Identity;

/// The clients that may do something with a topic. Publishing over HTTP is subject to the key instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Every client.
    #[default]
    Anyone,
    /// Every client with a valid token.
    Token,
    /// No client.
    Server,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Rule, String> {
        match text {
            "anyone" => Ok(Rule::Anyone),
            "token" => Ok(Rule::Token),
            "server" => Ok(Rule::Server),
            _ => Err("must be anyone, token or server".into()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Anyone => "anyone",
            Rule::Token => "token",
            Rule::Server => "server",
        })
    }
}

/// The rules of one `--topic` flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicRule {
    pub(crate) pattern: String,
    pub(crate) publish: Rule,
    pub(crate) subscribe: Rule,
}

/// The rules of all `--topic` flags, in their order. As for other settings of a topic, the first pattern that matches
/// counts. Every client may publish and subscribe to a topic that no pattern matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicRules(pub(crate) Vec<TopicRule>);

impl TopicRules {
    /// Whether some rule requires a token.
    pub(crate) fn mention_token(&self) -> bool {
        let mut rules = self
            .0
            .iter()
            .flat_map(|rule| [rule.publish, rule.subscribe]);
        rules.any(|rule| rule == Rule::Token)
    }

    fn of(&self, topic: &str) -> Option<&TopicRule> {
        let mut rules = self.0.iter();
        rules.find(|rule| HubConfig::matches(&rule.pattern, topic))
    }
}

/// The rules that are in force. They can be replaced while clients are connected.
#[derive(Debug)]
pub(crate) struct CurrentRules {
    rules: RwLock<Arc<TopicRules>>,
    /// The number of times that the rules have been replaced. A client compares it at every command instead of taking
    /// the lock.
    version: AtomicU64,
}

impl CurrentRules {
    pub(crate) fn new(rules: TopicRules) -> CurrentRules {
        CurrentRules {
            rules: RwLock::new(Arc::new(rules)),
            version: AtomicU64::new(0),
        }
    }

    /// Returns the rules that are in force now.
    pub(crate) fn get(&self) -> Arc<TopicRules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the rules. They apply to a connected client from its next command on.
    pub(crate) fn replace(&self, rules: TopicRules) {
        let mut current = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(rules);
        // Under the lock, and with `Release`: a client that sees the new version finds the new rules.
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// The rights of one client: all that the rules allow, as far as its token does not narrow it. They are checked at every
/// publish and at every subscription.
#[derive(Debug)]
pub(crate) struct Rights<'a> {
    current: &'a CurrentRules,
    /// The rules as of `version`.
    rules: Arc<TopicRules>,
    version: u64,
    identity: Identity,
    /// The rights of topics that were checked before, so that no pattern is matched again for each message.
    known: HashMap<String, Verdict>,
}

/// The most topics in [`Rights::known`]. A client that uses more of them has its patterns matched again.
const MAX_KNOWN: usize = 64;

/// The rights of one client to one topic. An error is the text for the client.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    publish: Result<(), &'static str>,
    subscribe: Result<(), &'static str>,
}

impl<'a> Rights<'a> {
    pub(crate) fn new(current: &'a CurrentRules, identity: Identity) -> Rights<'a> {
        // The version is read first. If the rules are replaced in between, they are only read once more.
        let version = current.version.load(Ordering::Acquire);
        Rights {
            current,
            rules: current.get(),
            version,
            identity,
            known: HashMap::new(),
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Replaces the token of the client.
    pub(crate) fn renew(&mut self, identity: Identity) {
        self.identity = identity;
        self.known.clear();
    }

    /// Checks whether the client may publish to `topic`. The error is the text for the client.
    pub(crate) fn check_publish(&mut self, topic: &str) -> Result<(), &'static str> {
        self.verdict(topic).publish
    }

    /// Checks whether the client may subscribe to `topic`. The error is the text for the client.
    pub(crate) fn check_subscribe(&mut self, topic: &str) -> Result<(), &'static str> {
        self.verdict(topic).subscribe
    }

    fn verdict(&mut self, topic: &str) -> Verdict {
        let version = self.current.version.load(Ordering::Acquire);
        if version != self.version {
            self.rules = self.current.get();
            self.version = version;
            self.known.clear();
        }
        if let Some(verdict) = self.known.get(topic) {
            return *verdict;
        }
        let verdict = self.judge(topic);
        let has_patterns = !self.rules.0.is_empty() || self.identity.claims().is_some();
        if has_patterns {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(topic.to_owned(), verdict);
        }
        verdict
    }

    fn judge(&self, topic: &str) -> Verdict {
        let rule = self.rules.of(topic);
        let (publish, subscribe) = rule.map_or((Rule::Anyone, Rule::Anyone), |rule| {
            (rule.publish, rule.subscribe)
        });
        let claims = self.identity.claims();
        let has_token = self.identity.has_token();
        Verdict {
            publish: match publish {
                Rule::Server => Err("forbidden: only the server publishes to this topic"),
                Rule::Token if !has_token => {
                    Err("forbidden: publishing to this topic requires a token")
                }
                _ if claims.is_some_and(|claims| !claims.may_publish(topic)) => {
                    Err("forbidden: the token does not allow publishing to this topic")
                }
                Rule::Anyone | Rule::Token => Ok(()),
            },
            subscribe: match subscribe {
                Rule::Server => Err("forbidden: no client may subscribe to this topic"),
                Rule::Token if !has_token => {
                    Err("forbidden: subscribing to this topic requires a token")
                }
                _ if claims.is_some_and(|claims| !claims.may_subscribe(topic)) => {
                    Err("forbidden: the token does not allow subscribing to this topic")
                }
                Rule::Anyone | Rule::Token => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_matching_pattern_decides() {
        let rule = |pattern: &str, publish, subscribe| TopicRule {
            pattern: pattern.into(),
            publish,
            subscribe,
        };
        let rules = TopicRules(vec![
            rule("open-*", Rule::Anyone, Rule::Anyone),
            rule("*-feed", Rule::Server, Rule::Token),
            rule("*", Rule::Token, Rule::Server),
        ]);
        let rules = CurrentRules::new(rules);
        let outcome = |topic: &str, has_token| {
            let identity = if has_token {
                Identity::StaticToken
            } else {
                Identity::NoToken
            };
            let mut rights = Rights::new(&rules, identity);
            let (publish, subscribe) = (rights.check_publish(topic), rights.check_subscribe(topic));
            (publish.is_ok(), subscribe.is_ok())
        };
        for (topic, without, with) in [
            ("open-feed", (true, true), (true, true)),
            ("my-feed", (false, false), (false, true)),
            ("other", (false, false), (true, false)),
        ] {
            assert_eq!(outcome(topic, false), without, "{topic} without a token");
            assert_eq!(outcome(topic, true), with, "{topic} with a token");
        }
        let none = CurrentRules::new(TopicRules::default());
        let mut rights = Rights::new(&none, Identity::NoToken);
        assert_eq!(rights.check_publish("any"), Ok(()));
        assert_eq!(rights.check_subscribe("any"), Ok(()));
    }

    #[test]
    fn replaced_rules_apply_to_connected_clients() {
        let rules = CurrentRules::new(TopicRules::default());
        let mut rights = Rights::new(&rules, Identity::NoToken);
        assert_eq!(rights.check_publish("news"), Ok(()));
        let closed = TopicRule {
            pattern: "news".into(),
            publish: Rule::Server,
            subscribe: Rule::Token,
        };
        rules.replace(TopicRules(vec![closed]));
        assert!(rights.check_publish("news").is_err());
        assert!(rights.check_subscribe("news").is_err());
        rules.replace(TopicRules::default());
        assert_eq!(rights.check_publish("news"), Ok(()));
    }
}

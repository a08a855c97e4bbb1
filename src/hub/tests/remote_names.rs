//! Names on this hub and on others, seen by a member that wants presence notices.

use std::sync::Arc;

use crate::connection::testing::single_threaded::SingleThreaded;
use crate::hub::fake_engine::{client, end, hub, subscribe, texts, topic, until};
use crate::hub::{SubscribeOptions, Subscription, Topic, TopicSettings};

fn watcher(topic: &Topic) -> (SingleThreaded, Subscription) {
    let client = client(usize::MAX);
    let subscription = subscribe(topic, &client, SubscribeOptions::new().with_presence());
    (client, subscription)
}

fn names(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    let owned = |(node, name): &(u64, &str)| (*node, (*name).to_owned());
    all.iter().map(owned).collect()
}

#[test]
fn name_on_two_nodes_joins_and_leaves_once() {
    let (topic, _) = topic(TopicSettings::default());
    let (ann, _ann) = watcher(&topic);
    for (node, is_present) in [(1, true), (2, true), (2, true), (1, false), (1, false)] {
        topic.set_remote_present(node, "bob", is_present);
    }
    assert_eq!(
        (texts(&ann), topic.presence()),
        (vec!["+ bob".into()], vec!["bob".into()])
    );
    topic.set_remote_present(2, "bob", false);
    topic.set_remote_present(2, "unknown", false);
    assert_eq!(texts(&ann)[1..], ["- bob"]);
    assert!(topic.presence().is_empty() && topic.local_names().is_empty());
    end(ann);
}

/// The hub of the member counts as one node. The engine is told when the name joins it, and when it has left.
#[test]
fn own_node_counts_as_one() {
    let (hub, engine) = hub(TopicSettings::default());
    let topic = hub.topic("t").expect("there is room");
    let (ann, _ann) = watcher(&topic);
    let bob = client(usize::MAX);
    let enter = || subscribe(&topic, &bob, SubscribeOptions::new().with_name("bob"));
    engine.calls();
    topic.set_remote_present(1, "bob", true);
    let (first, second) = (enter(), enter());
    assert_eq!(engine.calls(), ["open t", "+ t bob", "open t"]);
    topic.set_remote_present(1, "bob", false);
    assert_eq!(texts(&ann), ["+ bob"]);
    assert_eq!(topic.local_names(), [Arc::<str>::from("bob")]);
    drop((first, second));
    // Within the grace, the name is still here.
    hub.sweep();
    assert_eq!((engine.calls(), topic.local_names().len()), (vec![], 1));
    topic.set_remote_present(1, "bob", true);
    until("the name has left this hub", || {
        hub.sweep();
        topic.local_names().is_empty()
    });
    assert_eq!(engine.calls(), ["- t bob"]);
    assert_eq!(
        (texts(&ann).len(), topic.presence()),
        (1, vec!["bob".into()])
    );
    topic.set_remote_present(1, "bob", false);
    assert_eq!(texts(&ann)[1..], ["- bob"]);
    end(bob);
    end(ann);
}

/// A name keeps its topic while the engine has not been told that it has left, but a name on another hub does not.
#[test]
fn topic_stays_until_its_own_names_have_left() {
    let (hub, engine) = hub(TopicSettings::default());
    let topic = hub.topic("t").expect("there is room");
    let bob = client(usize::MAX);
    let subscription = subscribe(&topic, &bob, SubscribeOptions::new().with_name("bob"));
    topic.set_remote_present(1, "eve", true);
    drop(topic);
    engine.calls();
    drop(subscription);
    assert_eq!(hub.len(), 1);
    until("the topic has ended", || {
        hub.sweep();
        hub.is_empty()
    });
    assert_eq!(engine.calls(), ["- t bob", "close t"]);
    end(bob);
}

#[test]
fn replaced_names_are_told_as_differences() {
    let (topic, _) = topic(TopicSettings::default());
    let (ann, _ann) = watcher(&topic);
    let dan = client(usize::MAX);
    let _dan = subscribe(&topic, &dan, SubscribeOptions::new().with_name("dan"));
    topic.replace_remote_names(names(&[(1, "bob"), (2, "bob"), (1, "cat"), (1, "dan")]));
    assert_eq!(texts(&ann), ["+ dan", "+ bob", "+ cat"]);
    topic.replace_remote_names(names(&[(2, "bob"), (3, "eve"), (2, "eve")]));
    assert_eq!(texts(&ann)[3..], ["- cat", "+ eve"]);
    assert_eq!(topic.presence(), ["bob", "dan", "eve"]);
    topic.set_remote_present(1, "bob", false);
    topic.set_remote_present(2, "bob", false);
    topic.replace_remote_names(Vec::new());
    assert_eq!(texts(&ann)[5..], ["- bob", "- eve"]);
    assert_eq!(topic.presence(), ["dan"]);
    end(dan);
    end(ann);
}

#[test]
fn names_are_limited_over_all_nodes() {
    let (topic, _) = topic(TopicSettings::default());
    let full = (0..10_000).map(|n| (n % 7, n.to_string())).collect();
    topic.replace_remote_names(full);
    let (ann, _ann) = watcher(&topic);
    let bob = client(usize::MAX);
    let subscription = subscribe(&topic, &bob, SubscribeOptions::new().with_name("bob"));
    topic.set_remote_present(9, "cat", true);
    assert_eq!(topic.presence().len(), 10_000);
    assert!(topic.local_names().is_empty() && texts(&ann).is_empty());
    drop(subscription);
    // A name that is listed may be present on further hubs.
    let known = subscribe(&topic, &bob, SubscribeOptions::new().with_name("7"));
    assert_eq!(topic.local_names(), [Arc::<str>::from("7")]);
    topic.set_remote_present(0, "7", false);
    topic.set_remote_present(0, "0", false);
    topic.set_remote_present(9, "cat", true);
    assert_eq!(texts(&ann), ["- 0", "+ cat"]);
    drop(known);
    end(bob);
    end(ann);
}

/// What other hubs send is limited too, because anybody who can write to the engine could send it.
#[test]
fn places_of_names_are_limited() {
    let (topic, _) = topic(TopicSettings::default());
    let many = |names: u64, nodes: u64| {
        let place = move |n: u64| (n % nodes, (n / nodes).to_string());
        (0..names * nodes).map(place).collect::<Vec<_>>()
    };
    // One name on too many hubs: a later change of such a hub changes nothing.
    topic.replace_remote_names(many(1, 100_000));
    topic.set_remote_present(1000, "0", false);
    (0..1000).for_each(|node| topic.set_remote_present(node, "0", false));
    assert!(topic.presence().is_empty());
    // Too many places of many names.
    topic.replace_remote_names(many(300, 500));
    assert_eq!(topic.presence().len(), 200);
    topic.set_remote_present(0, "1", false);
    topic.set_remote_present(0, "one more", true);
    assert_eq!(topic.presence().len(), 201);
}

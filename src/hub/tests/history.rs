//! A history that is completed from an engine.

use std::time::Duration;

use crate::hub::fake_engine::{received, stored, topic};
use crate::hub::{Hub, HubConfig, Topic, TopicSettings};

fn placed(settings: TopicSettings) -> Topic {
    let (topic, _) = topic(settings);
    topic.place_at(100);
    topic
}

/// Returns the ids in the history.
fn history(topic: &Topic) -> Vec<u64> {
    let messages = topic.state.history.after(0, usize::MAX);
    messages.iter().map(|message| message.id()).collect()
}

#[test]
fn history_is_filled_below_what_is_there() {
    let (topic, _) = topic(TopicSettings::default().history(5));
    topic.place_at(100);
    topic.receive(received(101, &["live"]));
    assert!(!topic.is_filled());
    let ids = [99, 97, 98, 98, 101, 96, 102, 90];
    let all = ids.map(|id| stored(id, Duration::ZERO, "stored"));
    topic.fill_history(all.into());
    assert!(topic.is_filled());
    // Id 102 has not been received yet, and would come twice.
    assert_eq!(history(&topic), [96, 97, 98, 99, 101]);
    topic.receive(received(102, &["live"]));
    assert_eq!(history(&topic), [97, 98, 99, 101, 102]);
    // A topic without messages, and one without a history.
    for (size, expected) in [(2, &[98, 99][..]), (0, &[])] {
        let topic = placed(TopicSettings::default().history(size));
        topic.fill_history(ids.map(|id| stored(id, Duration::ZERO, "stored")).into());
        assert_eq!(history(&topic), expected);
    }
}

#[test]
fn filled_history_keeps_its_limits() {
    let age = Duration::from_secs(60);
    let (topic, _) = topic(TopicSettings::default().history(9).max_age(age));
    topic.place_at(100);
    let aged = |id, secs| stored(id, Duration::from_secs(secs), "stored");
    topic.fill_history(vec![aged(95, 30), aged(94, 70), aged(93, 30), aged(96, 20)]);
    // Nothing below a message that is too old: a history is complete from its oldest message on.
    assert_eq!(history(&topic), [95, 96]);

    let large = "x".repeat(1000);
    let mut config = HubConfig::default().history_bytes(3000);
    config.default = TopicSettings::default().history(9);
    let hub = Hub::new(config);
    let topic = hub.topic("t").expect("there is room");
    topic.place_at(100);
    let stored_at = |id| stored(id, Duration::ZERO, &large);
    topic.fill_history((90..=100).map(stored_at).collect());
    assert_eq!(history(&topic), [99, 100]);
    assert!((2000..=3000).contains(&hub.history_bytes()));
    drop((topic, hub));
}

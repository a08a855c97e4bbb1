//! Presence: members that ask for it receive joins and leaves, and a quick return causes neither.

use standpipe::{Config, HubConfig, Message, SubscribeOptions};

use crate::support::{HubFixture, TestClient, TopicEvent, parse_event, until};

#[track_caller]
fn read_event(client: &mut TestClient) -> TopicEvent {
    parse_event(&client.read_message()).1
}

#[test]
fn presence_reports_joins_and_leaves_but_no_quick_return() {
    // Most of the time goes into waiting until a name without connections is removed, so one flush mode is enough.
    let config = Config::default();
    let fixture = HubFixture::new(config, HubConfig::default());
    let topic = fixture.topic("t");
    let (mut watcher, outbox) = fixture.client();
    let options = SubscribeOptions::new().with_envelope().with_presence();
    let watches = topic.subscribe(outbox, options).unwrap();
    let (mut other, outbox) = fixture.client();
    let listens = topic
        .subscribe(outbox, SubscribeOptions::new().with_envelope())
        .unwrap();

    let (_client, outbox) = fixture.client();
    let named = |name| {
        topic
            .subscribe(outbox.clone(), SubscribeOptions::new().with_name(name))
            .unwrap()
    };
    let ann = named("ann");
    assert_eq!(read_event(&mut watcher), TopicEvent::Join("ann".into()));
    // The user opens a second tab and closes it again.
    drop(named("ann"));
    // The user reloads the page.
    drop(ann);
    fixture.hub.sweep();
    let ann = named("ann");
    fixture.hub.sweep();
    assert_eq!(topic.presence(), ["ann"]);
    let bob = named("bob");
    assert_eq!(topic.presence(), ["ann", "bob"]);
    assert_eq!(
        read_event(&mut watcher),
        TopicEvent::Join("bob".into()),
        "a reload was reported as a leave or join"
    );
    drop(ann);
    until("ann has left", || topic.presence() == ["bob"]);
    assert_eq!(read_event(&mut watcher), TopicEvent::Leave("ann".into()));

    // A member that did not ask for presence has received none of it.
    let id = topic.publish(Message::text("x")).unwrap().id;
    let message = TopicEvent::Message(id, "x".into());
    assert_eq!(
        (read_event(&mut other), read_event(&mut watcher)),
        (message.clone(), message)
    );
    drop(bob);
    until("bob has left", || topic.presence().is_empty());
    drop((topic, watches, listens));
    until("the topic is removed", || fixture.hub.is_empty());
}

//! Who is there: told to those who ask, without flicker.

use standpipe::{Config, HubConfig, Message, SubscribeOptions};

use crate::support::{HubFixture, TestClient, TopicEvent, parse_event, until};

#[track_caller]
fn hear(client: &mut TestClient) -> TopicEvent {
    parse_event(&client.read_message()).1
}

#[test]
fn those_who_ask_hear_who_comes_and_goes_and_a_quick_return_is_neither() {
    // Waiting for the moments that a name outlives its connection takes most of the time: once is enough.
    let config = Config::default();
    let fixture = HubFixture::new(config, HubConfig::default());
    let topic = fixture.topic("t");
    let (mut asks, outbox) = fixture.client();
    let options = SubscribeOptions::new().with_envelope().with_presence();
    let _asks = topic.subscribe(outbox, options).unwrap();
    let (mut silent, outbox) = fixture.client();
    let _silent = topic
        .subscribe(outbox, SubscribeOptions::new().with_envelope())
        .unwrap();

    let (_client, outbox) = fixture.client();
    let named = |name| {
        topic
            .subscribe(outbox.clone(), SubscribeOptions::new().with_name(name))
            .unwrap()
    };
    let ann = named("ann");
    assert_eq!(hear(&mut asks), TopicEvent::Join("ann".into()));
    // A second tab, closed again.
    drop(named("ann"));
    // A reload.
    drop(ann);
    fixture.hub.sweep();
    let ann = named("ann");
    fixture.hub.sweep();
    assert_eq!(topic.presence(), ["ann"]);
    let bob = named("bob");
    assert_eq!(topic.presence(), ["ann", "bob"]);
    assert_eq!(
        hear(&mut asks),
        TopicEvent::Join("bob".into()),
        "ann flickered"
    );
    drop(ann);
    until("ann has left", || {
        fixture.hub.sweep();
        topic.presence() == ["bob"]
    });
    assert_eq!(hear(&mut asks), TopicEvent::Leave("ann".into()));

    // Who did not ask has heard none of it.
    let id = topic.publish(Message::text("x")).unwrap().id;
    let post = TopicEvent::Message(id, "x".into());
    assert_eq!((hear(&mut silent), hear(&mut asks)), (post.clone(), post));
    drop(bob);
    until("bob has left", || {
        fixture.hub.sweep();
        topic.presence().is_empty()
    });
    drop((topic, _asks, _silent));
    until("the topic is gone", || {
        fixture.hub.sweep();
        fixture.hub.is_empty()
    });
}

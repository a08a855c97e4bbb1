//! Who is there: told to those who ask, without flicker.

use standpipe::{Config, HubConfig, Message, SubscribeOptions};

use crate::support::{Heard, Raw, Stage, heard, until};

#[track_caller]
fn hear(client: &mut Raw) -> Heard {
    heard(&client.read_message()).1
}

#[test]
fn those_who_ask_hear_who_comes_and_goes_and_a_quick_return_is_neither() {
    // Waiting for the moments that a name outlives its connection takes most of the time: once is enough.
    let config = Config::default();
    let stage = Stage::new(config, HubConfig::default());
    let topic = stage.topic("t");
    let (mut asks, outbox) = stage.client();
    let how = SubscribeOptions::new().with_envelope().with_presence();
    let _asks = topic.subscribe(outbox, how).unwrap();
    let (mut silent, outbox) = stage.client();
    let _silent = topic
        .subscribe(outbox, SubscribeOptions::new().with_envelope())
        .unwrap();

    let (_client, outbox) = stage.client();
    let named = |name| {
        topic
            .subscribe(outbox.clone(), SubscribeOptions::new().with_name(name))
            .unwrap()
    };
    let ann = named("ann");
    assert_eq!(hear(&mut asks), Heard::Join("ann".into()));
    // A second tab, closed again.
    drop(named("ann"));
    // A reload.
    drop(ann);
    stage.hub.sweep();
    let ann = named("ann");
    stage.hub.sweep();
    assert_eq!(topic.presence(), ["ann"]);
    let bob = named("bob");
    assert_eq!(topic.presence(), ["ann", "bob"]);
    assert_eq!(hear(&mut asks), Heard::Join("bob".into()), "ann flickered");
    drop(ann);
    until("ann has left", || {
        stage.hub.sweep();
        topic.presence() == ["bob"]
    });
    assert_eq!(hear(&mut asks), Heard::Leave("ann".into()));

    // Who did not ask has heard none of it.
    let id = topic.publish(Message::text("x")).unwrap().id;
    let post = Heard::Message(id, "x".into());
    assert_eq!((hear(&mut silent), hear(&mut asks)), (post.clone(), post));
    drop(bob);
    until("bob has left", || {
        stage.hub.sweep();
        topic.presence().is_empty()
    });
    drop((topic, _asks, _silent));
    until("the topic is gone", || {
        stage.hub.sweep();
        stage.hub.is_empty()
    });
}

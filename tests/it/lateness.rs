//! Topics with `max_lateness`: a client that pauses does not read old messages afterwards.

use std::cell::Cell;
use std::time::Duration;

use crossbeam_channel::unbounded;
use standpipe::{
    Config, Connection, Hub, HubConfig, Message, Outbox, Policy, SubscribeOptions, Topic,
    TopicSettings,
};

use crate::support::{Failure, Frame, TestClient, TestServer, op, until};

/// The samples that are published after the client is known to be late.
const SAMPLES: usize = 2000;

fn start(settings: TopicSettings) -> (TestServer, Topic, TestClient, Outbox) {
    let hub = Hub::new(HubConfig::default().topic("*", settings.policy(Policy::Conflate).queue(8)));
    let topic = hub.topic("samples").unwrap();
    let joined = topic.clone();
    let (outboxes, opened) = unbounded();
    let server = TestServer::start(
        Config::default(),
        move |conn: &mut Connection| -> Result<(), Failure> {
            let _member = joined.subscribe(conn.outbox(), SubscribeOptions::new())?;
            outboxes.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        },
    );
    let client = server.connect();
    let outbox = opened.recv().unwrap();
    (server, topic, client, outbox)
}

fn sample(n: usize) -> Message {
    Message::text(format!("{n} {}", ".".repeat(60)))
}

fn number(frame: &Frame) -> usize {
    let text = std::str::from_utf8(&frame.payload).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn client_that_paused_reads_only_fresh_messages() {
    let settings = TopicSettings::default().max_lateness(Duration::from_millis(200));
    let (server, topic, mut client, outbox) = start(settings);
    let published = Cell::new(0);
    let publish = || {
        topic.publish(sample(published.get())).unwrap();
        published.set(published.get() + 1);
    };
    // The client does not read, and so it does not answer the mark.
    until("the member is late", || {
        publish();
        !outbox.is_empty()
    });
    let before = published.get() - 1;
    (0..SAMPLES).for_each(|_| publish());
    assert_eq!(outbox.counts().delivered, before as u64);
    let newest = published.get() - 1;
    let mut received = Vec::new();
    while received.last() != Some(&newest) {
        let frame = client.next_frame();
        match frame.opcode {
            op::PING => client.frame(&Frame::new(op::PONG, &frame.payload)),
            _ => received.push(number(&frame)),
        }
    }
    let expected: Vec<usize> = (0..before).chain([newest]).collect();
    assert_eq!(received, expected);
    // The client is not late any more.
    publish();
    assert_eq!(number(&next_text(&mut client)), newest + 1);
    client.leave();
    drop(server);
}

/// What the test above would see without the setting.
#[test]
fn without_a_bound_the_buffers_hold_old_messages() {
    let (server, topic, mut client, outbox) = start(TopicSettings::default());
    for n in 0..SAMPLES {
        topic.publish(sample(n)).unwrap();
    }
    assert_eq!(outbox.counts().delivered, SAMPLES as u64);
    for n in 0..SAMPLES {
        assert_eq!(number(&next_text(&mut client)), n);
    }
    client.leave();
    drop(server);
}

/// Returns the next message. Answers marks.
fn next_text(client: &mut TestClient) -> Frame {
    loop {
        let frame = client.next_frame();
        match frame.opcode {
            op::PING => client.frame(&Frame::new(op::PONG, &frame.payload)),
            _ => return frame,
        }
    }
}

//! The target `connection`: a connection in memory that receives, sends, publishes and closes, in an order that the
//! input chooses.

use crate::message::Message;

use super::Choices;
use crate::config::Config;
use crate::connection::testing::single_threaded::SingleThreaded;
use crate::hub::{Hub, HubConfig, Policy, SubscribeOptions, TopicSettings};

/// The number of messages that each topic keeps.
const HISTORY: usize = 3;

/// Longer input of the peer may exceed the rate limit for control frames, and the result then depends on the clock.
const MOST_INPUT: usize = 1100;

/// Runs the steps with receives that wait, and again with receives that give up before each piece of the peer's bytes.
/// The received messages must be the same.
pub fn connection(data: &[u8]) {
    let (received, sent) = run(data, SingleThreaded::new);
    let (gave_up, _) = run(data, SingleThreaded::with_short_waits);
    if sent <= MOST_INPUT {
        assert_eq!(received, gave_up);
    }
}

/// Uses two topics. The input chooses their policies and the steps. At the end, `SingleThreaded::end` checks the
/// invariants: all frames are complete, there is at most one Close and nothing after it, and each message has been
/// counted once. Returns the received messages, and the number of bytes that the peer has sent.
fn run(data: &[u8], client: fn(Config) -> SingleThreaded) -> (Vec<Message>, usize) {
    let (mut received, mut sent) = (Vec::new(), 0);
    let mut choices = Choices(data);
    let setup = choices.byte();
    let config = Config::default()
        .queue(4)
        .queue_bytes(2000)
        .max_message(600)
        .early_flush(setup & 1 == 0);
    let mut client = client(config);
    client.accept_per_call(usize::from(setup >> 1));
    let settings = TopicSettings::default().history(HISTORY).queue(4);
    let hub = Hub::new(HubConfig::default().topic("*", settings));
    let policies = [
        Policy::Disconnect { soft: None },
        Policy::DropNewest,
        Policy::DropOldest,
        Policy::Conflate,
    ];
    let topics = ["a", "b"].map(|name| hub.topic(name).expect("the hub has room for two topics"));
    let mut members = Vec::new();
    for _ in 0..200 {
        if choices.is_empty() {
            break;
        }
        let step = choices.byte();
        let argument = choices.byte();
        let message = || match argument & 3 {
            0 => Message::text("x".repeat(usize::from(argument))),
            1 => Message::binary(vec![argument; 700]),
            2 => Message::binary(vec![argument; 17 << 10]),
            _ => Message::text("y"),
        };
        let topic = &topics[usize::from(argument >> 7)];
        match step % 10 {
            0 | 1 => drop(client.outbox().try_send(message())),
            2 => {
                let publication =
                    |message: Message| crate::Publication::from(message).key(&argument.to_string());
                let mut publications = vec![publication(message())];
                if setup & 1 != 0 {
                    // Without early flush, a publish to a full queue waits for the writer, which is the same thread
                    // here. So the queue is written first. Then a small message fits into it for each topic.
                    client.write();
                    publications = vec![publication(Message::text("z"))];
                } else if argument & 4 != 0 {
                    let count = 1 + usize::from(argument >> 3 & 7);
                    publications = vec![publication(message()); count];
                }
                let count = publications.len() as u64;
                let before = topic.last_id();
                let published = topic
                    .publish_all(publications)
                    .expect("no other thread holds the publish token");
                let ids: Vec<u64> = published.iter().map(|published| published.id).collect();
                assert_eq!(ids, (before + 1..=before + count).collect::<Vec<_>>());
                let kept = topic.history(before);
                assert_eq!(kept.len() as u64, count.min(HISTORY as u64));
                assert!(
                    kept.last()
                        .is_some_and(|message| message.id() == topic.last_id())
                );
            }
            3 => {
                topic.set_policy(policies[usize::from(argument & 3)]);
                if members.len() < 2 {
                    let member = topic.subscribe(client.outbox().clone(), SubscribeOptions::new());
                    members.push(member.expect("the topic's queue fits into the client's"));
                }
            }
            4 => {
                let most = usize::from(argument);
                let bytes = choices.bytes(most);
                sent += bytes.len();
                client.peer_sends(bytes, 1 + usize::from(argument >> 4));
            }
            5 if argument & 1 == 0 => received.extend(client.recv_if_sent()),
            5 => {
                let messages = client.recv_all_if_sent(1 + usize::from(argument >> 1));
                assert!(messages.len() <= 1 + usize::from(argument >> 1));
                received.extend(messages);
            }
            6 => client.accept_per_call(usize::from(argument)),
            7 => client.write(),
            8 if argument < 32 => client.outbox().close(1000 + u16::from(argument), "bye"),
            8 if argument < 40 => client.outbox().terminate(),
            8 if argument < 48 => client.outbox().close_now(4100, "kicked"),
            8 => client.ping(),
            _ => drop(members.pop()),
        }
    }
    drop(members);
    client.end();
    (received, sent)
}

//! One or two hubs on one Redis server, and publishers that wait for the outcome of each call.

use std::thread;
use std::time::{Duration, Instant};

use standpipe::redis::{LinkState, Redis, RedisConfig};
use standpipe::{Hub, HubConfig, Message, Policy, Publication, Topic, TopicSettings};

use crate::Failure;
use crate::load::{Load, Measured, SIZE, topic_name};
use crate::member::{Member, QUEUE};
use crate::processor;
use crate::server::{self, RedisServer};

/// How long the hubs may take to connect, and the last messages to arrive.
const SETTLES: Duration = Duration::from_secs(20);

/// Where the members are. All publishers are at the first hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One hub.
    One,
    /// Two hubs; the member is at the second one.
    TwoApart,
    /// Two hubs, with a member at each.
    TwoBoth,
}

/// A hub with its link to the server.
pub(crate) struct Node {
    pub(crate) redis: Redis,
    pub(crate) hub: Hub,
}

impl Node {
    pub(crate) fn start(url: &str, history: usize, topics: usize) -> Result<Node, Failure> {
        // A busy machine delays publishes and heartbeats by more than the default of 500 ms.
        let redis = Redis::start(RedisConfig::new(url).timeout(Duration::from_secs(2)))?;
        // A member that is too slow loses messages, which are counted. Nobody waits for it.
        let settings = TopicSettings::default()
            .policy(Policy::DropNewest)
            .queue(QUEUE)
            .history(history);
        let config = HubConfig::default()
            .default_settings(settings)
            .max_topics(topics.max(1))
            .redis(&redis);
        let node = Node {
            redis,
            hub: Hub::new(config),
        };
        node.wait_until_up()?;
        Ok(node)
    }

    pub(crate) fn is_up(&self) -> bool {
        let links = self.redis.links();
        !links.is_empty() && links.iter().all(|link| link.state == LinkState::Up)
    }

    pub(crate) fn wait_until_up(&self) -> Result<(), Failure> {
        until("the hub to be connected", || self.is_up())
    }

    pub(crate) fn topics(&self, count: usize) -> Result<Vec<Topic>, Failure> {
        let topic = |index| Ok(self.hub.topic(&topic_name(index))?);
        (0..count).map(topic).collect()
    }
}

/// Waits until `holds` returns true, up to [`SETTLES`].
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + SETTLES;
    while !holds() {
        if Instant::now() > deadline {
            Err(format!("waited {SETTLES:?} for {what}"))?;
        }
        // There is no event for a figure that changes.
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

pub(crate) fn run(
    server: &RedisServer,
    layout: Layout,
    load: &Load,
    inspect: impl FnOnce(),
) -> Result<Measured, Failure> {
    // The keys of one measurement must not slow the next.
    server.command(&["FLUSHALL"]);
    let count = if layout == Layout::One { 1 } else { 2 };
    let start = |_| Node::start(&server.url(), load.history, load.topics);
    let nodes: Vec<Node> = (0..count).map(start).collect::<Result<_, _>>()?;
    let mut members = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        if layout != Layout::TwoApart || index == 1 {
            members.push(Member::start(&node.hub, &node.topics(load.topics)?)?);
        }
    }
    let topics = nodes[0].topics(load.topics)?;
    let (redis, program) = (server::processor(server)?, processor::of_program()?);
    let began = Instant::now();
    let messages = publish(&topics, load)?;
    let received = || members.iter().map(Member::received).min().unwrap_or(0);
    let dropped = || -> u64 {
        let topics = nodes.iter().map(|node| node.topics(load.topics));
        topics
            .flatten()
            .flatten()
            .map(|topic| topic.counts().dropped)
            .sum()
    };
    until("the last messages", || received() + dropped() >= messages)?;
    let measured = Measured {
        messages,
        took: began.elapsed(),
        dropped: dropped(),
        redis: server::processor(server)? - redis,
        program: processor::of_program()? - program,
    };
    inspect();
    drop(topics);
    for member in members {
        member.stop()?;
    }
    for node in nodes {
        node.redis.shutdown();
    }
    Ok(measured)
}

/// Publishes for [`Load::duration`], and returns how many messages were published. Every call waits for its outcome.
pub(crate) fn publish(topics: &[Topic], load: &Load) -> Result<u64, Failure> {
    let message = Message::text("x".repeat(SIZE));
    let deadline = Instant::now() + load.duration;
    thread::scope(|scope| {
        let publisher = |number: usize| {
            let message = &message;
            let publish = move || -> Result<u64, Failure> {
                let mut batches = 0;
                while Instant::now() < deadline {
                    let batch = vec![Publication::from(message.clone()); load.together];
                    let topic = &topics[load.topic(number, batches)];
                    let outcomes = topic
                        .publish_all(batch)
                        .map_err(|error| error.to_string())?;
                    if outcomes.len() != load.together {
                        return Err("an outcome is missing".into());
                    }
                    batches += 1;
                }
                Ok((batches * load.together) as u64)
            };
            thread::Builder::new()
                .name(format!("publisher-{number}"))
                .spawn_scoped(scope, publish)
        };
        let publishers = (0..load.publishers)
            .map(publisher)
            .collect::<Result<Vec<_>, _>>()?;
        let join = |publisher: thread::ScopedJoinHandle<'_, Result<u64, Failure>>| {
            publisher.join().map_err(|_| "a publisher panicked")?
        };
        publishers.into_iter().map(join).sum()
    })
}

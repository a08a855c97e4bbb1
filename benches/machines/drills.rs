//! Faults and slowness between hubs and their Redis server: the time to rejoin many topics, an output buffer that is too
//! small, a long line. Messages are counted exactly; times are printed, and not checked.

use std::thread;
use std::time::{Duration, Instant};

use standpipe::redis::LinkCounts;
use standpipe::{Message, Topic};

use crate::Failure;
use crate::delay::SlowLink;
use crate::hubs::{Node, publish, until};
use crate::load::{Load, SIZE};
use crate::member::Member;
use crate::server;

/// Counts checks, and prints each of them.
#[derive(Default)]
struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    fn check(&mut self, what: &str, holds: bool, detail: impl AsRef<str>) {
        let verdict = if holds { "ok    " } else { "FAILED" };
        println!("  {verdict} {what}: {}", detail.as_ref());
        if holds {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }
}

type Drill = fn(&mut Report) -> Result<(), Failure>;

const DRILLS: [(&str, Drill); 3] = [
    ("rejoin", rejoin),
    ("small-buffer", small_buffer),
    ("slow-link", slow_link),
];

/// Runs the drills with these names, or all.
pub(crate) fn run(names: &[&str]) -> Result<(), Failure> {
    let mut report = Report::default();
    for (name, drill) in DRILLS {
        if names.is_empty() || names.contains(&name) {
            println!("{name}");
            drill(&mut report)?;
        }
    }
    println!("{} passed, {} failed", report.passed, report.failed);
    if report.failed > 0 {
        Err("a check failed")?;
    }
    Ok(())
}

const TOPICS: usize = 10_000;

/// How many of the topics get a message while the hub is away.
const MISSED: usize = 1_000;

/// How long a hub that has lost its connections takes to be back in 10,000 topics.
fn rejoin(report: &mut Report) -> Result<(), Failure> {
    let mut server = server::start()?;
    let near = Node::start(&server.url(), 8, TOPICS)?;
    let far = Node::start(&server.url(), 8, TOPICS)?;
    let began = Instant::now();
    let member = Member::start(&near.hub, &near.topics(TOPICS)?)?;
    println!(
        "  subscribed to {TOPICS} topics one by one in {:.2?}",
        began.elapsed()
    );
    let topics = far.topics(TOPICS)?;
    let mut expected = 0;

    let began = Instant::now();
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    // These reach the server while the hub of the member has no subscription.
    expected += publish_one_each(&topics[..MISSED])?;
    until("the hub to see that its connection is lost", || {
        counts(&near).links_lost == 1
    })?;
    near.wait_until_up()?;
    println!(
        "  subscriber connection killed: up again after {:.2?}",
        began.elapsed()
    );
    expected += publish_one_each(&topics)?;
    let arrived = until("the messages", || member.received() >= expected);
    report.check(
        "connection killed: every message arrives, also those published meanwhile",
        arrived.is_ok() && member.received() == expected,
        format!(
            "{} of {expected}, {} from the histories",
            member.received(),
            counts(&near).caught_up
        ),
    );

    let began = Instant::now();
    server.restart();
    until("both hubs to be connected again", || {
        counts(&near).links_lost == 2 && near.is_up() && far.is_up()
    })?;
    println!(
        "  server restarted empty: up again after {:.2?}",
        began.elapsed()
    );
    expected += publish_one_each(&topics)?;
    let arrived = until("the messages", || member.received() >= expected);
    report.check(
        "server restarted: every later message arrives",
        arrived.is_ok() && member.received() == expected,
        format!("{} of {expected}", member.received()),
    );
    drop(topics);
    member.stop()?;
    near.redis.shutdown();
    far.redis.shutdown();
    Ok(())
}

/// Publishes one message to each topic, with eight threads. Returns how many.
fn publish_one_each(topics: &[Topic]) -> Result<u64, Failure> {
    thread::scope(|scope| {
        let publish = |topics: &[Topic]| -> Result<(), Failure> {
            for topic in topics {
                topic
                    .publish(Message::text("x".repeat(SIZE)))
                    .map_err(|error| error.to_string())?;
            }
            Ok(())
        };
        let publishers: Vec<_> = topics
            .chunks(topics.len().div_ceil(8))
            .map(|topics| scope.spawn(move || publish(topics)))
            .collect();
        for publisher in publishers {
            publisher.join().map_err(|_| "a publisher panicked")??;
        }
        Ok(topics.len() as u64)
    })
}

/// The server disconnects hubs that are a little behind, again and again, while much is published.
fn small_buffer(report: &mut Report) -> Result<(), Failure> {
    const HISTORY: usize = 200_000;
    let server = server::start()?;
    let near = Node::start(&server.url(), HISTORY, 1)?;
    let far = Node::start(&server.url(), HISTORY, 1)?;
    let members = [&near, &far].map(|node| Member::start(&node.hub, &node.topics(1)?));
    let [near_member, far_member] = members;
    let (near_member, far_member) = (near_member?, far_member?);
    let load = Load {
        publishers: 16,
        together: 16,
        topics: 1,
        history: HISTORY,
        duration: Duration::from_millis(500),
    };
    let limit = |value: &str| {
        server.command(&["CONFIG", "SET", "client-output-buffer-limit", value]);
    };
    let mut published = 0;
    let began = Instant::now();
    limit("pubsub 8kb 0 0");
    published += publish(&near.topics(1)?, &load)?;
    limit("pubsub 256mb 64mb 60");
    let cuts = counts(&near).links_lost + counts(&far).links_lost;
    until("both hubs to be connected", || near.is_up() && far.is_up())?;
    published += publish(&near.topics(1)?, &load)?;
    let arrived = until("the messages", || {
        near_member.received() >= published && far_member.received() >= published
    });
    println!("  {published} messages in {:.1?}", began.elapsed());
    report.check(
        "the server has cut hubs off",
        cuts > 0,
        format!("{cuts} times"),
    );
    let (near_counts, far_counts) = (counts(&near), counts(&far));
    report.check(
        "every message has reached every member once",
        arrived.is_ok()
            && near_member.received() == published
            && far_member.received() == published,
        format!(
            "{} and {} of {published}; {} and {} from the history, {} and {} gaps",
            near_member.received(),
            far_member.received(),
            near_counts.caught_up,
            far_counts.caught_up,
            near_counts.gaps,
            far_counts.gaps
        ),
    );
    near_member.stop()?;
    far_member.stop()?;
    near.redis.shutdown();
    far.redis.shutdown();
    Ok(())
}

/// One hub is near the server, the other one 50 ms away.
fn slow_link(report: &mut Report) -> Result<(), Failure> {
    const ROUND_TRIP: Duration = Duration::from_millis(50);
    let server = server::start()?;
    let slow = SlowLink::start(server.port(), ROUND_TRIP / 2)?;
    let near = Node::start(&server.url(), 128, 1)?;
    let far = Node::start(&slow.url(), 128, 1)?;
    let near_member = Member::start(&near.hub, &near.topics(1)?)?;
    let far_member = Member::start(&far.hub, &far.topics(1)?)?;
    let mut published = 0;
    for (name, node) in [("near", &near), ("far", &far)] {
        let topic = &node.topics(1)?[0];
        let mut times = Vec::new();
        for _ in 0..40 {
            let began = Instant::now();
            topic
                .publish(Message::text("x".repeat(SIZE)))
                .map_err(|error| error.to_string())?;
            times.push(began.elapsed());
            published += 1;
        }
        times.sort();
        println!(
            "  {name} hub, one message at a time: p50 {:.1?}, max {:.1?}",
            times[20], times[39]
        );
    }
    for (name, node) in [("near", &near), ("far", &far)] {
        let load = Load {
            publishers: 16,
            together: 16,
            topics: 1,
            history: 128,
            duration: Duration::from_secs(1),
        };
        let count = publish(&node.topics(1)?, &load)?;
        published += count;
        println!("  {name} hub, 16 publishers x 16 together: {count} messages/s");
    }
    let arrived = until("the messages", || {
        near_member.received() >= published && far_member.received() >= published
    });
    report.check(
        "every message has reached every member once",
        arrived.is_ok()
            && near_member.received() == published
            && far_member.received() == published,
        format!(
            "{} and {} of {published}",
            near_member.received(),
            far_member.received()
        ),
    );
    let far_counts = counts(&far);
    report.check(
        "the far hub was never isolated",
        far_counts.isolated == 0 && far_counts.links_lost == 0,
        format!(
            "{} times; its connection was lost {} times",
            far_counts.isolated, far_counts.links_lost
        ),
    );
    near_member.stop()?;
    far_member.stop()?;
    near.redis.shutdown();
    far.redis.shutdown();
    Ok(())
}

fn counts(node: &Node) -> LinkCounts {
    node.redis.links()[0].counts
}

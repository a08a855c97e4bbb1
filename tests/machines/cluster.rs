//! [`Cluster`]: three hubs, 30 members and a roaming one, three publishers, and the Redis server that connects them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use serde_json::json;

use crate::client::{JsonClient, Nodes, Random};
use crate::hub_process::HubProcess;
use crate::judge::judge;
use crate::log::{MemberLog, Outcome, Published};
use crate::member::{END, Member, Roaming, Seen};
use crate::proxy::Proxy;
use crate::publisher::Publisher;
use crate::redis_server::{RedisServer, key_file};
use crate::report::{Report, delays};
use crate::wait::{DEADLINE, until};

const HUBS: usize = 3;

const MEMBERS_PER_HUB: usize = 10;

/// Topics with `-kept` have a history. In the last one, what a broken connection loses is a gap.
pub(crate) const TOPICS: [&str; 3] = ["alpha-kept", "beta-kept", "gamma"];

/// What a scene needs.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// The value of `--redis-lost`.
    pub(crate) lost: &'static str,
    /// The value of `--redis-timeout`.
    pub(crate) timeout: &'static str,
    /// How many messages the topics with a history keep.
    pub(crate) history: usize,
    /// How long the publishing takes.
    pub(crate) traffic: Duration,
    /// A second Redis server follows the first one. The hubs may use either.
    pub(crate) has_replica: bool,
    /// The first hub reaches Redis through a proxy.
    pub(crate) has_proxy: bool,
    /// The hubs use TLS. `STANDPIPE_TEST_REDIS_TLS=1` sets this for all scenes.
    pub(crate) has_tls: bool,
    /// Only clients of the first hub publish.
    pub(crate) has_one_publisher: bool,
    /// How often the roaming client moves, if the time suffices.
    pub(crate) moves: usize,
    /// The roaming client completes its moves, however long they take.
    pub(crate) completes_moves: bool,
}

impl Setup {
    pub(crate) fn new(name: &'static str, seconds: f64) -> Setup {
        Setup {
            name,
            lost: "local",
            timeout: "500ms",
            history: 1_000,
            traffic: Duration::from_secs_f64(seconds),
            has_replica: false,
            has_proxy: false,
            has_tls: cfg!(feature = "tls")
                && std::env::var_os("STANDPIPE_TEST_REDIS_TLS").is_some(),
            has_one_publisher: false,
            moves: 200,
            completes_moves: false,
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) hubs: Vec<HubProcess>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) replica: Option<RedisServer>,
    pub(crate) redis: RedisServer,
    nodes: Arc<Nodes>,
    /// What the scene itself has published.
    extra: Vec<Published>,
}

/// How many messages a scene publishes. The debug build is too slow for all of them.
fn messages() -> usize {
    let messages = std::env::var("STANDPIPE_MESSAGES").ok();
    let messages = messages.and_then(|text| text.parse().ok());
    messages.unwrap_or(if cfg!(debug_assertions) {
        5_000
    } else {
        20_000
    })
}

impl Cluster {
    /// Starts everything, calls `disturb` after a fifth of the messages, waits until every member has seen the end, and
    /// judges the logs. Returns `None` if Redis is not installed.
    #[track_caller]
    pub(crate) fn run(
        setup: &Setup,
        seed: u64,
        disturb: impl FnOnce(&mut Cluster),
    ) -> Option<Report> {
        let mut cluster = Cluster::start(setup)?;
        let (members, joined) = cluster.subscribe(setup, seed);
        for _ in &members {
            joined
                .recv_timeout(DEADLINE)
                .expect("every member joins its topics within 20 s");
        }
        let publishers = cluster.publish(setup, seed);
        let some = messages() / 5;
        until("a fifth of the messages is published", DEADLINE, || {
            cluster.nodes.published.load(Ordering::SeqCst) >= some
        });
        disturb(&mut cluster);

        let mut published = Vec::new();
        for publisher in publishers {
            let of_one = publisher.join();
            published.extend(
                of_one.unwrap_or_else(|_| panic!("a publisher failed: {}", cluster.hub_logs())),
            );
        }
        cluster.nodes.is_quiet.store(true, Ordering::SeqCst);
        published.append(&mut cluster.extra);
        let messages = published.len();
        let (seen, ends) = cluster.end(members);
        published.extend(ends);
        let unended: Vec<String> = seen
            .iter()
            .filter(|seen| !seen.unended.is_empty())
            .map(|seen| format!("{} in {:?}", seen.logs[0].member, seen.unended))
            .collect();
        assert!(
            unended.is_empty(),
            "{}: these members have not seen the end: {unended:?}\n{}",
            setup.name,
            cluster.hub_logs()
        );
        let figure = "standpipe_redis_local_messages_total";
        let local = cluster
            .hubs
            .iter()
            .filter_map(|hub| hub.figure(figure))
            .sum();
        let moves = seen.iter().map(|seen| seen.moves).sum();
        let logs: Vec<MemberLog> = seen.into_iter().flat_map(|seen| seen.logs).collect();
        let verdict = judge(&logs, &published);
        Some(Report {
            delays: delays(&logs, &published),
            verdict,
            messages,
            local,
            moves,
            hub_logs: cluster.hub_logs(),
            logs,
            published,
        })
    }

    fn start(setup: &Setup) -> Option<Cluster> {
        let start = || match setup.has_tls {
            true => RedisServer::start_with_tls(),
            false => RedisServer::start(),
        };
        let port = |server: &RedisServer| match setup.has_tls {
            true => server.tls_port(),
            false => server.port(),
        };
        let url = |port: u16| match setup.has_tls {
            true => format!("rediss://127.0.0.1:{port}"),
            false => format!("redis://127.0.0.1:{port}"),
        };
        let redis = start()?;
        let replica = match setup.has_replica {
            true => {
                let replica = start()?;
                replica.follow(redis.port());
                Some(replica)
            }
            false => None,
        };
        let proxy = setup.has_proxy.then(|| Proxy::start(port(&redis)));
        let candidates = match &replica {
            Some(replica) => format!("{},{}", url(port(&redis)), url(port(replica))),
            None => url(port(&redis)),
        };
        let authority = key_file("ca.pem");
        let authorities = match setup.has_tls {
            true => vec!["--redis-ca", authority.as_str()],
            false => Vec::new(),
        };
        let hubs: Vec<HubProcess> = (0..HUBS)
            .map(|node| {
                let url = match (&proxy, node) {
                    (Some(proxy), 0) => url(proxy.port()),
                    _ => candidates.clone(),
                };
                let history = format!("*-kept:history={},queue=30000", setup.history);
                let flags = ["--redis-lost", setup.lost, "--redis-timeout", setup.timeout];
                let topics = ["--topic", &history, "--topic", "*:queue=30000"];
                HubProcess::start(&url, &[&flags[..], &topics, &authorities].concat())
            })
            .collect();
        for hub in &hubs {
            hub.wait_until_up();
        }
        let nodes = Nodes::new(hubs.iter().map(|hub| hub.address).collect());
        Some(Cluster {
            hubs,
            proxy,
            replica,
            redis,
            nodes: Arc::new(nodes),
            extra: Vec::new(),
        })
    }

    /// Starts the members. The channel has one message for each that has joined.
    fn subscribe(&self, setup: &Setup, seed: u64) -> (Vec<JoinHandle<Seen>>, Receiver<()>) {
        let (joined, joining) = bounded(HUBS * MEMBERS_PER_HUB + 1);
        let member = |name: &str, node, topics: &[&str]| {
            Member::new(name, Arc::clone(&self.nodes), node, topics, joined.clone())
        };
        let mut members = Vec::new();
        for node in 0..HUBS {
            for number in 0..MEMBERS_PER_HUB {
                let topic = TOPICS[number % TOPICS.len()];
                members.push(member(&format!("{node}.{number}"), node, &[topic]));
            }
        }
        members.push(member("roaming", 0, &TOPICS).roams(Roaming {
            moves: 0,
            most: setup.moves,
            completes: setup.completes_moves,
            stay: setup.traffic / 250,
            random: Random::new(seed),
        }));
        let members = members.into_iter();
        let threads = members.map(|member| std::thread::spawn(move || member.run()));
        (threads.collect(), joining)
    }

    fn publish(&self, setup: &Setup, seed: u64) -> Vec<JoinHandle<Vec<Published>>> {
        let count = if setup.has_one_publisher { 1 } else { HUBS };
        let publishers = (0..count).map(|node| Publisher {
            number: node,
            nodes: Arc::clone(&self.nodes),
            node,
            topics: &TOPICS,
            messages: messages() * (node + 1) / count - messages() * node / count,
            traffic: setup.traffic,
            random: Random::new(seed.wrapping_mul(31).wrapping_add(node as u64 + 1)),
        });
        publishers
            .map(|publisher| std::thread::spawn(move || publisher.run()))
            .collect()
    }

    /// Publishes last messages until every member has one of each of its topics. Returns what the members have seen, and
    /// those messages.
    fn end(&mut self, members: Vec<JoinHandle<Seen>>) -> (Vec<Seen>, Vec<Published>) {
        let living: Vec<usize> = (0..HUBS)
            .filter(|node| self.hubs[*node].is_running())
            .collect();
        assert!(!living.is_empty(), "no hub is running: {}", self.hub_logs());
        for node in &living {
            let hub = &self.hubs[*node];
            let deadline = Instant::now() + DEADLINE;
            while !hub.is_up() && Instant::now() < deadline {
                // This cannot be an event: the state of another process notifies no thread.
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(
                hub.is_up(),
                "hub {node} is not connected again after 20 s: {}",
                self.hub_logs()
            );
        }
        let node = living[0];
        let mut ends = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        while members.iter().any(|member| !member.is_finished()) && Instant::now() < deadline {
            let Ok(mut client) = JsonClient::connect(&self.nodes, node) else {
                break;
            };
            for topic in TOPICS {
                let payload = format!("{END}{}", ends.len());
                let _ = client.send(json!({"pub": topic, "data": payload}).to_string());
                ends.push(Published {
                    payload,
                    topic: topic.to_owned(),
                    node,
                    batch: 0,
                    sent: Instant::now(),
                    // Nobody waits for its answer, and members that have ended do not get it.
                    outcome: Outcome::Unknown,
                });
            }
            let _ = client.idle_until(Instant::now() + Duration::from_millis(100));
        }
        let has_ended = members.iter().all(JoinHandle::is_finished);
        // Ends the members that wait for something that does not come.
        self.nodes.has_failed.store(!has_ended, Ordering::SeqCst);
        let seen = members
            .into_iter()
            .map(|member| member.join().expect("a member does not panic"))
            .collect();
        (seen, ends)
    }

    /// Kills a hub. Its clients go to another one.
    pub(crate) fn kill_hub(&mut self, node: usize) {
        self.nodes.set_dead(node);
        self.hubs[node].kill();
    }

    /// Publishes over HTTP, and adds the message to those that are judged. Returns the status of the answer.
    pub(crate) fn publish_over_http(&mut self, node: usize, topic: &str) -> u16 {
        let payload = format!("http-{}", self.extra.len());
        let sent = Instant::now();
        let answer = self.hubs[node].request(&format!("POST /publish/{topic}"), &payload);
        let id = serde_json::from_str::<serde_json::Value>(&answer.body)
            .ok()
            .and_then(|body| body["id"].as_u64());
        let outcome = match (answer.status, id) {
            (200..=299, Some(id)) => Outcome::Acked(id),
            (503, _) => Outcome::Refused,
            (504, _) => Outcome::Unknown,
            _ => panic!("POST /publish: {answer:?}"),
        };
        self.extra.push(Published {
            payload,
            topic: topic.to_owned(),
            node,
            // No batch of a publisher reaches this number.
            batch: usize::MAX - self.extra.len(),
            sent,
            outcome,
        });
        answer.status
    }

    fn hub_logs(&self) -> String {
        let mut text = String::new();
        for (node, hub) in self.hubs.iter().enumerate() {
            let log = hub.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(30)..];
            text.push_str(&format!("-- the log of hub {node}:\n{}\n", last.join("\n")));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // So that the clients of a failed scene end.
        self.nodes.has_failed.store(true, Ordering::SeqCst);
    }
}

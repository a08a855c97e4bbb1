//! The scenes: a cluster in full traffic meets a fault, and then the judge reads all logs.
//!
//! Each scene runs once. `STANDPIPE_ROUNDS=32 cargo test --release --test machines scenes` repeats each of them, because
//! some faults of a design show in few of many rounds. src/DRILLS.md has the results.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::cluster::{Cluster, Setup};
use crate::hub_process::HubProcess;
use crate::report::{Report, Summary, print};
use crate::wait::{DEADLINE, let_time_pass, until};
use crate::{garbage, one_at_a_time};

/// Runs the rounds of a scene, and prints its line. `check` gets the report of each round.
#[track_caller]
fn scene(setup: &Setup, disturb: impl Fn(&mut Cluster), check: impl Fn(&Report)) {
    let _one_at_a_time = one_at_a_time();
    let rounds = std::env::var("STANDPIPE_ROUNDS").ok();
    let rounds = rounds.and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut summary = Summary::default();
    for round in 0..rounds {
        let Some(report) = Cluster::run(setup, round + 1, &disturb) else {
            return;
        };
        summary.add(&report);
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let violations = report.verdict.first_violations();
            assert!(
                violations.is_empty(),
                "round {round} of {}:\n{violations}",
                setup.name
            );
            check(&report);
        }));
        if let Err(panic) = checked {
            // Now, because the test runner shows the panic only after the last test.
            print(&format!("{}: {summary}", setup.name));
            print(report.verdict.first_violations().trim_end());
            report.write_logs(setup.name);
            resume_unwind(panic);
        }
    }
    print(&format!("{}: {summary}", setup.name));
}

/// Without this check, a cluster that delivers nothing and tells gaps would pass.
fn most_arrived(report: &Report) {
    let verdict = &report.verdict;
    // Each publisher has one batch of up to 16 in flight, once for each lost connection.
    assert!(verdict.in_doubt <= 5 * 3 * 16, "{verdict:?}");
    assert!(
        verdict.missed_at_home * 4 < verdict.expected_at_home,
        "{} of {} messages are in gaps on the node of their publisher",
        verdict.missed_at_home,
        verdict.expected_at_home
    );
}

/// What a client or a node has missed is read from the history.
fn no_gap_with_a_history(report: &Report) {
    let topics = &report.verdict.topics_with_gaps;
    let with_history = topics.iter().filter(|topic| topic.ends_with("-kept"));
    assert_eq!(with_history.count(), 0, "gaps in {topics:?}");
}

/// A node was without Redis, and behaved as `--redis-lost` says.
fn was_alone(setup: &Setup, report: &Report) {
    let (refused, local) = (report.verdict.refused, report.local);
    match setup.lost {
        "refuse" => assert!(
            refused > 0 && local == 0.0,
            "{refused} refused, {local} local"
        ),
        // On a busy machine, one batch may wait at a connection that is cut a moment before the other one. When its time is
        // over, the node does not know yet that it is alone.
        _ => assert!(
            refused < 100 && local > 0.0,
            "{refused} refused, {local} local"
        ),
    }
}

/// The fault is shorter than `--redis-timeout`, and nothing in Redis was lost.
fn nothing_was_lost(report: &Report) {
    let verdict = &report.verdict;
    assert_eq!(
        (report.local, verdict.gaps),
        (0.0, 0),
        "local messages, gaps"
    );
    // The last messages have no answer that anybody waits for.
    assert_eq!(
        (verdict.refused, verdict.lost),
        (0, 0),
        "refused and lost publishes"
    );
    assert_eq!(verdict.in_doubt, 0, "messages in doubt");
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn calm_traffic_arrives_once_and_in_order() {
    let setup = Setup {
        timeout: "2s",
        history: 10_000,
        ..Setup::new("calm", 3.0)
    };
    scene(&setup, |_| {}, nothing_was_lost);
}

#[cfg(feature = "tls")]
#[test]
fn calm_traffic_over_tls_arrives_once_and_in_order() {
    let setup = Setup {
        timeout: "2s",
        history: 10_000,
        has_tls: true,
        ..Setup::new("calm, over TLS", 3.0)
    };
    scene(&setup, |_| {}, nothing_was_lost);
}

#[test]
fn client_roams_two_hundred_times() {
    let setup = Setup {
        timeout: "2s",
        history: 10_000,
        completes_moves: true,
        ..Setup::new("200 moves of a client", 4.0)
    };
    scene(
        &setup,
        |_| {},
        |report| {
            nothing_was_lost(report);
            assert!(report.moves >= 200, "{} moves", report.moves);
        },
    );
}

#[test]
fn engine_is_killed_and_back_later() {
    killed(&Setup::new("engine killed for 1.5 s", 4.0));
}

#[test]
fn engine_is_killed_and_publishes_are_refused() {
    killed(&Setup {
        lost: "refuse",
        ..Setup::new("engine killed for 1.5 s, refuse", 4.0)
    });
}

fn killed(setup: &Setup) {
    let kill = |cluster: &mut Cluster| {
        cluster.redis.kill();
        let_time_pass(seconds(1.5));
        cluster.redis.restart();
    };
    scene(setup, kill, |report| {
        most_arrived(report);
        // The scene has happened.
        let verdict = &report.verdict;
        assert!(verdict.gaps > 0, "{verdict:?}");
        was_alone(setup, report);
    });
}

#[cfg(feature = "tls")]
#[test]
fn engine_with_tls_is_killed_and_back_later() {
    killed(&Setup {
        has_tls: true,
        ..Setup::new("engine with TLS killed for 1.5 s", 4.0)
    });
}

#[test]
fn engine_is_killed_and_restarted_immediately() {
    let restart = |cluster: &mut Cluster| cluster.redis.restart();
    scene(
        &Setup::new("engine restarted immediately", 3.0),
        restart,
        most_arrived,
    );
}

#[test]
fn engine_is_frozen_for_a_moment() {
    let setup = Setup {
        timeout: "1s",
        history: 10_000,
        ..Setup::new("engine frozen for 0.3 s", 3.0)
    };
    let freeze = |cluster: &mut Cluster| {
        cluster.redis.freeze();
        let_time_pass(seconds(0.3));
        cluster.redis.thaw();
    };
    scene(&setup, freeze, nothing_was_lost);
}

/// `--redis-timeout` is 500 ms, so a publish waits for 500 ms once, and then the node knows that it is alone.
#[test]
fn engine_is_frozen_and_local_delivery_goes_on() {
    let setup = Setup::new("engine frozen for 5 s", 7.5);
    scene(
        &setup,
        |cluster| freeze(cluster, 5.0),
        |report| {
            most_arrived(report);
            assert!(report.local > 0.0, "{:?}", report.verdict);
            for (node, delays) in &report.delays {
                print(&format!(
                    "local delivery through a freeze of 5 s, node {node}: {delays}"
                ));
            }
            for (node, delays) in &report.delays {
                assert!(delays.long_batches <= 1, "node {node}: {delays}");
            }
        },
    );
}

fn freeze(cluster: &Cluster, time: f64) {
    cluster.redis.freeze();
    let_time_pass(seconds(time));
    cluster.redis.thaw();
}

/// No client makes the other hubs assign ids meanwhile. So a late publish that the server carried out when it goes on would
/// reach their members.
#[test]
fn frozen_engine_carries_out_no_late_publish() {
    let setup = Setup {
        has_one_publisher: true,
        moves: 0,
        ..Setup::new("engine frozen for 1 s, one publishing hub", 3.0)
    };
    scene(
        &setup,
        |cluster| freeze(cluster, 1.0),
        |report| {
            most_arrived(report);
            was_alone(&setup, report);
        },
    );
}

#[test]
fn engine_is_frozen_and_publishes_are_refused() {
    let setup = Setup {
        lost: "refuse",
        ..Setup::new("engine frozen for 5 s, refuse", 7.5)
    };
    let frozen = |cluster: &mut Cluster| {
        cluster.redis.freeze();
        // The server takes this one from the kernel when it thaws, and must not carry it out then.
        let status = cluster.publish_over_http(0, "alpha-kept");
        assert!(
            [503, 504].contains(&status),
            "{status} while the engine is frozen"
        );
        for node in 0..cluster.hubs.len() {
            until("the hub is not ready", DEADLINE, || {
                cluster.hubs[node].get("/readyz").status == 503
            });
            assert_eq!(cluster.publish_over_http(node, "alpha-kept"), 503);
        }
        let_time_pass(seconds(4.0));
        cluster.redis.thaw();
    };
    scene(&setup, frozen, |report| {
        was_alone(&setup, report);
    });
}

#[test]
fn stale_replica_takes_over() {
    failover(&Setup {
        has_replica: true,
        ..Setup::new("failover to a stale replica", 3.0)
    });
}

#[test]
fn stale_replica_takes_over_and_publishes_are_refused() {
    failover(&Setup {
        has_replica: true,
        lost: "refuse",
        ..Setup::new("failover to a stale replica, refuse", 3.0)
    });
}

fn failover(setup: &Setup) {
    let fail = |cluster: &mut Cluster| {
        let replica = cluster.replica.as_ref().expect("the setup has a replica");
        // It follows nobody from now on, and keeps what it has.
        replica.command(&["REPLICAOF", "127.0.0.1", "1"]);
        let_time_pass(seconds(0.3));
        cluster.redis.kill();
        let replica = cluster.replica.as_ref().expect("the setup has a replica");
        replica.promote();
    };
    scene(setup, fail, |report| {
        most_arrived(report);
        assert!(report.verdict.gaps > 0, "{:?}", report.verdict);
    });
}

/// A master that becomes a replica keeps its connections, and answers `READONLY`.
#[test]
fn replica_takes_over_and_back() {
    let setup = Setup {
        has_replica: true,
        ..Setup::new("failover and failback", 4.5)
    };
    let fail = |cluster: &mut Cluster| {
        let replica = cluster.replica.as_ref().expect("the setup has a replica");
        replica.promote();
        cluster.redis.follow(replica.port());
        let_time_pass(seconds(1.6));
        cluster.redis.promote();
        replica.follow(cluster.redis.port());
    };
    scene(&setup, fail, most_arrived);
}

#[test]
fn subscriber_connections_are_killed() {
    kill_connections("subscriber connections killed 5 times", "pubsub");
}

#[test]
fn other_connections_are_killed() {
    kill_connections("other connections killed 5 times", "normal");
}

fn kill_connections(name: &'static str, kind: &str) {
    let setup = Setup {
        timeout: "2s",
        history: 10_000,
        ..Setup::new(name, 3.0)
    };
    let kill = |cluster: &mut Cluster| {
        for _ in 0..5 {
            cluster.redis.command(&["CLIENT", "KILL", "TYPE", kind]);
            let_time_pass(seconds(0.2));
        }
    };
    scene(&setup, kill, |report| {
        most_arrived(report);
        // A publish that was in flight is local if the topic has no history that could tell what has become of it.
        no_gap_with_a_history(report);
    });
}

#[test]
fn hub_is_killed() {
    let kill = |cluster: &mut Cluster| cluster.kill_hub(2);
    scene(&Setup::new("hub killed", 3.0), kill, most_arrived);
}

#[test]
fn node_is_cut_off_and_old_bytes_come_later() {
    cut_off(&Setup {
        has_proxy: true,
        ..Setup::new("a node cut off for 2 s", 4.5)
    });
}

#[cfg(feature = "tls")]
#[test]
fn node_with_tls_is_cut_off_and_old_bytes_come_later() {
    cut_off(&Setup {
        has_proxy: true,
        has_tls: true,
        ..Setup::new("a node with TLS cut off for 2 s", 4.5)
    });
}

#[test]
fn node_is_cut_off_and_publishes_are_refused() {
    cut_off(&Setup {
        has_proxy: true,
        lost: "refuse",
        ..Setup::new("a node cut off for 2 s, refuse", 4.5)
    });
}

fn cut_off(setup: &Setup) {
    let cut = |cluster: &mut Cluster| {
        let proxy = cluster.proxy.as_ref().expect("the setup has a proxy");
        proxy.cut();
        let_time_pass(seconds(2.0));
        proxy.join();
    };
    scene(setup, cut, |report| {
        most_arrived(report);
        let verdict = &report.verdict;
        assert!(verdict.gaps > 0, "{verdict:?}");
        was_alone(setup, report);
    });
}

#[test]
fn garbage_on_every_channel_harms_nobody() {
    let setup = Setup {
        timeout: "2s",
        history: 10_000,
        ..Setup::new("garbage on every channel", 3.5)
    };
    let disturb = |cluster: &mut Cluster| {
        let count = garbage::publish(cluster, seconds(2.0));
        assert!(count > 1_000, "{count}");
        for hub in &cluster.hubs {
            let malformed = |hub: &HubProcess| hub.figure("standpipe_redis_malformed_total");
            until("the hub has counted the garbage", DEADLINE, || {
                malformed(hub) > Some(500.0)
            });
        }
    };
    scene(&setup, disturb, |report| {
        most_arrived(report);
        // An old message that comes again makes a hub ask for its place. A topic without a history may then have a gap.
        no_gap_with_a_history(report);
        assert_eq!((report.local, report.verdict.refused), (0.0, 0));
    });
}

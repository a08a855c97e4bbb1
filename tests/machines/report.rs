//! [`Report`]: what one run of a scene has shown, and [`Summary`]: the line that a scene prints after its rounds.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::Duration;

use crate::judge::Verdict;
use crate::log::{Event, MemberLog, Node, Published};

/// A longer delay on the node of the publisher is allowed once in a freeze: 500 ms of `--redis-timeout`, and some.
pub(crate) const LONG: Duration = Duration::from_millis(600);

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    pub(crate) messages: usize,
    /// Local messages, as the hubs that still run have counted them.
    pub(crate) local: f64,
    pub(crate) moves: usize,
    pub(crate) logs: Vec<MemberLog>,
    pub(crate) published: Vec<Published>,
    pub(crate) hub_logs: String,
    /// From the publish to its reception by members on the same node.
    pub(crate) delays: BTreeMap<Node, Delays>,
}

/// The delays of one node.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    sorted: Vec<Duration>,
    /// Batches of a publisher of which a message was delayed by more than [`LONG`].
    pub(crate) long_batches: usize,
}

impl Report {
    /// Writes the logs of a failed scene to a file, because they are too long to be printed.
    pub(crate) fn write_logs(&self, scene: &str) {
        let mut text = String::new();
        for log in &self.logs {
            let _ = writeln!(text, "== {} in {}", log.member, log.topic);
            for event in &log.events {
                let _ = writeln!(text, "{event:?}");
            }
        }
        for message in &self.published {
            let _ = writeln!(text, "{message:?}");
        }
        text.push_str(&self.hub_logs);
        let scene = scene.replace(' ', "-");
        let name = format!("standpipe-{scene}-{}.log", std::process::id());
        let path = std::env::temp_dir().join(name);
        if std::fs::write(&path, text).is_ok() {
            print(&format!("the logs are in {}", path.display()));
        }
    }
}

pub(crate) fn delays(logs: &[MemberLog], published: &[Published]) -> BTreeMap<Node, Delays> {
    let messages: HashMap<&str, &Published> = published
        .iter()
        .map(|message| (message.payload.as_str(), message))
        .collect();
    let mut delays: BTreeMap<Node, Delays> = BTreeMap::new();
    let mut batches: HashMap<(Node, usize), Duration> = HashMap::new();
    // A roaming client receives what was published before it came.
    for log in logs.iter().filter(|log| log.member != "roaming") {
        let mut member_node = None;
        for event in &log.events {
            match event {
                Event::Asked { node, since: None } => member_node = Some(*node),
                // What it receives after a reconnect was published before.
                Event::Asked { since: Some(_), .. } => member_node = None,
                Event::Message { payload, at, .. } => {
                    let message = messages.get(payload.as_str());
                    let Some(message) = message.filter(|message| member_node == Some(message.node))
                    else {
                        continue;
                    };
                    let delay = at.saturating_duration_since(message.sent);
                    delays.entry(message.node).or_default().sorted.push(delay);
                    let longest = batches.entry((message.node, message.batch)).or_default();
                    *longest = delay.max(*longest);
                }
                _ => {}
            }
        }
    }
    for ((node, _), longest) in batches {
        if longest > LONG {
            delays.entry(node).or_default().long_batches += 1;
        }
    }
    for delays in delays.values_mut() {
        delays.sorted.sort();
    }
    delays
}

impl Delays {
    fn at(&self, share: f64) -> f64 {
        let last = self.sorted.len().saturating_sub(1);
        let delay = self.sorted.get((last as f64 * share) as usize);
        delay.copied().unwrap_or_default().as_secs_f64() * 1000.0
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, max) = (self.at(0.5), self.at(0.99), self.at(1.0));
        write!(f, "p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")?;
        write!(f, ", {} over {LONG:?}", self.long_batches)
    }
}

/// The sums over the rounds of a scene.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) rounds: usize,
    messages: usize,
    acked: usize,
    refused: usize,
    unanswered: usize,
    local: f64,
    gaps: usize,
    moves: usize,
    missed: usize,
    expected: usize,
    in_doubt: usize,
    pub(crate) violations: usize,
}

impl Summary {
    pub(crate) fn add(&mut self, report: &Report) {
        let verdict = &report.verdict;
        self.rounds += 1;
        self.messages += report.messages;
        self.acked += verdict.acked;
        self.refused += verdict.refused;
        self.unanswered += report.messages - verdict.acked - verdict.refused;
        self.local += report.local;
        self.gaps += verdict.gaps;
        self.moves += report.moves;
        self.missed += verdict.missed_at_home;
        self.expected += verdict.expected_at_home;
        self.in_doubt += verdict.in_doubt;
        self.violations += verdict.violations.len();
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missed = 100.0 * self.missed as f64 / self.expected.max(1) as f64;
        write!(
            f,
            "rounds {}, messages {} ({} acknowledged, {} refused, {} unanswered), local {}, gaps {}, missed {missed:.2} %, \
             moves {}, in doubt {}, violations {}",
            self.rounds,
            self.messages,
            self.acked,
            self.refused,
            self.unanswered,
            self.local,
            self.gaps,
            self.moves,
            self.in_doubt,
            self.violations
        )
    }
}

/// Prints a line that the test runner does not hold back.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[test]
fn delay_is_counted_once_for_a_batch() {
    use crate::log::Outcome;

    let sent = std::time::Instant::now();
    let published = |payload: &str, node, batch| Published {
        payload: payload.into(),
        topic: "t".into(),
        node,
        batch,
        sent,
        outcome: Outcome::Unknown,
    };
    let published = [
        published("a", 0, 0),
        published("b", 0, 0),
        published("c", 0, 1),
        published("d", 1, 0),
    ];
    let message = |payload: &str, id, delay: u64| Event::Message {
        id,
        payload: payload.into(),
        at: sent + Duration::from_millis(delay),
    };
    let asked = Event::Asked {
        node: 0,
        since: None,
    };
    let log = MemberLog {
        member: "m".into(),
        topic: "t".into(),
        events: vec![
            asked,
            message("a", 1, 700),
            message("b", 2, 800),
            message("c", 3, 500),
            // Of another node.
            message("d", 4, 900),
        ],
    };
    let delays = delays(&[log], &published);
    assert_eq!(delays.len(), 1);
    assert_eq!(delays[&0].long_batches, 1);
    assert_eq!(
        delays[&0].to_string(),
        "p50 700.0 ms, p99 700.0 ms, max 800.0 ms, 1 over 600ms"
    );
}

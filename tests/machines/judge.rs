//! The judge: decides from the logs alone whether a cluster kept its promises.
//!
//! The rules:
//!
//! 1. Each member gets the ids of a topic in order. Every id after the start of its membership arrives once: as a message,
//!    or inside a gap. An `ack` below `since` is a gap too.
//! 2. A payload has one id, which is the id of its `ack`. No member gets it twice. Publishes whose answer was lost are an
//!    exception: see [`in_doubt`].
//! 3. On one node, an id stands for one payload. Over all nodes, an id stands for at most one payload that is shared, which
//!    means that members on several nodes have it. Each further payload of this id is local to one node.
//! 4. Each member that was subscribed has each acknowledged payload, or was told of a gap with its id. One exception is
//!    allowed: the payload is local to another node, or the member's node was alone, so that the member has another
//!    payload with this id. Then gaps must stand directly before and after the run of messages with that id.
//! 5. A refused payload is received by nobody, and nobody receives a payload that was not published.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use crate::in_doubt;
use crate::log::{Event, MemberLog, Node, Outcome, Published};

/// What the judge has found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// One sentence for each broken promise.
    pub(crate) violations: Vec<String>,
    pub(crate) acked: usize,
    pub(crate) refused: usize,
    pub(crate) unknown: usize,
    pub(crate) lost: usize,
    /// Messages that are local on the publisher's node, and that other nodes have too: see [`in_doubt`].
    pub(crate) in_doubt: usize,
    /// Acknowledged payloads that only members on the publisher's node have: local messages, and those of a topic without
    /// a history that were published while no other node was connected.
    pub(crate) on_one_node: usize,
    /// Gaps of which members were told on their first connection, counted for each member.
    pub(crate) gaps: usize,
    /// Gaps after a reconnect, with the acks below `since`. A topic without a history has one after most of them.
    pub(crate) gaps_of_resumed: usize,
    /// Pairs of an acknowledged payload and a member that was subscribed on the publisher's node all the time.
    pub(crate) expected_at_home: usize,
    /// Those of them in which the member does not have the payload.
    pub(crate) missed_at_home: usize,
    /// Topics in which a gap was told.
    pub(crate) topics_with_gaps: BTreeSet<String>,
}

/// Judges the logs of one run.
pub(crate) fn judge(members: &[MemberLog], published: &[Published]) -> Verdict {
    let (mut members, mut published) = (members.to_vec(), published.to_vec());
    let mut verdict = Verdict {
        in_doubt: in_doubt::separate(&mut members, &mut published),
        ..Verdict::default()
    };
    let published = &published[..];
    let members: Vec<Followed> = members
        .iter()
        .map(|log| Followed::of(log, &mut verdict))
        .collect();
    let holders = Holders::of(&members, &mut verdict);
    holders.check_ids(&mut verdict);
    holders.check_published(published, &mut verdict);
    for message in published {
        check_outcome(message, &members, &holders, &mut verdict);
    }
    verdict
}

impl Verdict {
    fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Returns the first violations as lines.
    pub(crate) fn first_violations(&self) -> String {
        let mut text = String::new();
        for violation in self.violations.iter().take(20) {
            let _ = writeln!(text, "  {violation}");
        }
        text
    }
}

/// One log, followed id by id.
struct Followed<'a> {
    member: &'a str,
    topic: &'a str,
    /// The first id that the member must get. `None` if it never became a member.
    start: Option<u64>,
    /// The id after the last one.
    end: u64,
    /// Where the member got each payload.
    held: HashMap<&'a str, Held>,
    /// The payload of each id. If an id came twice, which is a gap or a violation, the later one.
    by_id: HashMap<u64, &'a str>,
    /// The ids that the member was told not to expect, in the order in which it was told.
    told: Vec<(u64, u64)>,
    /// The nodes of its connections.
    stays: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Held {
    id: u64,
    node: Node,
    /// The number of gaps that came before it.
    gaps_before: usize,
}

impl<'a> Followed<'a> {
    fn of(log: &'a MemberLog, verdict: &mut Verdict) -> Followed<'a> {
        let mut followed = Followed {
            member: &log.member,
            topic: &log.topic,
            start: None,
            end: 0,
            held: HashMap::new(),
            by_id: HashMap::new(),
            told: Vec::new(),
            stays: Vec::new(),
        };
        for stay in stays(&log.events) {
            followed.stay(stay, verdict);
        }
        followed
    }

    fn stay(&mut self, events: &'a [Event], verdict: &mut Verdict) {
        let Some(&Event::Asked { node, since }) = events.first() else {
            verdict.violation(format!("{self}: the log does not begin with a `sub`"));
            return;
        };
        let ack = events.iter().find_map(|event| match event {
            Event::Joined { id } => Some(*id),
            _ => None,
        });
        let first = events.iter().find_map(|event| match event {
            Event::Message { id, .. } => Some(*id),
            Event::Gap { first, .. } => Some(*first),
            _ => None,
        });
        // Messages between the place where the membership began and the ack come before it, or the ack does not come.
        let before_first = first.map(|id| id.saturating_sub(1));
        let began_after = match since {
            Some(_) => ack.into_iter().chain(before_first).min(),
            None => ack.or(before_first),
        };
        match (since, began_after) {
            (None, None) => return,
            (None, Some(id)) => {
                if self.start.is_some() {
                    verdict.violation(format!("{self}: the client has not sent `since` again"));
                }
                self.start = Some(id + 1);
                self.end = id + 1;
            }
            (Some(since), began_after) => {
                if self.end != since + 1 {
                    let end = self.end;
                    verdict.violation(format!(
                        "{self}: the client sent since {since} after id {end} - 1"
                    ));
                }
                if let Some(id) = began_after.filter(|id| *id < since) {
                    // The ids of the run that has just ended were only valid on the node before.
                    let run = self.run_start();
                    self.tell(run.min(id + 1), since, verdict);
                    self.end = id + 1;
                }
            }
        }
        self.stays.push(node);
        for event in events {
            match event {
                Event::Message { id, payload, .. } => {
                    if *id != self.end {
                        let text = format!(
                            "{self} on node {node}: {id} ({payload}) came instead of {}",
                            self.end
                        );
                        verdict.violation(text);
                    }
                    let held = Held {
                        id: *id,
                        node,
                        gaps_before: self.told.len(),
                    };
                    if let Some(earlier) = self.held.insert(payload, held) {
                        let text = format!(
                            "{self} on node {node}: {payload} came twice, as {} and {id}",
                            earlier.id
                        );
                        verdict.violation(text);
                    }
                    self.by_id.insert(*id, payload);
                    self.end = id + 1;
                }
                Event::Gap { first, last } => {
                    if *first != self.end || last < first {
                        let text = format!(
                            "{self} on node {node}: the gap {first} to {last} came instead of {}",
                            self.end
                        );
                        verdict.violation(text);
                    }
                    self.tell(*first, *last, verdict);
                    self.end = last + 1;
                }
                Event::Asked { .. } | Event::Joined { .. } | Event::Left => {}
            }
        }
    }

    /// Returns the first id of the messages since the last gap.
    fn run_start(&self) -> u64 {
        match self.told.last() {
            Some((_, last)) => last + 1,
            None => self.start.unwrap_or(0),
        }
    }

    fn tell(&mut self, first: u64, last: u64, verdict: &mut Verdict) {
        if self.stays.len() > 1 {
            verdict.gaps_of_resumed += 1;
        } else {
            verdict.gaps += 1;
        }
        verdict.topics_with_gaps.insert(self.topic.to_owned());
        self.told.push((first, last));
    }

    fn was_told(&self, id: u64) -> bool {
        self.told
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&id))
    }
}

impl std::fmt::Display for Followed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.member, self.topic)
    }
}

/// Splits a log before each `sub`.
fn stays(events: &[Event]) -> Vec<&[Event]> {
    let mut starts: Vec<usize> = (0..events.len())
        .filter(|n| matches!(events[*n], Event::Asked { .. }))
        .collect();
    if starts.first() != Some(&0) && !events.is_empty() {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([events.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &events[*start..end])
        .collect()
}

/// Where each payload was received.
struct Holders<'a> {
    /// By topic and payload: the id, and the nodes whose members have it.
    topics: HashMap<&'a str, HashMap<&'a str, (u64, BTreeSet<Node>)>>,
}

impl<'a> Holders<'a> {
    fn of(members: &[Followed<'a>], verdict: &mut Verdict) -> Holders<'a> {
        let mut topics: HashMap<&str, HashMap<&str, (u64, BTreeSet<Node>)>> = HashMap::new();
        for member in members {
            let payloads = topics.entry(member.topic).or_default();
            for (payload, Held { id, node, .. }) in &member.held {
                let place = payloads.entry(payload);
                let (known, nodes) = place.or_insert_with(|| (*id, BTreeSet::new()));
                if known != id {
                    verdict.violation(format!(
                        "{member} on node {node}: {payload} has id {id}, and {known} at another member"
                    ));
                }
                nodes.insert(*node);
            }
        }
        Holders { topics }
    }

    /// Returns the id of a payload and the nodes whose members have it.
    fn get(&self, topic: &str, payload: &str) -> Option<&(u64, BTreeSet<Node>)> {
        self.topics.get(topic)?.get(payload)
    }

    fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str, u64, &BTreeSet<Node>)> {
        self.topics.iter().flat_map(|(topic, payloads)| {
            payloads
                .iter()
                .map(|(payload, (id, nodes))| (*topic, *payload, *id, nodes))
        })
    }

    /// Checks rule 3.
    fn check_ids(&self, verdict: &mut Verdict) {
        type OfId<'a> = Vec<(&'a str, &'a BTreeSet<Node>)>;
        let mut ids: HashMap<(&str, u64), OfId> = HashMap::new();
        for (topic, payload, id, nodes) in self.iter() {
            ids.entry((topic, id)).or_default().push((payload, nodes));
        }
        for ((topic, id), payloads) in ids.iter().filter(|(_, payloads)| payloads.len() > 1) {
            let shared = payloads.iter().filter(|(_, nodes)| nodes.len() > 1).count();
            let mut nodes: Vec<&Node> = payloads.iter().flat_map(|(_, nodes)| *nodes).collect();
            let received = nodes.len();
            nodes.sort();
            nodes.dedup();
            if shared > 1 || nodes.len() < received {
                verdict.violation(format!(
                    "{topic}: {id} stands for several payloads: {payloads:?}"
                ));
            }
        }
    }

    /// Checks rule 5, as far as unpublished payloads are concerned.
    fn check_published(&self, published: &[Published], verdict: &mut Verdict) {
        let known: std::collections::HashSet<(&str, &str)> = published
            .iter()
            .map(|message| (message.topic.as_str(), message.payload.as_str()))
            .collect();
        for (topic, payload, ..) in self.iter() {
            if !known.contains(&(topic, payload)) {
                verdict.violation(format!(
                    "{topic}: {payload:?} was received, and nobody has published it"
                ));
            }
        }
    }
}

fn check_outcome(
    message: &Published,
    members: &[Followed<'_>],
    holders: &Holders<'_>,
    verdict: &mut Verdict,
) {
    let Published {
        payload,
        topic,
        node,
        ..
    } = message;
    let received = holders.get(topic, payload);
    match message.outcome {
        Outcome::Acked(id) => {
            verdict.acked += 1;
            if let Some((other, _)) = received.filter(|(other, _)| *other != id) {
                verdict.violation(format!(
                    "{topic}: {payload} was acknowledged as {id} and received as {other}"
                ));
            }
            if received.is_some_and(|(_, nodes)| nodes.iter().eq([node])) {
                verdict.on_one_node += 1;
            }
            for member in members.iter().filter(|member| member.topic == topic) {
                check_received(message, id, member, holders, verdict);
            }
        }
        Outcome::Refused => {
            verdict.refused += 1;
            if let Some((id, nodes)) = received {
                verdict.violation(format!(
                    "{topic}: {payload} was refused, and received as {id} on nodes {nodes:?}"
                ));
            }
        }
        // Rule 2 is all that holds: the payload has one id, and nobody has it twice.
        Outcome::Unknown => verdict.unknown += 1,
        Outcome::Lost => verdict.lost += 1,
    }
}

/// Checks rule 4 for one member.
fn check_received(
    message: &Published,
    id: u64,
    member: &Followed<'_>,
    holders: &Holders<'_>,
    verdict: &mut Verdict,
) {
    let Published {
        payload,
        topic,
        node,
        ..
    } = message;
    if member.start.is_none_or(|start| id < start) {
        return;
    }
    let is_at_home = member.stays == [*node];
    verdict.expected_at_home += usize::from(is_at_home);
    if member.held.contains_key(payload.as_str()) {
        return;
    }
    verdict.missed_at_home += usize::from(is_at_home);
    if member.was_told(id) {
        return;
    }
    let other = member.by_id.get(&id);
    let Some((other, held)) = other.and_then(|other| Some((*other, member.held.get(other)?)))
    else {
        verdict.violation(format!(
            "{member} has neither {payload} ({id}) nor a gap with it"
        ));
        return;
    };
    let is_local = |payload: &str| {
        holders
            .get(topic, payload)
            .is_none_or(|(_, nodes)| nodes.len() == 1)
    };
    let has_gaps = held.gaps_before > 0 && held.gaps_before < member.told.len();
    if held.node == *node || !(is_local(payload) || is_local(other)) || !has_gaps {
        verdict.violation(format!(
            "{member} on node {} has {other} with id {id} instead of {payload} of node {node}; gaps around it: {has_gaps}",
            held.node
        ));
    }
}

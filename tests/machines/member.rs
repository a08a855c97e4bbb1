//! [`Member`]: a subscriber that writes down everything it sees, reconnects, and may roam between the nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use serde_json::json;

use crate::client::{Ended, Incoming, JsonClient, Nodes, Random};
use crate::log::{Event, MemberLog, Node};

/// The payloads of the last messages of a run begin with this. A member ends when each of its topics has had one.
pub(crate) const END: &str = "end-";

pub(crate) struct Member {
    nodes: Arc<Nodes>,
    node: Node,
    topics: Vec<Place>,
    roaming: Option<Roaming>,
    /// Told when the member has joined all its topics for the first time.
    joined: Option<Sender<()>>,
}

/// How a member moves from node to node.
#[derive(Debug)]
pub(crate) struct Roaming {
    pub(crate) moves: usize,
    /// How many moves it makes. Unless `completes`, it makes fewer if the publishing ends before.
    pub(crate) most: usize,
    pub(crate) completes: bool,
    /// How long it stays, once it has joined all topics.
    pub(crate) stay: Duration,
    pub(crate) random: Random,
}

/// A member's place in one topic.
struct Place {
    log: MemberLog,
    /// The last id, and its epoch.
    last: Option<u64>,
    epoch: Option<String>,
    /// Whether anything of the topic has arrived on this connection.
    has_arrived: bool,
    is_joined: bool,
    has_ended: bool,
}

/// What a member leaves behind.
pub(crate) struct Seen {
    pub(crate) logs: Vec<MemberLog>,
    pub(crate) moves: usize,
    /// Topics whose end it has not seen.
    pub(crate) unended: Vec<String>,
}

impl Member {
    pub(crate) fn new(
        name: &str,
        nodes: Arc<Nodes>,
        node: Node,
        topics: &[&str],
        joined: Sender<()>,
    ) -> Member {
        let place = |topic: &&str| Place {
            log: MemberLog {
                member: name.to_owned(),
                topic: (*topic).to_owned(),
                events: Vec::new(),
            },
            last: None,
            epoch: None,
            has_arrived: false,
            is_joined: false,
            has_ended: false,
        };
        Member {
            nodes,
            node,
            topics: topics.iter().map(place).collect(),
            roaming: None,
            joined: Some(joined),
        }
    }

    pub(crate) fn roams(mut self, roaming: Roaming) -> Member {
        self.roaming = Some(roaming);
        self
    }

    /// Runs until each topic has ended, or the test has failed.
    pub(crate) fn run(mut self) -> Seen {
        while !self.is_done() {
            self.node = self.nodes.living(self.node);
            // An error means that the connection has ended, which the log of each topic says.
            let _ = self.visit();
            for place in &mut self.topics {
                place.log.events.push(Event::Left);
            }
            self.move_on();
        }
        Seen {
            moves: self.roaming.map_or(0, |roaming| roaming.moves),
            unended: self
                .topics
                .iter()
                .filter(|place| !place.has_ended)
                .map(|place| place.log.topic.clone())
                .collect(),
            logs: self.topics.into_iter().map(|place| place.log).collect(),
        }
    }

    fn is_done(&self) -> bool {
        let roams_on = |roaming: &Roaming| roaming.completes && roaming.moves < roaming.most;
        let has_ended = self.topics.iter().all(|place| place.has_ended);
        self.nodes.has_failed() || (has_ended && !self.roaming.as_ref().is_some_and(roams_on))
    }

    /// One connection.
    fn visit(&mut self) -> Result<(), Ended> {
        let connected = JsonClient::connect(&self.nodes, self.node);
        if connected.is_err() {
            // This cannot be an event: a node that cannot be reached says nothing. The pause limits the attempts.
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut client = connected?;
        for place in &mut self.topics {
            place.has_arrived = false;
            place.is_joined = false;
            place.subscribe(self.node, &mut client)?;
        }
        let mut leaves: Option<Instant> = None;
        while !self.is_done() {
            if leaves.is_some_and(|leaves| leaves <= Instant::now()) {
                return Ok(());
            }
            let limit = match leaves {
                Some(leaves) => leaves.saturating_duration_since(Instant::now()),
                None => Duration::from_millis(100),
            };
            if let Some(incoming) = client.receive(limit)? {
                self.take(incoming, &mut client)?;
            }
            if leaves.is_none() && self.topics.iter().all(|place| place.is_joined) {
                if let Some(joined) = self.joined.take() {
                    let _ = joined.send(());
                }
                leaves = self.time_to_leave();
            }
        }
        Ok(())
    }

    fn time_to_leave(&mut self) -> Option<Instant> {
        let roaming = self.roaming.as_mut()?;
        let is_over =
            roaming.moves >= roaming.most || (self.nodes.is_quiet() && !roaming.completes);
        // Between half and one and a half of the time.
        let share = u32::try_from(roaming.random.below(100)).expect("it is below 100") + 50;
        (!is_over).then(|| Instant::now() + roaming.stay * share / 100)
    }

    fn move_on(&mut self) {
        if let Some(roaming) = self.roaming.as_mut() {
            roaming.moves += 1;
            self.node += 1 + roaming.random.below(self.nodes.count() - 1);
        }
    }

    fn take(&mut self, incoming: Incoming, client: &mut JsonClient) -> Result<(), Ended> {
        if let Some(error) = &incoming.error {
            let topic = incoming.reference.as_deref();
            let place = self
                .topics
                .iter_mut()
                .find(|place| topic == Some(&place.log.topic));
            let place = place.unwrap_or_else(|| panic!("an error that answers nothing: {error}"));
            // This cannot be an event: a node does not tell when it can answer. The pause limits the attempts.
            std::thread::sleep(Duration::from_millis(20));
            return place.subscribe(self.node, client);
        }
        let topic = incoming.topic.as_deref().or(incoming.ack.as_deref());
        let place = self
            .topics
            .iter_mut()
            .find(|place| topic == Some(&place.log.topic));
        place
            .unwrap_or_else(|| panic!("of no topic: {incoming:?}"))
            .take(incoming);
        Ok(())
    }
}

impl Place {
    fn subscribe(&mut self, node: Node, client: &mut JsonClient) -> Result<(), Ended> {
        let since = self.last;
        self.log.events.push(Event::Asked { node, since });
        let topic = &self.log.topic;
        let command = json!({"sub": topic, "since": since, "epoch": self.epoch, "ref": topic});
        client.send(command.to_string())
    }

    /// Remembers the last id as PROTOCOL.md says.
    fn take(&mut self, incoming: Incoming) {
        if let Some(epoch) = incoming.epoch {
            self.epoch = Some(epoch);
        }
        if incoming.ack.is_some() {
            let id = incoming.id.expect("the ack of a sub has an id");
            self.log.events.push(Event::Joined { id });
            self.is_joined = true;
            // The ack may overtake messages, so a higher id does not mean that they have arrived.
            if !self.has_arrived && self.last.is_none_or(|last| id < last) {
                self.last = Some(id);
            }
            return;
        }
        self.has_arrived = true;
        if let Some((first, last)) = incoming.gap {
            self.log.events.push(Event::Gap { first, last });
            self.last = Some(last);
            return;
        }
        let id = incoming.id.expect("a message has an id");
        let payload = incoming.data.expect("the data is a string");
        self.has_ended |= payload.starts_with(END);
        self.last = Some(id);
        self.log.events.push(Event::Message {
            id,
            payload,
            at: Instant::now(),
        });
    }
}

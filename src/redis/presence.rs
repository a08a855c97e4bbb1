//! [`PresenceWriter`]: tells the server which names are present on this hub, and that the hub is alive.
//!
//! The publisher thread calls it. The hub renews its lease every three seconds. When the lease of another hub has ended,
//! one of the hubs removes that hub's names. A hub that finds its own lease removed writes all its names again.

use std::collections::VecDeque;
use std::str;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::redis::{Cmd, Value, cmd};

use super::connection::{
    Commands, ServerConnection, ServerError, bytes, elements, number, unexpected,
};
use super::interval::Interval;
use super::link::Link;
use super::mirror::{SETTLING, number_of_node};
use super::present_names::Changes;
use super::record::presence_payload;

/// The script that changes the names of one hub in one topic.
pub(super) const SCRIPT: &str = include_str!("presence.lua");

/// How long a lease lasts by the server's clock.
const LEASE: Duration = Duration::from_secs(10);

/// How often the lease is renewed, and those of the other hubs are looked at.
const RENEWAL: Duration = Duration::from_secs(3);

/// How long one hub may take to remove the names of another before a third hub tries it too, in milliseconds.
const REMOVAL_MS: u64 = 5_000;

/// The most names that are written together, and the most topics. Publishes wait for these.
const MAX_NAMES: usize = 256;
const MAX_TOPICS: usize = 64;

/// How long a shutdown tries to remove the names.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) struct PresenceWriter {
    link: Arc<Link>,
    /// The hash of the script.
    script: String,
    next_renewal: Instant,
    /// Before this moment, other hubs may not have been able to renew their leases.
    removals_from: Instant,
    /// The lease has been written on this connection.
    is_leased: bool,
    /// The server has refused something.
    is_refused: bool,
    /// Log lines about names that were refused.
    refusals: Interval,
    work: VecDeque<Work>,
}

/// What is left to do, topic by topic.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    /// Write all names of this hub in a topic, and remove those that are not there.
    Write(String),
    /// Remove all names of a dead hub from a topic.
    Remove(u64, String),
    /// Nothing is left of a dead hub but its lease.
    Forget(u64),
}

impl PresenceWriter {
    pub(super) fn new(link: Arc<Link>, script: String) -> PresenceWriter {
        // The server may have forgotten the names, or another hub may have removed them.
        link.names.rewrite();
        PresenceWriter {
            link,
            script,
            next_renewal: Instant::now(),
            removals_from: Instant::now() + SETTLING,
            is_leased: false,
            is_refused: false,
            refusals: Interval::default(),
            work: VecDeque::new(),
        }
    }

    /// Returns when [`step`](Self::step) has something to do, unless a name changes before.
    pub(super) fn next_step(&self) -> Instant {
        let has_work = !self.work.is_empty() || self.link.names.has_changes() && self.is_leased;
        if has_work {
            Instant::now()
        } else {
            self.next_renewal
        }
    }

    /// Does a part of what is to be done. Without work, it does nothing.
    ///
    /// # Blocking
    /// Waits for replies, up to the timeout each.
    pub(super) fn step(&mut self, connection: &mut ServerConnection) -> Result<(), ServerError> {
        let now = Instant::now();
        if now >= self.next_renewal || self.is_leased && self.link.names.needs_rewrite() {
            self.next_renewal = now + RENEWAL;
            self.renew(connection)?;
        }
        self.write(connection)
    }

    /// Removes this hub's names and its lease.
    ///
    /// # Blocking
    /// Waits for replies, up to the timeout, and up to one second.
    pub(super) fn leave(&mut self, connection: &mut ServerConnection) -> Result<(), ServerError> {
        let (node, deadline) = (
            self.link.node,
            Instant::now() + self.link.timeout.min(GOODBYE),
        );
        let mut members = cmd("SMEMBERS");
        members.arg(self.link.keys.topics_at(node));
        let topics = connection.call_one(&members, deadline)?;
        for topics in texts(Some(&topics)).chunks(MAX_TOPICS) {
            let mut commands = Commands::default();
            for topic in topics {
                commands.add(&self.call(node, topic, "only", &[]));
            }
            connection.call(&commands, deadline)?;
        }
        let mut commands = Commands::default();
        self.add_forget(node, &mut commands);
        connection.call(&commands, deadline)?;
        Ok(())
    }

    /// Renews the lease, and finds the hubs whose leases have ended.
    fn renew(&mut self, connection: &mut ServerConnection) -> Result<(), ServerError> {
        let (nodes, own) = (self.link.keys.nodes(), hexadecimal(self.link.node));
        let now = self.link.clock.now() / 1000;
        let mut commands = Commands::default();
        let mut listed = cmd("ZRANGEBYSCORE");
        commands.add(listed.arg(&nodes).arg("-inf").arg("+inf").arg("WITHSCORES"));
        let mut lease = cmd("ZADD");
        let end = now.saturating_add(crate::clock::millis(LEASE));
        commands.add(lease.arg(&nodes).arg(end).arg(own));
        let replies = self.exchange(connection, &commands)?;
        let [listed, added] = &replies[..] else {
            return Err(unexpected("ZADD"));
        };
        let was_removed = added.as_ref().and_then(number) == Some(1);
        if was_removed && self.is_leased || std::mem::take(&mut self.is_refused) {
            self.link.names.rewrite();
        }
        self.is_leased = true;
        if let Some(topics) = self.link.names.take_rewrite() {
            self.work.retain(|work| !matches!(work, Work::Write(_)));
            // The server may also have names that have left meanwhile.
            let before = self.topics_at(connection, &[self.link.node])?.pop();
            let mut all: Vec<String> = before.unwrap_or_default();
            all.extend(topics);
            all.sort();
            all.dedup();
            self.work.extend(all.into_iter().map(Work::Write));
        }
        let dead = self.dead(listed.as_ref(), now);
        if Instant::now() < self.removals_from {
            return Ok(());
        }
        self.begin_removals(connection, &dead)
    }

    /// Returns the hubs whose leases have ended, and counts the others.
    fn dead(&self, listed: Option<&Value>, now: u64) -> Vec<u64> {
        let (mut alive, mut dead) = (1, Vec::new());
        for lease in listed
            .and_then(elements)
            .unwrap_or_default()
            .chunks_exact(2)
        {
            let node = bytes(&lease[0]).and_then(|bytes| str::from_utf8(bytes).ok());
            let Some(node) = node.and_then(number_of_node) else {
                continue;
            };
            // The server writes large numbers with an exponent.
            let end = bytes(&lease[1]).and_then(|bytes| str::from_utf8(bytes).ok()?.parse().ok());
            let is_alive = end.is_some_and(|end: f64| end >= now as f64);
            match node {
                node if node == self.link.node => {}
                _ if is_alive => alive += 1,
                node => dead.push(node),
            }
        }
        self.link.figures.nodes.store(alive, Ordering::Relaxed);
        dead
    }

    /// Takes over the removal of the names of dead hubs, unless other hubs do it already.
    fn begin_removals(
        &mut self,
        connection: &mut ServerConnection,
        dead: &[u64],
    ) -> Result<(), ServerError> {
        let is_known = |node: &u64| {
            let mut work = self.work.iter();
            work.any(|work| *work == Work::Forget(*node))
        };
        let dead: Vec<u64> = dead
            .iter()
            .copied()
            .filter(|node| !is_known(node))
            .collect();
        let mut commands = Commands::default();
        for node in &dead {
            let mut take = cmd("SET");
            take.arg(self.link.keys.sweep(*node)).arg("").arg("NX");
            commands.add(take.arg("PX").arg(REMOVAL_MS));
        }
        let replies = self.exchange(connection, &commands)?;
        let taken = dead.iter().zip(replies);
        let taken = taken.filter(|(_, reply)| matches!(reply, Some(Value::Okay)));
        let taken: Vec<u64> = taken.map(|(node, _)| *node).collect();
        let topics = self.topics_at(connection, &taken)?;
        for (node, topics) in taken.into_iter().zip(topics) {
            log::info!(
                "redis {}: hub {node:016x} has not renewed its lease, so its names are removed from {} topics",
                self.link.address(),
                topics.len()
            );
            let removals = topics.into_iter().map(|topic| Work::Remove(node, topic));
            self.work.extend(removals);
            self.work.push_back(Work::Forget(node));
        }
        Ok(())
    }

    /// Returns the topics in which each hub has names.
    fn topics_at(
        &mut self,
        connection: &mut ServerConnection,
        nodes: &[u64],
    ) -> Result<Vec<Vec<String>>, ServerError> {
        let mut commands = Commands::default();
        for node in nodes {
            commands.add(cmd("SMEMBERS").arg(self.link.keys.topics_at(*node)));
        }
        let replies = self.exchange(connection, &commands)?;
        Ok(replies.iter().map(|reply| texts(reply.as_ref())).collect())
    }

    /// Writes names that have joined or left, and does a part of the work that is left.
    fn write(&mut self, connection: &mut ServerConnection) -> Result<(), ServerError> {
        let mut commands = Commands::default();
        // A hub never has names without a lease. Otherwise, if it died now, nobody would remove them.
        if self.is_leased {
            for changes in self.link.names.take_changes(MAX_NAMES) {
                self.add_changes(&changes, &mut commands);
            }
        }
        let mut in_progress = Vec::new();
        while in_progress.len() < MAX_TOPICS {
            match self.work.front() {
                // What is left of a dead hub is forgotten only after its names have been removed.
                None => break,
                Some(Work::Forget(_)) if !in_progress.is_empty() => break,
                Some(_) => {}
            }
            let Some(work) = self.work.pop_front() else {
                break;
            };
            let before = commands.len();
            self.add_work(&work, &mut commands);
            in_progress.push((before..commands.len(), work));
        }
        if commands.len() == 0 {
            return Ok(());
        }
        let replies = self.exchange(connection, &commands)?;
        for (commands, work) in in_progress {
            if let Work::Remove(node, _) = work
                && replies[commands].iter().any(Option::is_none)
            {
                // Its lease stays, so that it is tried again.
                self.work.retain(|work| match work {
                    Work::Remove(other, _) | Work::Forget(other) => *other != node,
                    Work::Write(_) => true,
                });
            }
        }
        Ok(())
    }

    fn add_changes(&self, changes: &Changes, commands: &mut Commands) {
        let (node, topic) = (self.link.node, &changes.topic);
        if !changes.left.is_empty() {
            commands.add(&self.call(node, topic, "remove", &changes.left));
        }
        if changes.is_empty {
            self.add_at("SREM", topic, commands);
        }
        if !changes.joined.is_empty() {
            self.add_at("SADD", topic, commands);
            commands.add(&self.call(node, topic, "add", &changes.joined));
        }
    }

    fn add_work(&self, work: &Work, commands: &mut Commands) {
        match work {
            Work::Write(topic) => {
                let names = self.link.names.names(topic);
                let call = self.call(self.link.node, topic, "only", &names);
                // The topic is in the set whenever there may be names in it.
                if names.is_empty() {
                    commands.add(&call);
                    self.add_at("SREM", topic, commands);
                } else {
                    self.add_at("SADD", topic, commands);
                    commands.add(&call);
                }
            }
            Work::Remove(node, topic) => commands.add(&self.call(*node, topic, "only", &[])),
            Work::Forget(node) => self.add_forget(*node, commands),
        }
    }

    /// Adds a call of the script.
    fn call(&self, node: u64, topic: &str, mode: &str, names: &[Arc<str>]) -> Cmd {
        let keys = &self.link.keys;
        let mut call = cmd("EVALSHA");
        call.arg(&self.script).arg(1).arg(keys.presence(topic));
        call.arg(keys.channel(topic));
        call.arg(format!("{}\0", hexadecimal(node)));
        // Without the first byte, which says whether the name joins.
        call.arg(&presence_payload(node, "", true)[1..]).arg(mode);
        for name in names {
            call.arg(&**name);
        }
        call
    }

    /// Adds the command that adds a topic to those of this hub, or removes it.
    fn add_at(&self, command: &str, topic: &str, commands: &mut Commands) {
        let mut change = cmd(command);
        change
            .arg(self.link.keys.topics_at(self.link.node))
            .arg(topic);
        commands.add(&change);
    }

    /// Adds the commands that remove what is left of a hub.
    fn add_forget(&self, node: u64, commands: &mut Commands) {
        let keys = &self.link.keys;
        commands.add(cmd("DEL").arg(keys.topics_at(node)));
        commands.add(cmd("ZREM").arg(keys.nodes()).arg(hexadecimal(node)));
    }

    /// Sends commands and returns their replies. `None`: the server has refused the command, and everything is written
    /// again with the next renewal.
    fn exchange(
        &mut self,
        connection: &mut ServerConnection,
        commands: &Commands,
    ) -> Result<Vec<Option<Value>>, ServerError> {
        let replies = connection.call(commands, Instant::now() + self.link.timeout)?;
        let mut read = Vec::with_capacity(replies.len());
        for reply in replies {
            match reply {
                Ok(value) => read.push(Some(value)),
                Err(ServerError::Refused { code, .. }) if code == "NOSCRIPT" => {
                    return Err(ServerError::Broken("a script is not loaded".into()));
                }
                Err(error) if error.is_no_master() => return Err(error),
                Err(error) => {
                    self.is_refused = true;
                    if self.refusals.is_over() {
                        log::warn!(
                            "redis {}: the list of names is not complete: {error}",
                            self.link.address()
                        );
                    }
                    read.push(None);
                }
            }
        }
        Ok(read)
    }
}

/// Returns the elements of a reply that are text.
fn texts(reply: Option<&Value>) -> Vec<String> {
    let elements = reply.and_then(elements).unwrap_or_default();
    let texts = elements
        .iter()
        .filter_map(|text| str::from_utf8(bytes(text)?).ok());
    texts.map(str::to_owned).collect()
}

/// Returns the number of a hub as it stands in keys.
fn hexadecimal(node: u64) -> String {
    format!("{node:016x}")
}

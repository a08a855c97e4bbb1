//! [`Joining`]: how topics take their place in the server's sequence, and catch up with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::{Cmd, Value, cmd};

use super::connection::{
    Commands, ServerConnection, ServerError, bytes, elements, number, unexpected,
};
use super::delivery::deliver;
use super::figures::Figures;
use super::interval::Interval;
use super::link::Link;
use super::mirror::Mirror;
use super::pending::PendingPublish;
use super::publish::settle_locally;
use super::record::{self, Record};
use super::status::LinkState;
use crate::hub::{Position, Stored, Topic};

/// The most topics that are subscribed to or that join together.
pub(super) const MAX_TOGETHER: usize = 512;

/// The close code of members whose ids were wrong.
const WRONG_CLOCK: u16 = 1011;

/// The most entries of one answer with a history, each of up to 64 messages.
const SLICE: usize = 16;

/// The connection for questions, and what is needed to ask them.
pub(super) struct Joining {
    pub(super) link: Arc<Link>,
    pub(super) connection: ServerConnection,
    pub(super) epoch: String,
    /// The hash of the script that opens a topic.
    pub(super) script: String,
    pub(super) mirror: Mirror,
    /// Log lines about topics that the server does not open.
    pub(super) refusals: Interval,
}

/// An entry of a topic's stream: the messages of one call of the script.
struct Entry {
    first_id: u64,
    at_ms: u64,
    records: Vec<Record>,
}

/// What the server answered for one topic: its last id, and the server's time in microseconds.
type Opened = Result<(u64, u64), ServerError>;

/// A part of a topic's stream.
struct Slice {
    /// Without those that are not valid.
    entries: Vec<Entry>,
    /// The id of the last entry, valid or not, if there may be more.
    end: Option<u64>,
}

impl Joining {
    /// Sends one command and returns the reply.
    ///
    /// An answer proves that the server is not silent, while the thread that asks receives nothing else.
    pub(super) fn ask(&mut self, command: &Cmd) -> Result<Value, ServerError> {
        let is_lost = !matches!(self.link.state(), LinkState::Up | LinkState::Rejoining);
        if is_lost || self.link.is_stopped() {
            return Err(ServerError::Broken("the link is lost".into()));
        }
        let deadline = Instant::now() + self.link.timeout;
        let reply = self.connection.call_one(command, deadline)?;
        if self.link.word.state() == LinkState::Up {
            self.link.set_received();
        }
        Ok(reply)
    }

    /// Reads the names on other hubs again, if the server's list was not complete before.
    pub(super) fn refresh_names(&mut self) -> Result<(), ServerError> {
        self.mirror.refresh(&self.link, &mut self.connection)
    }

    /// Takes the position of each topic in the server's sequence. Before that, missed messages are delivered if the server
    /// still has them, and otherwise members are told of a gap. The channels have been subscribed to.
    ///
    /// `in_doubt` are publishes that may have been executed. If a topic has missed messages that are lost, one of them may
    /// be such a publish.
    pub(super) fn join(
        &mut self,
        topics: &[(String, Topic)],
        in_doubt: &[Arc<PendingPublish>],
    ) -> Result<(), ServerError> {
        for topics in topics.chunks(MAX_TOGETHER) {
            let positions: Vec<_> = topics
                .iter()
                .map(|(_, topic)| self.checked_position(topic))
                .collect();
            let calls = topics.iter().zip(&positions);
            let calls = calls
                .map(|((_, topic), position)| (topic, position, position.local_from.is_some()));
            let tops = self.open(calls)?;
            self.mirror.read(&self.link, &mut self.connection, topics)?;
            let joining = topics.iter().zip(positions).zip(tops);
            for (((channel, topic), position), top) in joining {
                let (top, now) = match top {
                    Ok(top) => top,
                    // Nobody receives the topic here. The others must not lose their link because the server is full.
                    Err(error @ ServerError::Refused { .. })
                        if !position.is_placed && error.is_about_command() =>
                    {
                        if self.refusals.is_over() {
                            let address = self.link.address();
                            log::warn!(
                                "redis {address}: topic {:?} is not opened: {error}",
                                topic.name()
                            );
                        }
                        self.link.topics.set_refused(channel);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                self.join_one(topic, &position, top, in_doubt)?;
                self.link.topics.set_joined(channel, now);
                self.settle_passed(topic, top);
            }
        }
        Ok(())
    }

    /// Returns the position of a topic. If it is far above the server's time, this hub has begun a local sequence with a
    /// wrong clock before it was ever connected. With such a position it would silence the topic on all hubs.
    fn checked_position(&self, topic: &Topic) -> Position {
        let position = topic.position();
        if position.last_id <= self.link.clock.max_id() {
            return position;
        }
        log::error!(
            "redis {}: the ids of topic {:?} are ahead of the server's clock, so its members are closed with {WRONG_CLOCK}",
            self.link.address(),
            topic.name()
        );
        topic.restart(WRONG_CLOCK, "the clock of the server was wrong");
        topic.position()
    }

    fn join_one(
        &mut self,
        topic: &Topic,
        position: &Position,
        top: u64,
        in_doubt: &[Arc<PendingPublish>],
    ) -> Result<(), ServerError> {
        let is_behind = position.is_placed && top > position.last_id;
        let mut is_complete = position.is_placed && !is_behind;
        if let Some(first) = position.local_from {
            is_complete = false;
            self.count_overlapped(topic, first, position.last_id)?;
        } else if is_behind {
            is_complete = topic.settings().history > 0 && self.catch_up(topic, top)?;
        }
        if !is_complete {
            let of_topic = in_doubt
                .iter()
                .filter(|publish| publish.topic.name() == topic.name());
            of_topic.for_each(|publish| publish.set_unprovable());
        }
        if position.is_placed {
            self.jump(topic, top);
        } else {
            topic.place_at(top);
        }
        Ok(())
    }

    /// Raises the counter above the local sequence of a topic, and ends the local sequence.
    fn raise(&mut self, topic: &Topic) -> Result<(), ServerError> {
        let position = topic.position();
        for top in self.open([(topic, &position, true)].into_iter())? {
            self.jump(topic, top?.0);
        }
        Ok(())
    }

    fn jump(&self, topic: &Topic, top: u64) {
        if top > topic.last_id() {
            Figures::add(&self.link.figures.gaps, 1);
        }
        topic.jump_to(top);
    }

    /// Makes a local message of a publish of which nobody can prove any more whether it was executed. Its deadline is over,
    /// so it will not be executed later. Under [`Lost::Refuse`] its outcome is not known.
    pub(super) fn settle(&mut self, publish: &PendingPublish) -> Result<(), ServerError> {
        if settle_locally(&self.link, publish) {
            self.raise(&publish.topic)?;
        }
        Ok(())
    }

    /// Calls the script for each topic.
    fn open<'a>(
        &mut self,
        topics: impl Iterator<Item = (&'a Topic, &'a Position, bool)>,
    ) -> Result<Vec<Opened>, ServerError> {
        let (keys, mut commands) = (&self.link.keys, Commands::default());
        let mut opened = Vec::new();
        for (topic, position, raise) in topics {
            opened.push(topic);
            let mut call = cmd("EVALSHA");
            call.arg(&self.script).arg(3);
            call.arg(keys.counter(topic.name()));
            call.arg(keys.stream(topic.name()));
            call.arg(keys.cleared(topic.name()));
            call.arg(&self.epoch).arg(position.last_id);
            call.arg(u8::from(raise)).arg(keys.channel(topic.name()));
            commands.add(&call);
        }
        let deadline = Instant::now() + self.link.timeout;
        let replies = self.connection.call(&commands, deadline)?;
        let tops = replies.into_iter().zip(opened).map(|(reply, topic)| {
            let reply = reply?;
            let part = |n: usize| elements(&reply)?.get(n).and_then(number);
            // This hub may have been without its link when the history was removed.
            topic.remove_history_up_to(part(2).unwrap_or(0));
            part(0).zip(part(1)).ok_or_else(|| unexpected("the script"))
        });
        Ok(tops.collect())
    }

    /// Delivers the messages up to `top` that the stream has and this hub has not. Returns whether it had all.
    pub(super) fn catch_up(&mut self, topic: &Topic, top: u64) -> Result<bool, ServerError> {
        let (mut is_complete, mut next) = (true, Some(topic.last_id() + 1));
        let mut expected = topic.last_id() + 1;
        while let Some(first) = next.filter(|first| *first <= top) {
            let slice = self.range(topic, first, top)?;
            next = slice.end.map(|last| last + 1);
            let now_ms = self.link.clock.now() / 1000;
            for entry in slice.entries {
                // The first messages of the first entry may have been received.
                if entry.first_id > expected {
                    is_complete = false;
                    Figures::add(&self.link.figures.gaps, 1);
                }
                expected = entry.first_id + entry.records.len() as u64;
                let age = Duration::from_millis(now_ms.saturating_sub(entry.at_ms));
                Figures::add(&self.link.figures.caught_up, entry.records.len());
                deliver(&self.link, topic, entry.first_id, age, entry.records);
            }
        }
        Ok(is_complete && topic.last_id() >= top)
    }

    /// Completes the local history with the messages that the stream has and this hub has not received.
    pub(super) fn fill(&mut self, topic: &Topic) -> Result<(), ServerError> {
        let keep = topic.settings().history;
        if topic.is_filled() || keep == 0 {
            return Ok(());
        }
        let (mut stored, mut bytes, mut next) = (Vec::new(), 0, Some(topic.last_id()));
        let (now_ms, stream) = (
            self.link.clock.now() / 1000,
            self.link.keys.stream(topic.name()),
        );
        while let Some(below) = next {
            if stored.len() >= keep || bytes >= topic.history_limit() {
                break;
            }
            let mut command = cmd("XREVRANGE");
            command.arg(&stream).arg(format!("{below}-0")).arg("-");
            command.arg("COUNT").arg(SLICE);
            let reply = self.ask(&command)?;
            let slice = self.slice(&reply)?;
            next = slice.end.and_then(|first| first.checked_sub(1));
            for entry in slice.entries {
                let age = Duration::from_millis(now_ms.saturating_sub(entry.at_ms));
                // The newest come first.
                for (index, record) in entry.records.into_iter().enumerate().rev() {
                    let id = entry.first_id + index as u64;
                    let publication = record.publication;
                    bytes += publication.message.len();
                    stored.push(Stored {
                        id,
                        age,
                        publication,
                    });
                }
            }
        }
        stored.truncate(keep);
        stored.reverse();
        topic.fill_history(stored);
        Ok(())
    }

    /// Returns messages of the stream with ids from `first` to `last`, up to the size of a slice.
    fn range(&mut self, topic: &Topic, first: u64, last: u64) -> Result<Slice, ServerError> {
        let mut command = cmd("XRANGE");
        command.arg(self.link.keys.stream(topic.name()));
        command.arg(format!("{first}-0")).arg(format!("{last}-0"));
        command.arg("COUNT").arg(SLICE);
        let reply = self.ask(&command)?;
        self.slice(&reply)
    }

    /// Reads the messages of an answer. Those that are not valid are counted and left out.
    fn slice(&self, reply: &Value) -> Result<Slice, ServerError> {
        let entries = elements(reply).ok_or_else(|| unexpected("XRANGE"))?;
        let last = entries.last().filter(|_| entries.len() >= SLICE);
        let read = entries.iter().filter_map(|entry| {
            let entry = self.entry(entry);
            if entry.is_none() {
                Figures::add(&self.link.figures.malformed, 1);
            }
            entry
        });
        Ok(Slice {
            entries: read.collect(),
            end: last.and_then(number_of_entry),
        })
    }

    fn entry(&self, entry: &Value) -> Option<Entry> {
        let [id, fields] = elements(entry)? else {
            return None;
        };
        let id = std::str::from_utf8(bytes(id)?).ok()?;
        let last_id: u64 = id.strip_suffix("-0")?.parse().ok()?;
        let (mut records, mut at_ms) = (None, 0);
        for field in elements(fields)?.chunks_exact(2) {
            match bytes(&field[0])? {
                b"m" => records = record::records(bytes(&field[1])?, &self.link.limits).ok(),
                b"t" => at_ms = number(&field[1])?,
                _ => {}
            }
        }
        let records = records?;
        Some(Entry {
            first_id: (last_id + 1).checked_sub(records.len() as u64)?,
            at_ms,
            records,
        })
    }

    /// Counts the messages of other hubs whose ids are inside the local sequence that ends now.
    fn count_overlapped(
        &mut self,
        topic: &Topic,
        first: u64,
        last: u64,
    ) -> Result<(), ServerError> {
        if topic.settings().history > 0 {
            let slice = self.range(topic, first, last)?;
            let messages = slice.entries.iter().map(|entry| entry.records.len());
            Figures::add(&self.link.figures.overlapped, messages.sum());
        }
        Ok(())
    }

    /// Completes the publishes whose ids the topic has passed without delivering them: a gap tells of them.
    fn settle_passed(&self, topic: &Topic, top: u64) {
        for publish in self.link.all_pending() {
            if publish.topic.name() == topic.name() {
                publish.give_up_delivery(top);
            }
        }
    }
}

/// Returns the first half of the id of a stream's entry.
fn number_of_entry(entry: &Value) -> Option<u64> {
    let id = std::str::from_utf8(bytes(elements(entry)?.first()?)?).ok()?;
    id.split_once('-')?.0.parse().ok()
}

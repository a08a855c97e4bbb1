//! How a subscription begins and ends. With `since`, missed messages are replayed first; then the client receives what is
//! published, without a hole and without a duplicate.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::member::Member;
use super::members::Known;
use super::outcome::SubscribeError;
use super::placement::{Placed, Service};
use super::publish::acquire_publish_token;
use super::settings::TopicSettings;
use super::subscribe_options::SubscribeOptions;
use super::topic_state::TopicState;
use crate::connection::Outbox;
use crate::sync::lock;

/// A client's place in a topic. Dropping it ends the subscription.
#[derive(Debug)]
pub(super) struct Membership {
    topic: Arc<TopicState>,
    member: Arc<Member>,
    /// The name in the presence list, if the client is listed.
    name: Option<Arc<str>>,
    pub(super) last_id: u64,
    /// The client was a member already.
    pub(super) is_repeated: bool,
}

/// Subscribes the client behind `outbox`.
///
/// # Blocking
/// As [`Topic::subscribe`](super::Topic::subscribe).
pub(super) fn join(
    topic: &Arc<TopicState>,
    outbox: Outbox,
    options: SubscribeOptions,
) -> Result<Membership, SubscribeError> {
    let (queue, capacity) = (topic.settings().queue, outbox.capacity());
    if queue > capacity {
        return Err(SubscribeError::QueueTooLarge {
            topic: queue,
            client: capacity,
        });
    }
    if let Some(engine) = &topic.hub.config.engine {
        // The topic needs its position before it has a member. Otherwise the member would be told of a false gap.
        let handle = Arc::clone(topic).into();
        engine
            .open(&handle)
            .map_err(|_| SubscribeError::Unavailable)?;
        if options.since.is_some() {
            engine.fill(&handle);
        }
    }
    let entered = match options.since {
        None => enter(topic, outbox, &options)?,
        Some(since) => {
            let known = topic.continue_after(since, options.epoch.as_deref())?;
            let (entered, has_gap) = enter_after(topic, outbox, &options, known)?;
            // A client that has seen nothing does not resume.
            if since > 0 && !entered.is_repeated {
                topic.counters.record_resume(has_gap || known != since);
            }
            entered
        }
    };
    let Entered {
        member,
        last_id,
        is_repeated,
    } = entered;
    if is_repeated && options.presence {
        member.wants_presence.store(true, Ordering::Relaxed);
    }
    let mut membership = Membership {
        topic: Arc::clone(topic),
        member,
        name: options.name,
        last_id,
        is_repeated,
    };
    if let Some(name) = &membership.name {
        let _in_order = topic.presence.lock_notices();
        match topic.presence.enter(name) {
            Some(entered) => {
                if entered.is_new_here {
                    topic.report_present(name, true);
                }
                if entered.is_new {
                    topic.send_presence(name, true);
                }
            }
            // The name is not listed, so it must not be announced as having left.
            None => membership.name = None,
        }
    }
    Ok(membership)
}

/// A client that has become a member, or was one already.
struct Entered {
    member: Arc<Member>,
    last_id: u64,
    is_repeated: bool,
}

impl Entered {
    fn again(member: Arc<Member>, last_id: u64) -> Entered {
        Entered {
            last_id: last_id.max(member.offered_up_to()),
            member,
            is_repeated: true,
        }
    }
}

/// Makes a client a member that receives what is published from now on.
fn enter(
    topic: &TopicState,
    outbox: Outbox,
    options: &SubscribeOptions,
) -> Result<Entered, SubscribeError> {
    let member = new_member(topic, outbox, options);
    let mut members = lock(&topic.members);
    let last_id = members.last_id.get();
    match members.subscribe_again(member.outbox.number()) {
        Known::Member(member) => Ok(Entered::again(member, last_id)),
        Known::Replaying => Err(SubscribeError::Busy),
        Known::New => {
            // The member's first id is set under the same lock. Otherwise a message published in between would be
            // reported as a gap that starts at id 0.
            member.begin_after(last_id);
            members.add(&member);
            drop(members);
            Ok(Entered {
                member,
                last_id,
                is_repeated: false,
            })
        }
    }
}

/// Makes a client a member, and sends it the messages after `since` first. Also returns whether some of these were missing
/// in the history.
///
/// # Blocking
/// As [`replay`].
fn enter_after(
    topic: &TopicState,
    outbox: Outbox,
    options: &SubscribeOptions,
    since: u64,
) -> Result<(Entered, bool), SubscribeError> {
    let client = outbox.number();
    let reservation = {
        let mut members = lock(&topic.members);
        let last_id = members.last_id.get();
        match members.subscribe_again(client) {
            Known::Member(member) => return Ok((Entered::again(member, last_id), false)),
            Known::Replaying => return Err(SubscribeError::Busy),
            Known::New => members.reserve(client),
        }
        Reservation { topic, client }
    };
    let member = new_member(topic, outbox, options);
    // After an error the client may subscribe again, and must not receive a message twice.
    let mut sent = Sent::up_to(since);
    let last_id = replay(topic, &member, &mut sent).inspect_err(|_| member.withdraw())?;
    let has_gap = sent.has_gap || last_id > sent.up_to;
    // With an engine, the member may be ahead of this hub.
    let last_id = last_id.max(since);
    drop(reservation);
    member.outbox.flush();
    let entered = Entered {
        member,
        last_id,
        is_repeated: false,
    };
    Ok((entered, has_gap))
}

fn new_member(topic: &TopicState, outbox: Outbox, options: &SubscribeOptions) -> Arc<Member> {
    let envelope = topic.hub.config.envelope.clone();
    Member::new(
        outbox,
        Arc::clone(&topic.name),
        envelope.filter(|_| options.envelope),
        options.presence,
        Arc::clone(&topic.counters),
        Arc::clone(&topic.hub.epoch),
    )
}

/// The place of a client to which missed messages are sent. Dropping it gives the place up, unless the client has become
/// a member: after an error, and if the envelope panics.
struct Reservation<'a> {
    topic: &'a TopicState,
    client: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        lock(&self.topic.members).give_up(self.client);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        lock(&self.topic.members).remove(&self.member);
        if let Some(name) = &self.name
            && self.topic.presence.leave(name)
        {
            // The name stays in the list for a moment, and so the topic has to stay.
            self.topic.hub.keep(&self.topic);
        }
    }
}

/// How far a replay has come.
struct Sent {
    up_to: u64,
    /// Ids are missing between those that were sent.
    has_gap: bool,
}

impl Sent {
    fn up_to(id: u64) -> Sent {
        Sent {
            up_to: id,
            has_gap: false,
        }
    }

    fn advance_to(&mut self, id: u64) {
        self.has_gap |= id != self.up_to + 1;
        self.up_to = id;
    }
}

/// The most messages that are replayed before the history is looked at again.
const SLICE: usize = 64;

/// How long a client whose connection is not open yet waits for the publish token. The client waits for its 101 meanwhile.
const TOKEN_TIMEOUT_BEFORE_OPEN: Duration = Duration::from_secs(1);

/// Sends the messages after `since`, then adds the member to the topic. Returns the topic's last id at that moment.
///
/// Long histories are sent slice by slice, and publishers are not delayed by it. The last slice is queued while this
/// thread holds the publish token, so that nothing can be published between it and the member's first live message.
///
/// # Blocking
/// Waits for room in the client's queue, and for the publish token. Woken by the client's progress or end. Does not wait
/// for room if the connection is not open yet, because then nothing is written that could make room.
fn replay(
    topic: &TopicState,
    member: &Arc<Member>,
    sent: &mut Sent,
) -> Result<u64, SubscribeError> {
    let is_opening = || member.outbox.is_opening();
    // The hub is swept a few times per second only.
    topic.history.remove_expired(&topic.settings());
    member.begin_after(sent.up_to);
    // Checked before a message is queued: a message that is withdrawn again would count as discarded, and its ticket would
    // take room in the queue.
    if is_opening() {
        let room = member.room(&topic.settings());
        if topic
            .history
            .after(sent.up_to, room.saturating_add(1))
            .len()
            > room
        {
            return Err(SubscribeError::NotOpen);
        }
    }
    loop {
        let settings = topic.settings();
        let mut missing = topic.history.after(sent.up_to, SLICE);
        if missing.len() < SLICE {
            let deadline = is_opening().then(|| Instant::now() + TOKEN_TIMEOUT_BEFORE_OPEN);
            let token = acquire_publish_token(topic, deadline).ok_or(SubscribeError::Busy)?;
            if let Some(last_id) = try_end_replay(topic, member, sent, &settings) {
                return Ok(last_id);
            }
            drop(token);
            missing = topic.history.after(sent.up_to, 1);
        }
        let deadline = is_opening().then(Instant::now);
        for message in missing {
            let place = || match member.place(&message, &settings, Service::Ticket) {
                Placed::Full => None,
                placed => Some(placed),
            };
            match member.outbox.wait_for_room(deadline, place) {
                None => return Err(SubscribeError::NotOpen),
                Some(Placed::Closed) => return Ok(topic.add(member)),
                Some(_) => sent.advance_to(message.id()),
            }
        }
    }
}

/// Queues all missing messages as far as there is room. If all of them fit, adds the member to the topic and returns the
/// topic's last id. The caller holds the publish token.
fn try_end_replay(
    topic: &TopicState,
    member: &Arc<Member>,
    sent: &mut Sent,
    settings: &TopicSettings,
) -> Option<u64> {
    for message in topic.history.after(sent.up_to, usize::MAX) {
        if member.place(&message, settings, Service::Ticket) == Placed::Full {
            return None;
        }
        sent.advance_to(message.id());
    }
    let last_id = topic.add(member);
    member.end_replay(last_id, settings.policy);
    Some(last_id)
}

#[cfg(test)]
#[path = "tests/resume.rs"]
mod tests;

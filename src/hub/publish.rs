//! How messages enter a topic: the publish token, the ids, the history, every member.
//!
//! Flushing and disconnecting members is done after the token has been returned, because it must not delay the next
//! publisher.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::delivery::Delivery;
use super::member::Member;
use super::message::{Publication, TopicMessage, time_before};
use super::outcome::{PublishError, PublishOutcome};
use super::policy::Policy;
use super::settings::TopicSettings;
use super::topic_state::TopicState;
use crate::connection::queue::room::RetryBudget;
use crate::connection::write::frame::{EncodedFrame, FrameBatch};
use crate::sync::lock;

/// A publication, and its encoded frame.
pub(super) type Encoded = (Publication, EncodedFrame);

/// Publishes messages: see [`Topic::publish_all`](super::Topic::publish_all). `timeout` limits the wait for the publish
/// token, in addition to the time limit of `block`.
pub(super) fn publish_all(
    topic: &Arc<TopicState>,
    publications: Vec<Publication>,
    timeout: Option<Duration>,
) -> Result<Vec<PublishOutcome>, PublishError<Vec<Publication>>> {
    let left = encode(publications);
    let deadline = block_deadline(&lock(&topic.settings));
    // Declared before the token, so that it is dropped after it, even if the user's envelope panics.
    let mut after = AfterPublish::new(topic);
    let until = timeout
        .map(deadline_after)
        .into_iter()
        .chain(deadline)
        .min();
    let Some(token) = acquire_publish_token(topic, until) else {
        let publications = left.map(|(publication, _)| publication);
        return Err(PublishError::Busy(publications.collect()));
    };
    let outcomes = deliver_all(topic, left, Source::Here { deadline }, &mut after);
    drop(token);
    drop(after);
    Ok(outcomes)
}

/// Encodes messages, which must not be done while the publish token is held.
pub(super) fn encode(publications: Vec<Publication>) -> std::vec::IntoIter<Encoded> {
    let encode = |publication: Publication| {
        let frame = EncodedFrame::data(&publication.message);
        (publication, frame)
    };
    let encoded: Vec<Encoded> = publications.into_iter().map(encode).collect();
    encoded.into_iter()
}

/// Where messages come from. This decides how they are delivered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// From a publisher of this hub, which waits for members under `block`, until the deadline.
    Here { deadline: Option<Instant> },
    /// From the engine, which received them at this age, in milliseconds. Its thread waits for no member.
    Engine { published_at: i64 },
    /// From a publisher of this hub, without the engine. These messages are not kept in the history.
    Isolated,
}

/// Gives messages the next ids, and delivers them. The caller holds the publish token, and drops `after` when it has
/// returned it.
pub(super) fn deliver_all(
    topic: &Arc<TopicState>,
    mut left: std::vec::IntoIter<Encoded>,
    source: Source,
    after: &mut AfterPublish<'_>,
) -> Vec<PublishOutcome> {
    let (mut outcomes, mut retry_budget) = (Vec::new(), source.retry_budget());
    while !left.as_slice().is_empty() {
        // A member that is disconnected because of one batch must receive none of the next.
        if let Some(previous) = after.batches.last_mut() {
            previous.disconnect(&topic.name);
        }
        let settings = source.adapt(*lock(&topic.settings));
        let count = count_of_next_batch(left.as_slice(), &settings);
        outcomes.extend(publish_batch(
            topic,
            left.by_ref().take(count),
            &settings,
            (&mut retry_budget, source),
            &mut after.batches,
        ));
    }
    outcomes
}

impl Source {
    /// How long the thread of an engine waits, in one call, for queues that are full although their sockets are not
    /// blocked.
    const ENGINE_BUDGET: Duration = Duration::from_millis(20);

    fn retry_budget(self) -> RetryBudget {
        match self {
            Source::Here { .. } => RetryBudget::default(),
            Source::Engine { .. } | Source::Isolated => RetryBudget::in_all(Self::ENGINE_BUDGET),
        }
    }

    /// Returns the settings by which messages from here are delivered. `block` acts as `disconnect` where nothing may wait
    /// for a member.
    fn adapt(self, mut settings: TopicSettings) -> TopicSettings {
        let waits = matches!(self, Source::Here { .. });
        if !waits && matches!(settings.policy, Policy::Block { .. }) {
            settings.policy = Policy::Disconnect { soft: None };
        }
        if matches!(self, Source::Isolated) {
            settings.history = 0;
        }
        settings
    }

    /// Returns the time of publication, in milliseconds as [`clock::now`](crate::clock::now) counts.
    fn published_at(self) -> i64 {
        match self {
            Source::Engine { published_at } => published_at,
            Source::Here { .. } | Source::Isolated => time_before(Duration::ZERO),
        }
    }

    fn deadline(self, settings: &TopicSettings) -> Option<Instant> {
        match self {
            // The policy may have become `block` since the publish began.
            Source::Here { deadline } => deadline.or_else(|| block_deadline(settings)),
            Source::Engine { .. } | Source::Isolated => None,
        }
    }
}

/// Gives the messages of one batch their ids, adds them to the history, and delivers them to every member.
fn publish_batch(
    topic: &Arc<TopicState>,
    batch: impl ExactSizeIterator<Item = Encoded>,
    settings: &TopicSettings,
    (retry_budget, source): (&mut RetryBudget, Source),
    after: &mut Vec<AfterBatch>,
) -> Vec<PublishOutcome> {
    let (first_id, members) = {
        let members = lock(&topic.members);
        let first_id = members.last_id.assign(batch.len());
        (first_id, Arc::clone(&members.list))
    };
    let (mut except, published_at) = (None, source.published_at());
    let messages: Vec<Arc<TopicMessage>> = (first_id..)
        .zip(batch)
        .map(|(id, (publication, frame))| {
            except = publication.except;
            Arc::new(TopicMessage::new(publication, frame, id, published_at))
        })
        .collect();
    if settings.history > 0 {
        keep_in_history(topic, &messages, settings);
    }
    // Members are flushed while their memory is in the cache. But a flush is a system call, so if another publisher waits
    // for the publish token, members are flushed after the token has been returned.
    let flushes = topic.waiting_publishers.load(Ordering::Relaxed) == 0;
    after.push(AfterBatch {
        members: Arc::clone(&members),
        to_disconnect: Vec::new(),
        is_flushed: false,
    });
    let after = after.last_mut().expect("it has just been pushed");
    let outcomes = Delivery::new(
        &messages,
        &members,
        settings,
        &topic.counters,
        (retry_budget, source.deadline(settings)),
        &mut after.to_disconnect,
    )
    .deliver(except, flushes);
    after.is_flushed = flushes;
    outcomes
}

fn keep_in_history(
    topic: &Arc<TopicState>,
    messages: &[Arc<TopicMessage>],
    settings: &TopicSettings,
) {
    for message in messages {
        topic.prepare_for_history(message);
        topic.history.add(message, settings);
    }
    // An engine keeps the history. Without members, this hub need not.
    if topic.hub.config.engine.is_none() {
        topic.hub.keep(topic);
    }
}

/// Returns when a publish that starts now must give up, if the policy sets a time limit.
pub(super) fn block_deadline(settings: &TopicSettings) -> Option<Instant> {
    match settings.policy {
        Policy::Block {
            timeout: Some(timeout),
        } => Instant::now().checked_add(timeout),
        _ => None,
    }
}

/// Returns the moment after `timeout`. A year stands for a time that the clock cannot represent.
pub(super) fn deadline_after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + YEAR)
}

/// Returns how many messages form the next batch: as many as [`FrameBatch::count_that_fits`] says, at most as many as may
/// be pending for a member, and all with the same excluded client.
fn count_of_next_batch(left: &[Encoded], settings: &TopicSettings) -> usize {
    let except = left[0].0.except;
    let alike = left.iter().take_while(|(next, _)| next.except == except);
    FrameBatch::count_that_fits(alike.map(|(_, frame)| frame.len())).min(settings.queue.max(1))
}

/// The right to publish to a topic. Returned when it is dropped.
pub(super) struct PublishToken<'a>(&'a Sender<()>);

impl Drop for PublishToken<'_> {
    fn drop(&mut self) {
        self.0.send(()).expect("the receiver is beside the sender");
    }
}

/// Acquires the publish token of `topic`. Returns `None` if another publisher still holds it at `deadline`, or without a
/// deadline after [`HubConfig::publish_timeout`](super::HubConfig::publish_timeout).
///
/// # Blocking
/// Woken by the thread that returns the token.
pub(super) fn acquire_publish_token(
    topic: &TopicState,
    deadline: Option<Instant>,
) -> Option<PublishToken<'_>> {
    let (sender, receiver) = &topic.publish_token;
    if receiver.try_recv().is_ok() {
        return Some(PublishToken(sender));
    }
    let deadline = deadline.unwrap_or_else(|| deadline_after(topic.hub.config.publish_timeout));
    topic.waiting_publishers.fetch_add(1, Ordering::Relaxed);
    let acquired = receiver.recv_deadline(deadline);
    topic.waiting_publishers.fetch_sub(1, Ordering::Relaxed);
    acquired.ok().map(|()| PublishToken(sender))
}

/// Acquires the publish token of `topic` for an engine. Nothing else than an engine's call, which waits for no member, and
/// the last step of a replay hold the token of a topic of an engine, so it is free soon.
///
/// # Blocking
/// Woken by the thread that returns the token.
pub(super) fn acquire_publish_token_soon(topic: &TopicState) -> PublishToken<'_> {
    let (sender, receiver) = &topic.publish_token;
    if receiver.try_recv().is_err() {
        topic.waiting_publishers.fetch_add(1, Ordering::Relaxed);
        receiver.recv().expect("the sender is beside the receiver");
        topic.waiting_publishers.fetch_sub(1, Ordering::Relaxed);
    }
    PublishToken(sender)
}

/// What is left to do for all batches of one publish. Done when it is dropped.
pub(super) struct AfterPublish<'a> {
    topic: &'a str,
    batches: Vec<AfterBatch>,
}

/// A batch that every member has received, and what is left to do for it.
struct AfterBatch {
    members: Arc<Vec<Arc<Member>>>,
    to_disconnect: Vec<Arc<Member>>,
    is_flushed: bool,
}

impl AfterPublish<'_> {
    pub(super) fn new(topic: &TopicState) -> AfterPublish<'_> {
        AfterPublish {
            topic: &topic.name,
            batches: Vec::new(),
        }
    }
}

impl Drop for AfterPublish<'_> {
    fn drop(&mut self) {
        for batch in &mut self.batches {
            if !batch.is_flushed {
                batch
                    .members
                    .iter()
                    .for_each(|member| member.outbox.flush());
            }
            batch.disconnect(self.topic);
        }
    }
}

impl AfterBatch {
    fn disconnect(&mut self, topic: &str) {
        for member in self.to_disconnect.drain(..) {
            member.outbox.disconnect_slow_consumer(topic);
        }
    }
}

#[cfg(test)]
#[path = "tests/publish.rs"]
mod tests;

//! The publishing thread's side of a publish: it waits for the outcome, or publishes locally.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::config::Lost;
use super::figures::Figures;
use super::link::Link;
use super::pending::{PendingPublish, Progress, Stage};
use super::queue::NotQueued;
use super::record;
use super::status::LinkState;
use crate::hub::{Publication, PublishError, PublishOutcome, Topic};

/// The most messages of one call of the script.
pub(super) const MAX_CALL: usize = 64;

/// The most bytes of one call of the script, unless a single message is larger.
const MAX_CALL_BYTES: usize = 1 << 20;

/// How long after its deadline a publish that was sent counts as not executed: the error of the estimated clock.
const MARGIN: Duration = Duration::from_millis(30);

type Outcome = Result<Vec<PublishOutcome>, PublishError<Vec<Publication>>>;

impl Link {
    /// Publishes messages, 64 and 1 MiB at a time, and waits for their outcomes. If a part of them has been published when
    /// another part is not, the error is [`PublishError::Unknown`], because it is about all of them.
    ///
    /// # Blocking
    /// Waits for the server and for the delivery on this hub, up to the timeout while the link is up. If the link is lost
    /// meanwhile, up to four times the timeout. Woken by the threads of the link.
    pub(super) fn publish(
        &self,
        topic: &Topic,
        publications: Vec<Publication>,
        limit: Option<Instant>,
    ) -> Outcome {
        let mut left = publications.into_iter();
        let mut outcomes = Vec::with_capacity(left.len());
        while !left.as_slice().is_empty() {
            let count = count_of_call(left.as_slice());
            let call: Vec<Publication> = left.by_ref().take(count).collect();
            match self.publish_call(topic, call, limit) {
                Ok(published) => outcomes.extend(published),
                Err(error) => {
                    let error = error.map(|mut unpublished| {
                        unpublished.extend(left);
                        unpublished
                    });
                    return Err(if outcomes.is_empty() {
                        error
                    } else {
                        PublishError::Unknown(error.into_inner())
                    });
                }
            }
        }
        Ok(outcomes)
    }

    fn publish_call(
        &self,
        topic: &Topic,
        mut publications: Vec<Publication>,
        limit: Option<Instant>,
    ) -> Outcome {
        let invalid = publications
            .iter()
            .find_map(|publication| record::check(publication, &self.limits).err());
        if let Some(reason) = invalid {
            return self.unavailable(publications, format!("the message is not valid: {reason}"));
        }
        let began = Instant::now();
        let deadline = limit.map_or(began + self.timeout, |limit| {
            limit.min(began + self.timeout)
        });
        while self.is_isolated() {
            if self.is_stopped() {
                return self.unavailable(publications, "the server is shutting down");
            }
            if self.lost == Lost::Refuse {
                return self.unavailable(publications, "the connection to redis is lost");
            }
            match self.publish_local(topic, publications, || true) {
                Ok(outcomes) => return Ok(outcomes),
                Err(unpublished) => publications = unpublished,
            }
        }
        let count = publications.len();
        let registered = self.register(count, |first_seq| {
            let mut records = Vec::new();
            for (seq, publication) in (first_seq..).zip(&publications) {
                record::append(&mut records, self.node, seq, publication);
            }
            PendingPublish::new(topic.clone(), records, (first_seq, count), deadline)
        });
        let publish = &registered.publish;
        match self.queue.push(publish, deadline) {
            Ok(()) => {}
            Err(NotQueued::Closed) => {
                return self.unavailable(publications, "the server is shutting down");
            }
            Err(NotQueued::Full) => {
                return self.unavailable(publications, "redis is too slow: too many messages wait");
            }
        }
        loop {
            let (now, state) = (Instant::now(), self.state());
            // Later than at first, if it was sent again.
            let deadline = publish.deadline();
            let give_up =
                deadline.clamp(began + 3 * self.timeout, began + 4 * self.timeout) + MARGIN;
            let (is_sent, is_replied) = match publish.progress(now >= deadline) {
                Progress::Done(outcomes) => return Ok(outcomes),
                Progress::Refused(reason) => return self.unavailable(publications, reason),
                Progress::Unknown => return self.unknown(publications),
                Progress::Waiting {
                    is_sent,
                    is_replied,
                } => (is_sent, is_replied),
            };
            let is_past = now >= deadline + if is_sent { MARGIN } else { Duration::ZERO };
            let is_isolated = state == LinkState::Isolated;
            if is_isolated && (!is_sent || is_past) && self.lost == Lost::Local {
                match self.publish_local(topic, publications, || publish.try_take()) {
                    Ok(outcomes) => {
                        self.queue.remove(publish);
                        return Ok(outcomes);
                    }
                    Err(unpublished) => publications = unpublished,
                }
            }
            let gives_up = if is_sent {
                !is_replied && (now >= give_up || (is_past && self.lost == Lost::Refuse))
            } else {
                now >= give_up
                    || (is_past && state == LinkState::Up)
                    || (is_isolated && self.lost == Lost::Refuse)
            };
            if gives_up {
                // Its messages may have come back although its reply has not.
                publish.lose_reply();
            }
            if gives_up && publish.try_take() {
                self.queue.remove(publish);
                return match (is_sent, is_isolated) {
                    (true, _) => self.unknown(publications),
                    (false, true) => {
                        self.unavailable(publications, "the connection to redis is lost")
                    }
                    (false, false) => {
                        self.unavailable(publications, "redis did not take it in time")
                    }
                };
            }
            // The moments at which another of the conditions above may hold.
            let moments = [deadline, deadline + MARGIN, self.isolation(), give_up];
            let next = moments.into_iter().filter(|moment| *moment > now).min();
            publish.wait(next.unwrap_or(now + MARGIN));
        }
    }

    /// Publishes to the members of this hub only. Returns the messages if the link is not isolated any more, or if
    /// `try_take` fails, which is called at the moment at which this is decided.
    fn publish_local(
        &self,
        topic: &Topic,
        publications: Vec<Publication>,
        try_take: impl Fn() -> bool,
    ) -> Result<Vec<PublishOutcome>, Vec<Publication>> {
        let before = topic.last_id();
        let may_begin = || self.is_isolated() && try_take();
        let outcomes = topic.publish_local(self.clock.now(), publications, &may_begin)?;
        self.count_local(before, &outcomes);
        Ok(outcomes)
    }

    /// Counts local messages of a topic whose last id was `before`. Where the ids jump, a local sequence has begun.
    pub(super) fn count_local(&self, before: u64, outcomes: &[PublishOutcome]) {
        if outcomes.first().is_some_and(|first| first.id != before + 1) {
            Figures::add(&self.figures.local_sequences, 1);
            Figures::add(&self.figures.gaps, 1);
        }
        Figures::add(&self.figures.local_messages, outcomes.len());
    }

    fn unavailable(
        &self,
        unpublished: Vec<Publication>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Outcome {
        Figures::add(&self.figures.refused, unpublished.len());
        Err(PublishError::Unavailable(unpublished, reason.into()))
    }

    fn unknown(&self, unpublished: Vec<Publication>) -> Outcome {
        Figures::add(&self.figures.unknown, unpublished.len());
        Err(PublishError::Unknown(unpublished))
    }
}

/// Returns how many messages the next call of the script carries.
fn count_of_call(left: &[Publication]) -> usize {
    let mut bytes = 0;
    let fitting = left.iter().take(MAX_CALL).take_while(|publication| {
        bytes += publication.message.len();
        bytes <= MAX_CALL_BYTES
    });
    fitting.count().max(1)
}

/// Makes a local message of a publish whose execution can be proved neither way. Under [`Lost::Refuse`] its outcome is not
/// known. Returns whether there are local messages.
pub(super) fn settle_locally(link: &Link, publish: &PendingPublish) -> bool {
    let topic = &publish.topic;
    if link.lost == Lost::Refuse {
        publish.settle(Stage::Unknown);
        return false;
    }
    let Ok(records) = record::records(&publish.records, &link.limits) else {
        publish.settle(Stage::Unknown);
        return false;
    };
    let publications: Vec<Publication> = records
        .into_iter()
        .map(|record| record.publication)
        .collect();
    let before = topic.last_id();
    let may_begin = || publish.try_take();
    match topic.publish_local(link.clock.now(), publications, &may_begin) {
        Ok(outcomes) => {
            link.count_local(before, &outcomes);
            publish.settle(Stage::Local(outcomes));
            true
        }
        // It has got its outcome meanwhile.
        Err(_) => false,
    }
}

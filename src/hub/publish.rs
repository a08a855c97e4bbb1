//! How a message goes into a topic: the turn, the id, the history, every member; and then what must not hold up the next
//! publisher, flushing and cutting.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::delivery::Delivery;
use super::member::Member;
use super::message::{Publication, TopicMessage};
use super::policy::TopicSettings;
use super::topic::Topic;
use crate::connection::queue::outbox::RetryBudget;
use crate::connection::write::frame::{EncodedFrame, FrameBatch};

/// How long a publisher waits for its turn: longer than one publish lasts, unless members are blocked one after another
/// under `block`.
const TURN: Duration = Duration::from_secs(60);

/// What became of a published message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishOutcome {
    /// Its place in the topic.
    pub id: u64,
    /// Members it was queued for.
    pub receivers: usize,
    /// Members that were too slow for it: their policy dropped it, or they were cut.
    pub dropped: usize,
    /// Under `block`, the time ran out with members still without room; they were cut.
    pub timed_out: bool,
}

/// Why a message was not published: nobody got it, and it has no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic's turn did not come in time: its publishers wait for slow members. Try again later.
    #[error("the topic is busy: its publishers wait for slow members")]
    Busy,
    /// Only text and binary messages can be published.
    #[error("only text and binary messages can be published")]
    NotData,
}

/// The turn, until it is dropped.
pub(super) struct PublishToken<'a>(&'a Sender<()>);

impl Drop for PublishToken<'_> {
    fn drop(&mut self) {
        self.0.send(()).expect("the receiver is beside it");
    }
}

impl Topic {
    /// Queues a text or binary message for every member.
    ///
    /// For a member that is slow, the topic's [`Policy`](super::Policy) decides.
    ///
    /// # Blocking
    /// For the topic's turn, which another publisher may hold, at most 60 s, or `block`'s time. For members without room
    /// whose sockets are not blocked, at most 100 ms in all. Under [`Policy::Block`](super::Policy::Block), for slow
    /// members too, as long as that says.
    ///
    /// # Errors
    /// [`PublishError`]: nobody got it.
    pub fn publish(
        &self,
        publication: impl Into<Publication>,
    ) -> Result<PublishOutcome, PublishError> {
        let mut published = self.publish_all(vec![publication.into()])?;
        Ok(published.pop().expect("one for each"))
    }

    /// As [`publish`](Self::publish) of one after the other, with nobody's in between: for messages that are there at the
    /// same time. A member that nothing waits for gets up to 64 of them in one write, or as many as fill 64 KiB.
    ///
    /// A member that is cut for one of them is not counted for those after it.
    ///
    /// # Blocking
    /// As [`publish`](Self::publish); `block`'s time is for all of them together.
    ///
    /// # Errors
    /// [`PublishError`]: nobody got any of them.
    pub fn publish_all(
        &self,
        publications: Vec<Publication>,
    ) -> Result<Vec<PublishOutcome>, PublishError> {
        let encode = |publication: Publication| {
            let frame = EncodedFrame::data(&publication.message)?;
            Some((publication, frame))
        };
        let encoded: Option<Vec<_>> = publications.into_iter().map(encode).collect();
        let mut left = encoded.ok_or(PublishError::NotData)?.into_iter();
        let deadline = self.settings().deadline();
        // Before the turn, so that it is dropped after it: also when the user's envelope panics.
        let mut given = AllGiven(self, Vec::new());
        let publish_token = self
            .take_publish_token(deadline)
            .ok_or(PublishError::Busy)?;
        let (mut published, mut patience) = (Vec::new(), RetryBudget::default());
        while !left.as_slice().is_empty() {
            // Who is cut for a message before gets none of these.
            if let Some(last) = given.1.last_mut() {
                last.cut(self.name());
            }
            let settings = self.settings();
            // The policy may have become one that waits so long only.
            let deadline = deadline.or_else(|| settings.deadline());
            let together = together(left.as_slice(), &settings);
            let run = left.by_ref().take(together);
            let how = (&settings, (&mut patience, deadline));
            published.extend(self.give(run, how, &mut given.1));
        }
        drop(publish_token);
        drop(given);
        Ok(published)
    }

    /// Gives messages that go together their ids, and to every member.
    fn give(
        &self,
        run: impl ExactSizeIterator<Item = (Publication, EncodedFrame)>,
        (settings, patience): (&TopicSettings, (&mut RetryBudget, Option<Instant>)),
        all_given: &mut Vec<Given>,
    ) -> Vec<PublishOutcome> {
        let (first, members) = self.next_ids(run.len());
        let mut except = None;
        let post = |(id, (publication, frame)): (u64, (Publication, EncodedFrame))| {
            except = publication.except;
            Arc::new(TopicMessage::new(publication, frame, id))
        };
        let posts: Vec<Arc<TopicMessage>> = (first..).zip(run).map(post).collect();
        if settings.history > 0 {
            for post in &posts {
                // Made now, so that it is counted: escaped, it may be several times as large as what came.
                if let Some(envelope) = self.envelope() {
                    post.frame(Some((&*envelope, self.name())));
                }
                self.inner.history.keep(post, settings);
            }
            self.inner.shared.keep(&self.inner);
        }
        // Members are flushed while their memory is in the cache. But a flush is a system call, so if another publisher
        // waits for the publish token, members are flushed after it has been given back.
        let at_once = self.inner.waiting_publishers.load(Ordering::Relaxed) == 0;
        all_given.push(Given {
            members: Arc::clone(&members),
            victims: Vec::new(),
            flushed: false,
        });
        let given = all_given.last_mut().expect("it has been pushed");
        let counts = &self.inner.counts;
        let victims = &mut given.victims;
        let fan = Delivery::new(&posts, &members, settings, counts, patience, victims);
        let published = fan.give(except, at_once);
        given.flushed = at_once;
        published
    }

    pub(super) fn take_publish_token(&self, deadline: Option<Instant>) -> Option<PublishToken<'_>> {
        let (give, take) = &self.inner.publish_token;
        if take.try_recv().is_ok() {
            return Some(PublishToken(give));
        }
        let deadline = deadline.unwrap_or_else(|| Instant::now() + TURN);
        self.inner
            .waiting_publishers
            .fetch_add(1, Ordering::Relaxed);
        let taken = take.recv_deadline(deadline);
        self.inner
            .waiting_publishers
            .fetch_sub(1, Ordering::Relaxed);
        taken.ok().map(|()| PublishToken(give))
    }
}

/// How many of these go together: as [`FrameBatch::count_that_fits`] says, no more than a member may have waiting, and all but for the
/// same client.
fn together(left: &[(Publication, EncodedFrame)], settings: &TopicSettings) -> usize {
    let except = left[0].0.except;
    let alike = left.iter().take_while(|(next, _)| next.except == except);
    FrameBatch::count_that_fits(alike.map(|(_, frame)| frame.len())).min(settings.queue.max(1))
}

/// Messages that every member has, and what is left to do when the turn is over.
struct Given {
    members: Arc<Vec<Arc<Member>>>,
    victims: Vec<Arc<Member>>,
    flushed: bool,
}

/// What is left to do for all runs of one publish, done when it is dropped.
struct AllGiven<'a>(&'a Topic, Vec<Given>);

impl Drop for AllGiven<'_> {
    fn drop(&mut self) {
        for given in &mut self.1 {
            if !given.flushed {
                given
                    .members
                    .iter()
                    .for_each(|member| member.outbox.flush());
            }
            given.cut(self.0.name());
        }
    }
}

impl Given {
    fn cut(&mut self, topic: &str) {
        for victim in self.victims.drain(..) {
            victim.outbox.disconnect_slow_consumer(topic);
        }
    }
}

#[cfg(test)]
#[path = "tests/publish.rs"]
mod tests;

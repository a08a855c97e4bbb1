//! How a message goes into a topic: the turn, the id, the history, every member; and then what must not hold up the next
//! publisher, flushing and cutting.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::fan::Fan;
use super::lane::Member;
use super::post::{Post, Publication};
use super::settings::TopicSettings;
use super::topic::Topic;
use crate::connection::{self, FlushAll, Frame, Run};

/// How long a publisher waits for its turn: longer than one publish lasts, unless members are blocked one after another
/// under `block`.
const TURN: Duration = Duration::from_secs(60);

/// What became of a published message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
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
pub(super) struct Turn<'a>(&'a Sender<()>);

impl Drop for Turn<'_> {
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
    pub fn publish(&self, publication: impl Into<Publication>) -> Result<Published, PublishError> {
        let mut published = self.publish_all(vec![publication.into()])?;
        Ok(published.pop().expect("one for each"))
    }

    /// As [`publish`](Self::publish) of one after the other, with nobody's in between: for messages that are there at the
    /// same time. A member that nothing waits for gets up to 64 of them, or 64 KiB, in one write.
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
    ) -> Result<Vec<Published>, PublishError> {
        let encode = |publication: Publication| {
            let frame = Frame::data(&publication.message)?;
            Some((publication, frame))
        };
        let encoded: Option<Vec<_>> = publications.into_iter().map(encode).collect();
        let mut left = encoded.ok_or(PublishError::NotData)?.into_iter();
        let deadline = self.settings().deadline();
        let turn = self.take_turn(deadline).ok_or(PublishError::Busy)?;
        let (mut published, mut given) = (Vec::new(), Vec::<Given>::new());
        while !left.as_slice().is_empty() {
            // Who is cut for a message before gets none of these.
            if let Some(last) = given.last_mut() {
                last.cut(self.name());
            }
            let settings = self.settings();
            let together = together(left.as_slice(), &settings);
            let run = left.by_ref().take(together);
            given.push(self.give(run, &settings, deadline, &mut published));
        }
        drop(turn);
        for mut given in given {
            given.flush();
            given.cut(self.name());
        }
        Ok(published)
    }

    /// Gives messages that go together their ids, and to every member.
    fn give(
        &self,
        run: impl ExactSizeIterator<Item = (Publication, Frame)>,
        settings: &TopicSettings,
        deadline: Option<Instant>,
        published: &mut Vec<Published>,
    ) -> Given {
        let (first, members) = self.next_ids(run.len());
        let mut except = None;
        let post = |(id, (publication, frame)): (u64, (Publication, Frame))| {
            except = publication.except;
            Arc::new(Post::new(publication, frame, id))
        };
        let posts: Vec<Arc<Post>> = (first..).zip(run).map(post).collect();
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
        // A member's memory is at hand now, and will not be when a thousand others have been visited. But a flush is a
        // system call, and who waits for the turn shall not wait for those: then they come after it.
        let at_once = !connection::holds_back() && self.inner.wanted.load(Ordering::Relaxed) == 0;
        let mut fan = Fan::new(&posts, settings, deadline, &self.inner.counts);
        for member in members.iter() {
            if Some(member.outbox.client()) != except {
                fan.give(member, at_once);
            }
        }
        let (told, victims) = fan.end();
        published.extend(told);
        let victims = victims.into_iter().map(Arc::clone).collect();
        let flushed = match (at_once, except) {
            (false, _) => Flushed::Nobody,
            (true, None) => Flushed::All,
            (true, Some(_)) => Flushed::AllButOne,
        };
        Given {
            members,
            victims,
            flushed,
        }
    }

    pub(super) fn take_turn(&self, deadline: Option<Instant>) -> Option<Turn<'_>> {
        let (give, take) = &self.inner.turn;
        if take.try_recv().is_ok() {
            return Some(Turn(give));
        }
        connection::release();
        let deadline = deadline.unwrap_or_else(|| Instant::now() + TURN);
        self.inner.wanted.fetch_add(1, Ordering::Relaxed);
        let taken = take.recv_deadline(deadline);
        self.inner.wanted.fetch_sub(1, Ordering::Relaxed);
        taken.ok().map(|()| Turn(give))
    }
}

/// How many of these go together: as [`Run::together`] says, no more than a member may have waiting, and all but for the
/// same client.
fn together(left: &[(Publication, Frame)], settings: &TopicSettings) -> usize {
    let except = left[0].0.except;
    let alike = left.iter().take_while(|(next, _)| next.except == except);
    Run::together(alike.map(|(_, frame)| frame.len())).min(settings.queue.max(1))
}

/// Messages that every member has, and what is left to do when the turn is over.
struct Given {
    members: Arc<Vec<Arc<Member>>>,
    victims: Vec<Arc<Member>>,
    flushed: Flushed,
}

/// Who has been flushed already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flushed {
    Nobody,
    All,
    AllButOne,
}

impl Given {
    fn flush(&self) {
        let fanned = Fanned(Arc::clone(&self.members));
        match self.flushed {
            Flushed::Nobody => connection::flush_all(Box::new(fanned)),
            Flushed::All => connection::flushed(fanned.address()),
            Flushed::AllButOne => {}
        }
    }

    fn cut(&mut self, topic: &str) {
        for victim in self.victims.drain(..) {
            victim.outbox.cut(topic);
        }
    }
}

/// The members that a publish has queued to.
struct Fanned(Arc<Vec<Arc<Member>>>);

impl FlushAll for Fanned {
    fn flush_all(&self) {
        for member in self.0.iter() {
            member.outbox.flush();
        }
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::Message;

    use super::*;
    use crate::config::Config;
    use crate::connection::Rig;
    use crate::hub::{Hub, HubConfig, Policy, Subscribe};

    fn publications(count: u8) -> Vec<Publication> {
        let publication = |n| Publication::from(Message::binary(vec![n]));
        (0..count).map(publication).collect()
    }

    fn topic(policy: Policy, queue: usize) -> Topic {
        let settings = TopicSettings::default().policy(policy).queue(queue);
        let hub = Hub::new(HubConfig::default().topic("*", settings));
        hub.topic("t").expect("there is room for one")
    }

    /// What goes together is in hand when the socket refuses it, out of the policy's reach.
    #[test]
    fn no_more_goes_together_than_may_wait_for_a_member() {
        let topic = topic(Policy::DropOldest, 2);
        let rig = Rig::new(Config::default());
        rig.takes(0);
        let _member = topic.subscribe(rig.outbox().clone(), Subscribe::new());
        let published = topic.publish_all(publications(10)).expect("it is free");
        assert!(published.iter().all(|published| published.receivers == 1));
        rig.write();
        // Two in hand, and the two newest.
        let accounts = rig.outbox().accounts();
        assert_eq!((accounts.delivered, accounts.dropped), (4, 6));
        rig.end();
    }

    /// A message may be larger than the one it replaces.
    #[test]
    fn a_slow_member_has_no_more_waiting_than_its_bytes_and_one_message() {
        for policy in [Policy::DropOldest, Policy::Conflate] {
            let topic = topic(policy, 64);
            let rig = Rig::new(Config::default().queue_bytes(1000));
            rig.takes(0);
            let _member = topic.subscribe(rig.outbox().clone(), Subscribe::new());
            for (size, key) in (0..300).map(|n| (if n < 100 { 5 } else { n }, n % 50)) {
                let message = Message::binary(vec![7; size]);
                let publication = Publication::from(message).key(&key.to_string());
                topic.publish(publication).expect("it is free");
                let bytes = rig.outbox().bytes();
                assert!(bytes <= 1000 + size + 4, "{policy}: {bytes} with {size}");
            }
            assert!(rig.outbox().accounts().dropped > 200, "{policy}");
            rig.end();
        }
    }

    #[test]
    fn what_is_not_for_one_client_is_kept_from_it_among_what_is() {
        let topic = topic(Policy::DropNewest, 64);
        let rig = Rig::new(Config::default());
        rig.takes(1000);
        let _member = topic.subscribe(rig.outbox().clone(), Subscribe::new());
        let mut publications = publications(4);
        publications[1] = publications[1].clone().except(rig.outbox().client());
        publications[2] = publications[2].clone().except(rig.outbox().client() + 1);
        let published = topic.publish_all(publications).expect("it is free");
        let receivers: Vec<usize> = published
            .iter()
            .map(|published| published.receivers)
            .collect();
        assert_eq!(receivers, [1, 0, 1, 1]);
        assert_eq!(rig.outbox().accounts().delivered, 3);
        rig.end();
    }

    #[test]
    fn nothing_is_published_when_one_of_them_cannot_be() {
        let topic = topic(Policy::DropNewest, 64);
        let before = topic.last_id();
        let mut publications = publications(2);
        publications.push(Message::Ping(vec![].into()).into());
        assert_eq!(topic.publish_all(publications), Err(PublishError::NotData));
        assert_eq!(topic.last_id(), before);
        assert_eq!(topic.publish_all(vec![]), Ok(vec![]));
    }
}

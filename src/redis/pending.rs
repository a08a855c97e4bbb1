//! [`PendingPublish`]: one publish that waits for its outcome.
//!
//! The publishing thread waits here. The publisher thread, the subscriber thread and the link thread say what has become
//! of the publish. Exactly one thread decides its outcome, under one lock.

use std::borrow::Cow;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::hub::{PublishOutcome, Topic};
use crate::sync::{lock, wait};

/// How far a publish has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// It waits in the queue. The server does not know it.
    Queued,
    /// It was sent. The server executes it before its deadline, or never.
    Sent,
    /// The server has assigned ids.
    Replied { first_id: u64, nodes: usize },
    /// The server did not execute it, and never will.
    Refused(Cow<'static, str>),
    /// The outcome cannot be known any more.
    Unknown,
    /// The thread that took it out of the link's hands decides what becomes of it.
    Taken,
    /// It has become a local message.
    Local(Vec<PublishOutcome>),
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// What the members of this hub have received, by message.
    delivered: Vec<Option<PublishOutcome>>,
    /// The topic's messages are received, so the publish is complete when its messages have come back.
    is_awaited: bool,
    deadline: Instant,
    /// It was sent before, and the server has proved not to have executed it.
    is_retried: bool,
    /// The topic has lost messages, of which this may be one.
    is_unprovable: bool,
    /// When the server refuses it, by its own clock in microseconds.
    deadline_us: u64,
}

#[derive(Debug)]
pub(super) struct PendingPublish {
    pub(super) topic: Topic,
    /// The wire records, each behind its length.
    pub(super) records: Vec<u8>,
    /// The number of the first message on this hub. The others follow.
    pub(super) first_seq: u64,
    count: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// What has become of a publish so far.
pub(super) enum Progress {
    Done(Vec<PublishOutcome>),
    Refused(Cow<'static, str>),
    Unknown,
    Waiting { is_sent: bool, is_replied: bool },
}

impl PendingPublish {
    pub(super) fn new(
        topic: Topic,
        records: Vec<u8>,
        (first_seq, count): (u64, usize),
        deadline: Instant,
    ) -> PendingPublish {
        let state = State {
            stage: Stage::Queued,
            delivered: vec![None; count],
            is_awaited: false,
            deadline,
            is_retried: false,
            is_unprovable: false,
            deadline_us: 0,
        };
        PendingPublish {
            topic,
            records,
            count,
            first_seq,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Returns the number of bytes of its records.
    pub(super) fn size(&self) -> usize {
        self.records.len()
    }

    /// Marks it as sent, unless its thread has taken it back. `is_awaited` says whether its messages will come back.
    pub(super) fn try_send(&self, deadline_us: u64, is_awaited: bool) -> bool {
        let mut state = lock(&self.state);
        if !matches!(state.stage, Stage::Queued) {
            return false;
        }
        state.stage = Stage::Sent;
        state.deadline_us = deadline_us;
        state.is_awaited = is_awaited;
        true
    }

    /// The server has not executed it, and never will. Returns whether it can be sent again. With a deadline, it has
    /// until then, although its own may have passed.
    pub(super) fn set_not_executed(&self, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        let is_sent = matches!(state.stage, Stage::Sent);
        if is_sent {
            state.stage = Stage::Queued;
            if let Some(deadline) = deadline {
                state.deadline = deadline;
                state.is_retried = true;
            }
        }
        is_sent
    }

    pub(super) fn deadline(&self) -> Instant {
        lock(&self.state).deadline
    }

    /// Takes the decision over it, if it has no outcome yet.
    pub(super) fn try_take(&self) -> bool {
        let mut state = lock(&self.state);
        let is_open = matches!(state.stage, Stage::Queued | Stage::Sent) && !state.has_all();
        if is_open {
            state.stage = Stage::Taken;
        }
        is_open
    }

    /// Records an outcome, unless there is one. Wakes the thread that waits.
    pub(super) fn settle(&self, outcome: Stage) {
        let mut state = lock(&self.state);
        let is_open = match outcome {
            Stage::Local(_) => matches!(state.stage, Stage::Taken),
            _ => matches!(state.stage, Stage::Queued | Stage::Sent),
        };
        if is_open {
            state.stage = outcome;
            self.changed.notify_all();
        }
    }

    /// Records that messages have been delivered on this hub, the first of which has this index.
    pub(super) fn set_delivered(&self, index: usize, outcomes: &[PublishOutcome]) {
        let mut state = lock(&self.state);
        for (delivered, outcome) in state.delivered.iter_mut().skip(index).zip(outcomes) {
            *delivered = Some(*outcome);
        }
        // The thread waits for the reply too, so it is woken once.
        if state.has_all() && !matches!(state.stage, Stage::Sent) {
            self.changed.notify_all();
        }
    }

    /// Returns whether it was sent and has no outcome. Then its fate is not known to this hub.
    pub(super) fn is_in_doubt(&self) -> bool {
        let state = lock(&self.state);
        matches!(state.stage, Stage::Sent) && !state.has_all()
    }

    /// If it does not come back, nobody can prove that it was not executed.
    pub(super) fn set_unprovable(&self) {
        lock(&self.state).is_unprovable = true;
    }

    pub(super) fn is_unprovable(&self) -> bool {
        lock(&self.state).is_unprovable
    }

    /// Says that no reply will come. If the messages have come back, their ids are known all the same.
    pub(super) fn lose_reply(&self) {
        let mut state = lock(&self.state);
        if matches!(state.stage, Stage::Sent) && state.has_all() {
            let first_id = state.delivered[0].as_ref().map_or(0, |outcome| outcome.id);
            state.stage = Stage::Replied { first_id, nodes: 1 };
            self.changed.notify_all();
        }
    }

    /// The messages up to `top` that have not come back never will. If the server has assigned ids to these, the publish is
    /// complete.
    pub(super) fn give_up_delivery(&self, top: u64) {
        let mut state = lock(&self.state);
        let count = state.delivered.len() as u64;
        if matches!(state.stage, Stage::Replied { first_id, .. } if first_id + count <= top + 1) {
            state.is_awaited = false;
            self.changed.notify_all();
        }
    }

    /// Returns the server's time at which it refuses the publish, in microseconds.
    pub(super) fn deadline_us(&self) -> u64 {
        lock(&self.state).deadline_us
    }

    /// Wakes the thread that waits, because the state of the link has changed.
    pub(super) fn wake(&self) {
        let _state = lock(&self.state);
        self.changed.notify_all();
    }

    /// Returns what has become of it. With `gives_up_delivery`, messages that have not come back count as delivered to
    /// nobody.
    pub(super) fn progress(&self, gives_up_delivery: bool) -> Progress {
        lock(&self.state).progress(gives_up_delivery)
    }

    /// Waits for a change, until `until`.
    ///
    /// # Blocking
    /// Woken by the outcome, and by a change of the link's state.
    pub(super) fn wait(&self, until: Instant) {
        let state = lock(&self.state);
        if !matches!(state.progress(false), Progress::Waiting { .. }) {
            return;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left > Duration::ZERO {
            drop(wait(&self.changed, state, Some(left)));
        }
    }
}

impl State {
    fn has_all(&self) -> bool {
        self.delivered.iter().all(Option::is_some)
    }

    fn progress(&self, gives_up_delivery: bool) -> Progress {
        match &self.stage {
            Stage::Replied { first_id, nodes } => {
                if self.is_awaited && !self.has_all() && !gives_up_delivery {
                    return Progress::Waiting {
                        is_sent: true,
                        is_replied: true,
                    };
                }
                let ids = *first_id..;
                let outcomes = ids.zip(&self.delivered).map(|(id, delivered)| {
                    let mut outcome = delivered.unwrap_or_default();
                    outcome.id = id;
                    outcome.nodes = *nodes;
                    outcome
                });
                Progress::Done(outcomes.collect())
            }
            Stage::Refused(reason) => Progress::Refused(reason.clone()),
            Stage::Unknown => Progress::Unknown,
            Stage::Local(outcomes) => Progress::Done(outcomes.clone()),
            Stage::Queued => Progress::Waiting {
                is_sent: self.is_retried,
                is_replied: false,
            },
            Stage::Sent | Stage::Taken => Progress::Waiting {
                is_sent: true,
                is_replied: false,
            },
        }
    }
}

//! [`TopicState`]: what all handles to one topic share.
//!
//! All members receive a topic's messages in the same order, because one publisher at a time holds the *publish token*
//! while it takes an id, adds the message to the history and queues it for every member. (With a snapshot of the members
//! and no token, 21,870 of 600,000 deliveries were out of order.)
//!
//! The lock on the list of members is held only for changes of memory. A client that joins, leaves or closes never needs
//! the token. Members are flushed and disconnected after the token has been returned.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender};

use super::engine::Since;
use super::history::{History, HistoryBudget};
use super::ids::LastId;
use super::member::Member;
use super::members::Members;
use super::message::TopicMessage;
use super::outcome::SubscribeError;
use super::policy::Policy;
use super::presence::{Left, Presence};
use super::settings::TopicSettings;
use super::shared::{HubShared, KeptTopic};
use super::stats::TopicCounters;
use crate::panic::catch_panic;
use crate::sync::lock;

pub(super) struct TopicState {
    pub(super) name: Arc<str>,
    pub(super) hub: Arc<HubShared<TopicState>>,
    pub(super) settings: Mutex<TopicSettings>,
    pub(super) members: Mutex<Members>,
    /// A channel of one slot. It holds the publish token while no publisher does.
    pub(super) publish_token: (Sender<()>, Receiver<()>),
    /// Publishers that wait for the token.
    pub(super) waiting_publishers: AtomicUsize,
    pub(super) history: History,
    pub(super) presence: Presence,
    pub(super) counters: Arc<TopicCounters>,
    /// With an engine: the topic has got its position from it. Changed under the lock of the members.
    pub(super) is_placed: AtomicBool,
    /// With an engine: the history has been completed from it.
    pub(super) is_filled: AtomicBool,
    is_kept: AtomicBool,
}

impl TopicState {
    pub(super) fn new(
        name: Arc<str>,
        last_id: LastId,
        hub: Arc<HubShared<TopicState>>,
        budget: Arc<HistoryBudget>,
    ) -> TopicState {
        let publish_token = crossbeam_channel::bounded(1);
        publish_token
            .0
            .send(())
            .expect("the receiver is beside the sender");
        TopicState {
            counters: hub.ledger.open(),
            settings: Mutex::new(hub.patterns.current().settings(&name)),
            name,
            hub,
            members: Mutex::new(Members::new(last_id)),
            publish_token,
            waiting_publishers: AtomicUsize::new(0),
            history: History::new(budget),
            presence: Presence::default(),
            is_placed: AtomicBool::new(false),
            is_filled: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
        }
    }

    pub(super) fn settings(&self) -> TopicSettings {
        *lock(&self.settings)
    }

    pub(super) fn last_id(&self) -> u64 {
        lock(&self.members).last_id.get()
    }

    /// Returns the id after which a client continues that has seen `since`. If the client names another epoch, or has seen
    /// an id that this topic has not reached, the id is from another hub. It says nothing about this topic, so the client
    /// gets everything.
    ///
    /// With an engine, an id that this topic has not reached may come from another hub of the same epoch. The engine knows.
    ///
    /// # Errors
    /// [`SubscribeError::Unavailable`]: the engine does not answer.
    pub(super) fn continue_after(
        self: &Arc<Self>,
        since: u64,
        epoch: Option<&str>,
    ) -> Result<u64, SubscribeError> {
        if epoch.is_some_and(|epoch| *epoch != *self.hub.epoch) {
            return Ok(0);
        }
        if since <= self.last_id() {
            return Ok(since);
        }
        let Some(engine) = &self.hub.config.engine else {
            return Ok(0);
        };
        match engine.check_since(&Arc::clone(self).into(), since) {
            Since::Assigned => Ok(since),
            // The ids may have jumped above `since` after the engine looked. Then what is above `since` is a gap.
            Since::NotAssigned => Ok(self.last_id().min(since)),
            Since::Unknown => Err(SubscribeError::Unavailable),
        }
    }

    pub(super) fn members(&self) -> Arc<Vec<Arc<Member>>> {
        Arc::clone(&lock(&self.members).list)
    }

    /// Adds a member. Returns the last id that was published before.
    pub(super) fn add(&self, member: &Arc<Member>) -> u64 {
        let mut members = lock(&self.members);
        members.add(member);
        members.last_id.get()
    }

    /// Makes the envelope of a message, so that its size counts in the history: escaped, a message may be several times as
    /// large.
    pub(super) fn prepare_for_history(&self, message: &TopicMessage) {
        if let Some(envelope) = &self.hub.config.envelope {
            message.frame(Some((&**envelope, &self.name)));
        }
    }

    /// Sends a presence notice to the members that asked for it.
    ///
    /// These notices have no id. A member whose outbox is full misses the notice, and if the envelope panics, only this
    /// notice is lost.
    pub(super) fn send_presence(&self, name: &str, joined: bool) {
        let Some(envelope) = &self.hub.config.envelope else {
            return;
        };
        let Some(message) = catch_panic(|| envelope.presence(&self.name, name, joined)) else {
            return;
        };
        let members = self.members();
        let wants = |member: &&Arc<Member>| member.wants_presence.load(Ordering::Relaxed);
        for member in members.iter().filter(wants) {
            // A member that is closed needs no notice. One whose outbox is full can ask for the list of names.
            let _ = member.outbox.try_send(message.clone());
        }
    }

    /// Tells the engine, if there is one, that `name` is present on this hub or has left it.
    pub(super) fn report_present(self: &Arc<Self>, name: &str, is_present: bool) {
        if let Some(engine) = &self.hub.config.engine {
            engine.set_present(&Arc::clone(self).into(), name, is_present);
        }
    }

    pub(super) fn set_policy(&self, policy: Policy) {
        let mut settings = lock(&self.settings);
        settings.policy = policy;
        self.hub.settings_changed(&settings);
    }
}

impl KeptTopic for TopicState {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn has_something_to_keep(&self) -> bool {
        // An engine keeps the history.
        let keeps_history = self.hub.config.engine.is_none() && self.history.len() > 0;
        keeps_history || self.presence.has_local_names()
    }

    fn is_kept(&self) -> &AtomicBool {
        &self.is_kept
    }

    /// Forgets old messages and names, and disconnects members that have been over the soft limit for too long.
    fn sweep(self: &Arc<Self>) {
        let settings = self.settings();
        {
            let _in_order = self.presence.lock_notices();
            for Left { name, is_gone } in self.presence.remove_expired() {
                self.report_present(&name, false);
                if is_gone {
                    self.send_presence(&name, false);
                }
            }
        }
        if let Policy::Disconnect { soft: Some(limit) } = settings.policy {
            for member in self.members().iter() {
                if member.update_over_limit(limit, settings.queue) {
                    member.outbox.disconnect_slow_consumer(&self.name);
                }
            }
        }
        // A publisher that began before the settings were replaced may have added a message too many.
        self.history.trim(&settings);
    }

    /// The policy is left alone if only others of the settings differ, because [`set_policy`](Self::set_policy) may have
    /// changed it.
    fn settings_replaced(&self, old: TopicSettings, new: TopicSettings) {
        let settings = {
            let mut settings = lock(&self.settings);
            let policy = if old.policy == new.policy {
                settings.policy
            } else {
                new.policy
            };
            *settings = TopicSettings { policy, ..new };
            *settings
        };
        self.history.trim(&settings);
    }
}

impl Drop for TopicState {
    fn drop(&mut self) {
        self.hub.remove(&self.name);
        if let Some(engine) = &self.hub.config.engine {
            engine.close(&self.name);
        }
    }
}

impl fmt::Debug for TopicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicState")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

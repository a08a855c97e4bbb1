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

use super::history::{History, HistoryBudget};
use super::ids::LastId;
use super::member::Member;
use super::members::Members;
use super::policy::Policy;
use super::presence::Presence;
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
            settings: Mutex::new(hub.config.settings(&name)),
            name,
            hub,
            members: Mutex::new(Members::new(last_id)),
            publish_token,
            waiting_publishers: AtomicUsize::new(0),
            history: History::new(budget),
            presence: Presence::default(),
            counters: Arc::default(),
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
    pub(super) fn continue_after(&self, since: u64, epoch: Option<&str>) -> u64 {
        let is_ours = epoch.is_none_or(|epoch| *epoch == *self.hub.epoch);
        if is_ours && since <= self.last_id() {
            since
        } else {
            0
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
        self.history.len() > 0 || !self.presence.is_empty()
    }

    fn is_kept(&self) -> &AtomicBool {
        &self.is_kept
    }

    /// Forgets old messages and names, and disconnects members that have been over the soft limit for too long.
    fn sweep(&self) {
        let settings = self.settings();
        {
            let _in_order = self.presence.lock_notices();
            for name in self.presence.remove_expired() {
                self.send_presence(&name, false);
            }
        }
        if let Policy::Disconnect { soft: Some(limit) } = settings.policy {
            for member in self.members().iter() {
                if member.update_over_limit(limit, settings.queue) {
                    member.outbox.disconnect_slow_consumer(&self.name);
                }
            }
        }
        self.history.remove_expired(&settings);
    }
}

impl Drop for TopicState {
    fn drop(&mut self) {
        self.hub.remove(&self.name);
    }
}

impl fmt::Debug for TopicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicState")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

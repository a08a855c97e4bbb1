//! [`Desk`]: the users, their mailboxes and their tabs. A notification is first kept in the mailbox and then sent, so
//! nothing depends on whether a tab is connected or has room for it.
//!
//! Each user has one lock. It puts all that happens to a user in one order: posts, acks, resends, and the joining of a
//! tab. A publish under this lock may wait up to 50 ms for slow tabs. Only operations on the same user wait meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};
use standpipe::{Hub, HubConfig, Message, Outbox, Policy, SubscribeOptions, Subscription};
use standpipe::{Topic, TopicSettings};

use crate::mailbox::{Acked, Item, KEEP, Mailbox};
use crate::notice::Notice;

/// How many users can have a tab or something in their mailbox. With 50 notifications of about 1.3 KiB each, all
/// mailboxes take up to about 65 MiB.
const USERS: usize = 1000;
/// How many tabs one user can have.
const TABS: usize = 16;

/// All users.
pub(crate) struct Desk {
    hub: Hub,
    users: Mutex<HashMap<String, Arc<User>>>,
    last_id: AtomicU64,
}

struct User {
    name: String,
    /// Notifications and what happens to them. None of these may be lost.
    events: Topic,
    /// The count of unread notifications. Only the latest value matters.
    badge: Topic,
    mailbox: Mutex<Mailbox>,
}

/// The answer to a publisher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) id: u64,
    /// Number of tabs that it was queued for immediately. Other tabs get it when they connect.
    pub(crate) tabs: usize,
}

/// The limit of users, or of tabs of one user, is reached. The caller should try again later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full(pub(crate) &'static str);

impl Desk {
    pub(crate) fn new() -> Desk {
        let events = TopicSettings::default().queue(64).policy(Policy::Block {
            // A tab whose queue stays full for 50 ms is disconnected with 4008. It loses nothing, because the mailbox
            // keeps everything unread, and the tab gets that when it reconnects. A longer wait would delay the other
            // tabs and the publisher.
            timeout: Some(Duration::from_millis(50)),
        });
        // A slow tab gets only the latest count, instead of ten old ones.
        let badge = TopicSettings::default().queue(1).policy(Policy::Conflate);
        let topics = HubConfig::default().topic("badge of *", badge);
        Desk {
            hub: Hub::new(topics.topic("events of *", events)),
            users: Mutex::default(),
            // Ids start at the time in microseconds, so they keep growing after a restart. Otherwise a page would take
            // a new notification for one that it has shown. They stay exact in JavaScript until the year 2255.
            last_id: AtomicU64::new(since_1970().as_micros() as u64),
        }
    }

    /// Keeps a notice until it is read or too old, and queues it for the connected tabs.
    ///
    /// # Blocking
    /// Waits up to 50 ms for slow tabs of this user.
    pub(crate) fn post(&self, notice: Notice) -> Result<Receipt, Full> {
        let user = self.user(&notice.user)?;
        let mut mailbox = lock(&user.mailbox);
        if let Some(item) = notice.key.as_deref().and_then(|key| mailbox.posted_as(key)) {
            let Item { id, tabs, .. } = *item;
            return Ok(Receipt { id, tabs });
        }
        let now = Instant::now();
        // The id is taken under the lock, so that the ids of one user grow in the order in which notices are posted.
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let at = since_1970().as_millis() as u64;
        let dropped = mailbox.add(id, notice, now, at);
        user.publish_gone(dropped.as_slice(), "dropped", &mailbox);
        let mut tabs = 0;
        for item in mailbox.unread() {
            if item.id == id {
                tabs = user.send(item, now);
                item.tabs = tabs;
            }
        }
        user.publish_badge(&mailbox);
        Ok(Receipt { id, tabs })
    }

    /// Makes a client a tab of this user, and sends it the unread notifications. The lock is held for both steps. So
    /// a notification that is posted in the meantime is sent after them, and the tab gets none twice and misses none.
    pub(crate) fn enter(&self, name: &str, outbox: Outbox) -> Result<Tab, Full> {
        let user = self.user(name)?;
        let mut mailbox = lock(&user.mailbox);
        if user.events.members() >= TABS {
            return Err(Full("this user has reached the limit of tabs"));
        }
        user.expire(&mut mailbox, Instant::now());
        let read = mailbox.read();
        let missed = mailbox.missed();
        let unread: Vec<Value> = mailbox.unread().into_iter().map(item_json).collect();
        let hello = json!({
            "type": "hello", "user": name, "unread": unread, "read": read, "missed": missed,
        });
        // The queue is still empty, so there is room. If this fails, the client has left, and its next `recv` reports
        // that.
        if outbox.try_send(text(&hello)).is_ok() {
            let now = Instant::now();
            let unread = mailbox.unread();
            unread.into_iter().for_each(|item| item.sent(now));
        }
        let busy = |_| Full("the other tabs of the user are slow");
        let subscriptions = [&user.events, &user.badge].map(|topic| {
            let subscribed = topic.subscribe(outbox.clone(), SubscribeOptions::new());
            subscribed.map_err(busy)
        });
        let [events, badge] = subscriptions;
        drop(mailbox);
        Ok(Tab {
            _memberships: [events?, badge?],
            user,
        })
    }

    /// Removes notifications that are too old, sends unread ones again, and forgets users that have nothing.
    ///
    /// # Blocking
    /// Waits up to 50 ms for the slow tabs of each publish. So the ticker has its own thread.
    pub(crate) fn tick(&self) {
        let users: Vec<_> = {
            let mut users = lock(&self.users);
            users.retain(|_, user| !is_idle(user, Mailbox::is_empty));
            users.values().map(Arc::downgrade).collect()
        };
        for user in users.iter().filter_map(|user| user.upgrade()) {
            let mut mailbox = lock(&user.mailbox);
            let now = Instant::now();
            user.expire(&mut mailbox, now);
            if user.events.members() > 0 {
                for item in mailbox.due(now) {
                    user.send(item, now);
                }
            }
        }
    }

    /// Returns the user of this name, and creates it if it does not exist. If the limit is reached, first forgets users
    /// that have read everything.
    fn user(&self, name: &str) -> Result<Arc<User>, Full> {
        let full = Full("the limit of users is reached");
        let mut users = lock(&self.users);
        if let Some(user) = users.get(name) {
            return Ok(Arc::clone(user));
        }
        if users.len() >= USERS {
            users.retain(|_, user| !is_idle(user, Mailbox::is_settled));
        }
        if users.len() >= USERS {
            return Err(full);
        }
        let topic = |kind: &str| {
            let topic = self.hub.topic(&format!("{kind} of {name}"));
            topic.map_err(|_| full)
        };
        let user = Arc::new(User {
            name: name.to_owned(),
            events: topic("events")?,
            badge: topic("badge")?,
            mailbox: Mutex::default(),
        });
        users.insert(name.to_owned(), Arc::clone(&user));
        Ok(user)
    }
}

/// Returns whether only the list refers to this user, and `has_nothing` is true for its mailbox. The caller holds the
/// lock of the list, so no other thread can look the user up. The ticker may refer to the user for a moment longer; the
/// user then does not count as idle.
fn is_idle(user: &Arc<User>, has_nothing: impl Fn(&Mailbox) -> bool) -> bool {
    Arc::strong_count(user) == 1 && has_nothing(&lock(&user.mailbox))
}

impl User {
    /// Queues a notification for all tabs, and returns for how many.
    fn send(&self, item: &mut Item, now: Instant) -> usize {
        let mut event = item_json(item);
        event["type"] = "new".into();
        let tabs = self.publish(&event);
        if tabs > 0 {
            item.sent(now);
        }
        tabs
    }

    fn expire(&self, mailbox: &mut Mailbox, now: Instant) {
        let expired = mailbox.expire(now);
        if !expired.is_empty() {
            self.publish_gone(&expired, "expired", mailbox);
            self.publish_badge(mailbox);
        }
    }

    fn publish_gone(&self, ids: &[u64], why: &str, mailbox: &Mailbox) {
        if !ids.is_empty() {
            self.publish(&gone_json(ids, why));
            self.publish_missed(mailbox);
        }
    }

    fn publish_missed(&self, mailbox: &Mailbox) {
        self.publish(&json!({ "type": "missed", "missed": mailbox.missed() }));
    }

    fn publish_badge(&self, mailbox: &Mailbox) {
        let badge = json!({ "type": "badge", "unread": mailbox.unread_count() });
        // This topic conflates, so publishing does not wait: a tab without room gets a later count.
        if let Err(error) = self.badge.publish(text(&badge)) {
            println!("badge of {}: {error}", self.name);
        }
    }

    /// Publishes an event to the tabs, and returns for how many it was queued. A tab that was too slow for it is
    /// disconnected, and gets everything unread when it reconnects.
    fn publish(&self, event: &Value) -> usize {
        match self.events.publish(text(event)) {
            Ok(published) => {
                if published.dropped > 0 {
                    println!(
                        "{}: disconnected {} slow tabs",
                        self.name, published.dropped
                    );
                }
                published.receivers
            }
            // Not queued for any tab. Unread notifications are sent again later by the ticker.
            Err(error) => {
                println!("events of {}: {error}", self.name);
                0
            }
        }
    }
}

/// One tab of a user. Dropping it ends the membership in both topics.
pub(crate) struct Tab {
    _memberships: [Subscription; 2],
    user: Arc<User>,
}

impl Tab {
    /// Records what the user has read and dismissed, and publishes it to all tabs. Returns the answers for this tab
    /// alone.
    ///
    /// # Blocking
    /// Waits up to 50 ms for slow tabs in each publish, like [`Desk::post`].
    pub(crate) fn execute(&self, command: &TabCommand) -> Vec<Value> {
        let user = &self.user;
        let mut mailbox = lock(&user.mailbox);
        let Acked {
            now,
            before,
            unknown,
        } = mailbox.ack(&command.ack);
        if !now.is_empty() {
            user.publish(&json!({ "type": "read", "ids": now }));
            user.publish_badge(&mailbox);
        }
        if command.dismiss > 0 {
            mailbox.dismiss(command.dismiss);
            user.publish_missed(&mailbox);
        }
        let mut answers = Vec::new();
        if !before.is_empty() {
            answers.push(json!({ "type": "read", "ids": before }));
        }
        if !unknown.is_empty() {
            answers.push(gone_json(&unknown, "unknown"));
        }
        answers
    }
}

/// A message from a tab: `{"ack":[17,18]}`, `{"dismiss":3}`, or both. A type with fixed fields bounds the depth of the
/// parser, as in `notice.rs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TabCommand {
    #[serde(default)]
    ack: Vec<u64>,
    #[serde(default)]
    dismiss: u64,
}

impl TabCommand {
    pub(crate) fn parse(message: &Message) -> Result<TabCommand, String> {
        let Message::Text(text) = message else {
            return Err("only text messages are accepted".into());
        };
        let command: TabCommand = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if command.ack.len() > KEEP {
            return Err(format!("`ack` must have at most {KEEP} ids"));
        }
        Ok(command)
    }
}

fn item_json(item: &mut Item) -> Value {
    json!({
        "id": item.id, "text": item.notice.text, "urgent": item.notice.urgent, "at": item.at, "tries": item.tries + 1,
    })
}

fn gone_json(ids: &[u64], why: &str) -> Value {
    json!({ "type": "gone", "ids": ids, "why": why })
}

pub(crate) fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

fn since_1970() -> Duration {
    // If the clock is before 1970, ids start at 0. That does no other harm.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Locks a mutex even if it is poisoned. The data is consistent after a panic, because each change of a mailbox is one
/// step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

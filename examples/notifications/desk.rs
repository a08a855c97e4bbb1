//! [`Desk`]: the users, their mailboxes and their tabs. What is posted is kept first and sent then, so nothing depends on
//! whether a tab is there, or takes it.
//!
//! One lock for each user makes one order of what happens to that user: posts, acks, resends, and the moment at which a tab
//! joins. Under it a publish may wait for a slow tab, 50 ms at most, and only those who want the same user wait with it.

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

/// Users with a tab or with something in their mailbox. Times 50 notifications of some 1.3 KiB: about 65 MiB at most.
const USERS: usize = 1000;
/// Tabs of one user.
const TABS: usize = 16;

/// All users.
pub(crate) struct Desk {
    hub: Hub,
    users: Mutex<HashMap<String, Arc<User>>>,
    last_id: AtomicU64,
}

struct User {
    name: String,
    /// What must not be lost.
    events: Topic,
    /// The count of the unread: only the latest is worth anything.
    badge: Topic,
    mailbox: Mutex<Mailbox>,
}

/// What a publisher is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) id: u64,
    /// Tabs it was queued for at once. The others get it when they come.
    pub(crate) tabs: usize,
}

/// No more users, or no more tabs of one: try again later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full(pub(crate) &'static str);

impl Desk {
    pub(crate) fn new() -> Desk {
        let events = TopicSettings::default().queue(64).policy(Policy::Block {
            // A tab that takes nothing for 50 ms is cut with 4008. That loses nothing: what was for it is in the mailbox,
            // and it gets all of that when it comes back. Waiting longer would make other tabs and the publisher wait.
            timeout: Some(Duration::from_millis(50)),
        });
        // A slow tab gets the latest count in place of ten old ones.
        let badge = TopicSettings::default().queue(1).policy(Policy::Conflate);
        let topics = HubConfig::default().topic("badge of *", badge);
        Desk {
            hub: Hub::new(topics.topic("events of *", events)),
            users: Mutex::default(),
            // Ids go on growing after a restart: else a page would take a new notification for one it has shown.
            // In microseconds, so they stay exact in JavaScript until the year 2255.
            last_id: AtomicU64::new(since_1970().as_micros() as u64),
        }
    }

    /// Keeps a notice until it is read or too old, and queues it for the tabs that are there.
    ///
    /// # Blocking
    /// For a slow tab of this user, 50 ms.
    pub(crate) fn post(&self, notice: Notice) -> Result<Receipt, Full> {
        let user = self.user(&notice.user)?;
        let mut mailbox = lock(&user.mailbox);
        if let Some(item) = notice.key.as_deref().and_then(|key| mailbox.posted_as(key)) {
            let Item { id, tabs, .. } = *item;
            return Ok(Receipt { id, tabs });
        }
        let now = Instant::now();
        // Taken under the lock: so ids of one user grow in the order of its posts.
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let at = since_1970().as_millis() as u64;
        let dropped = mailbox.add(id, notice, now, at);
        user.tell_gone(dropped.as_slice(), "dropped", &mailbox);
        let mut tabs = 0;
        for item in mailbox.unread() {
            if item.id == id {
                tabs = user.send(item, now);
                item.tabs = tabs;
            }
        }
        user.tell_badge(&mailbox);
        Ok(Receipt { id, tabs })
    }

    /// Makes a client a tab of this user, and tells it what is unread. The lock is held over both: what is posted
    /// meanwhile comes after, so the tab has neither a hole nor a double.
    pub(crate) fn enter(&self, name: &str, outbox: Outbox) -> Result<Tab, Full> {
        let user = self.user(name)?;
        let mut mailbox = lock(&user.mailbox);
        if user.events.members() >= TABS {
            return Err(Full("this user has as many tabs as may be"));
        }
        user.expire(&mut mailbox, Instant::now());
        let read = mailbox.read();
        let missed = mailbox.missed();
        let unread: Vec<Value> = mailbox.unread().into_iter().map(item_json).collect();
        let hello = json!({
            "type": "hello", "user": name, "unread": unread, "read": read, "missed": missed,
        });
        // The first message in an empty queue: there is room, or the client has left already, and `recv` will say so.
        if outbox.try_send(text(&hello)).is_ok() {
            let now = Instant::now();
            let unread = mailbox.unread();
            unread.into_iter().for_each(|item| item.sent(now));
        }
        let busy = |_| Full("the user's other tabs are slow");
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

    /// What time brings: lets go of what is too old, sends again what is not read, and forgets users who have nothing.
    ///
    /// # Blocking
    /// For each slow tab, 50 ms; so it has a thread of its own.
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

    /// The user of this name. When there are too many, those who have read everything are forgotten first.
    fn user(&self, name: &str) -> Result<Arc<User>, Full> {
        let full = Full("there are as many users as may be");
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

/// Nobody but the list holds this user, and who looks for it waits for the list. Only the ticker may have it in hand for a
/// moment, and where there is nothing it changes nothing.
fn is_idle(user: &Arc<User>, has_nothing: impl Fn(&Mailbox) -> bool) -> bool {
    Arc::strong_count(user) == 1 && has_nothing(&lock(&user.mailbox))
}

impl User {
    /// Queues one for all tabs, and gives for how many.
    fn send(&self, item: &mut Item, now: Instant) -> usize {
        let mut event = item_json(item);
        event["type"] = "new".into();
        let tabs = self.tell(&event);
        if tabs > 0 {
            item.sent(now);
        }
        tabs
    }

    fn expire(&self, mailbox: &mut Mailbox, now: Instant) {
        let gone = mailbox.expire(now);
        if !gone.is_empty() {
            self.tell_gone(&gone, "expired", mailbox);
            self.tell_badge(mailbox);
        }
    }

    fn tell_gone(&self, ids: &[u64], why: &str, mailbox: &Mailbox) {
        if !ids.is_empty() {
            self.tell(&gone_json(ids, why));
            self.tell_missed(mailbox);
        }
    }

    fn tell_missed(&self, mailbox: &Mailbox) {
        self.tell(&json!({ "type": "missed", "missed": mailbox.missed() }));
    }

    fn tell_badge(&self, mailbox: &Mailbox) {
        let badge = json!({ "type": "badge", "unread": mailbox.unread_count() });
        // It conflates, and so it is never busy: who has no room gets the next count.
        if let Err(error) = self.badge.publish(text(&badge)) {
            println!("badge of {}: {error}", self.name);
        }
    }

    /// For how many tabs it was queued. Who was too slow for it was cut, and gets the mailbox when it comes back.
    fn tell(&self, event: &Value) -> usize {
        match self.events.publish(text(event)) {
            Ok(published) => {
                if published.dropped > 0 {
                    println!("{}: {} slow tabs are cut", self.name, published.dropped);
                }
                published.receivers
            }
            // For none: what is unread is sent again by the next tick.
            Err(error) => {
                println!("events of {}: {error}", self.name);
                0
            }
        }
    }
}

/// One tab of a user, until it is dropped.
pub(crate) struct Tab {
    _memberships: [Subscription; 2],
    user: Arc<User>,
}

impl Tab {
    /// Takes note of what the user has read and knows, and tells all tabs. Gives what is for this tab alone.
    ///
    /// # Blocking
    /// As [`Desk::post`].
    pub(crate) fn hear(&self, said: &Said) -> Vec<Value> {
        let user = &self.user;
        let mut mailbox = lock(&user.mailbox);
        let Acked {
            now,
            before,
            unknown,
        } = mailbox.ack(&said.ack);
        if !now.is_empty() {
            user.tell(&json!({ "type": "read", "ids": now }));
            user.tell_badge(&mailbox);
        }
        if said.dismiss > 0 {
            mailbox.dismiss(said.dismiss);
            user.tell_missed(&mailbox);
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

/// What a tab may say: `{"ack":[17,18]}`, `{"dismiss":3}`, or both. Typed for the same reason as a notice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    #[serde(default)]
    ack: Vec<u64>,
    #[serde(default)]
    dismiss: u64,
}

impl Said {
    pub(crate) fn parse(message: &Message) -> Result<Said, String> {
        let Message::Text(text) = message else {
            return Err("text messages only".into());
        };
        let said: Said = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if said.ack.len() > KEEP {
            return Err(format!("`ack` has {KEEP} ids at most"));
        }
        Ok(said)
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
    // A clock before 1970 gives small ids, and nothing worse.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// What a panic has left is still in order: each change of a mailbox is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

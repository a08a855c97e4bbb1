//! Patterns that are replaced while topics are created, and by two threads. The topics here only store their settings.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// Called with the name of each topic whose settings are replaced, before they are.
type Hook = Box<dyn Fn(&str) + Send + Sync>;

struct StoredSettings {
    name: Arc<str>,
    settings: Mutex<TopicSettings>,
    hook: Arc<Mutex<Hook>>,
    is_kept: AtomicBool,
}

impl KeptTopic for StoredSettings {
    fn name(&self) -> &Arc<str> {
        &self.name
    }
    fn has_something_to_keep(&self) -> bool {
        true
    }
    fn sweep(self: &Arc<Self>) {}
    fn settings_replaced(&self, _: TopicSettings, new: TopicSettings) {
        lock(&self.hook)(&self.name);
        *lock(&self.settings) = new;
    }
    fn is_kept(&self) -> &AtomicBool {
        &self.is_kept
    }
}

/// A hub, and what is called when the settings of one of its topics are replaced.
#[derive(Clone)]
struct Fixture {
    hub: Arc<HubShared<StoredSettings>>,
    hook: Arc<Mutex<Hook>>,
}

impl Fixture {
    fn new() -> Fixture {
        let config = HubConfig::default().topic("*", TopicSettings::default().history(1));
        Fixture {
            hub: Arc::new(HubShared::new(config, Box::new(|| 1000))),
            hook: Arc::new(Mutex::new(Box::new(|_| {}))),
        }
    }

    /// Calls `created` when the new topic has got its settings, and is not in the hub yet.
    fn create(&self, name: &str, created: impl FnOnce()) -> Arc<StoredSettings> {
        let create = |name: Arc<str>, _: LastId| {
            let settings = self.hub.patterns.current().settings(&name);
            created();
            StoredSettings {
                settings: Mutex::new(settings),
                name,
                hook: Arc::clone(&self.hook),
                is_kept: AtomicBool::new(false),
            }
        };
        self.hub.get_or_create(name, create).expect("there is room")
    }

    /// Gives all topics a history of this length.
    fn set(&self, history: usize) {
        let settings = TopicSettings::default().history(history);
        let set = self.hub.set_topics(vec![("*".into(), settings)]);
        set.expect("the settings are valid");
    }

    /// Does the same on another thread. The receiver gets a value when that has been done.
    fn set_on_thread(&self, history: usize) -> Receiver<()> {
        let (fixture, (done, is_done)) = (self.clone(), channel());
        thread::spawn(move || {
            fixture.set(history);
            let _ = done.send(());
        });
        is_done
    }
}

fn history_of(topic: &StoredSettings) -> usize {
    lock(&topic.settings).history
}

#[test]
fn topic_that_is_being_created_gets_the_new_settings() {
    let fixture = Fixture::new();
    let mut is_done = None;
    let topic = fixture.create("a", || {
        // The topic has the old settings, and is not in the hub yet.
        let done = fixture.set_on_thread(2);
        let deadline = std::time::Instant::now() + DEADLINE;
        while fixture.hub.patterns.current().settings("a").history != 2 {
            assert!(
                std::time::Instant::now() < deadline,
                "the patterns are never replaced"
            );
            thread::yield_now();
        }
        is_done = Some(done);
    });
    let is_done = is_done.expect("the topic was created here");
    is_done
        .recv_timeout(DEADLINE)
        .expect("the other thread finishes");
    assert_eq!(history_of(&topic), 2);
}

/// One thread is held while it changes the first of two topics. The other thread replaces the patterns meanwhile.
#[test]
fn last_of_two_replacements_counts_for_every_topic() {
    let fixture = Fixture::new();
    let topics = ["a", "b"].map(|name| fixture.create(name, || {}));
    let (held, is_held) = channel();
    let (release, released) = channel::<()>();
    let released = Mutex::new(Some(released));
    *lock(&fixture.hook) = Box::new(move |name| {
        let first = lock(&released).take_if(|_| name == "a");
        if let Some(released) = first {
            held.send(()).expect("the test waits");
            released
                .recv_timeout(DEADLINE)
                .expect("the test releases this thread");
        }
    });
    let first = fixture.set_on_thread(2);
    is_held
        .recv_timeout(DEADLINE)
        .expect("the first thread changes a topic");
    let second = fixture.set_on_thread(3);
    // Without the lock, the second thread would finish in this time.
    let early = second.recv_timeout(Duration::from_millis(100));
    release.send(()).expect("the first thread is held");
    first
        .recv_timeout(DEADLINE)
        .expect("the first thread finishes");
    if early.is_err() {
        second
            .recv_timeout(DEADLINE)
            .expect("the second thread finishes");
    }
    assert_eq!(topics.map(|topic| history_of(&topic)), [3, 3]);
}

#[test]
fn topic_with_equal_settings_is_left_alone() {
    let fixture = Fixture::new();
    let topics = ["a", "b"].map(|name| fixture.create(name, || {}));
    let (replaced, all_replaced) = channel();
    *lock(&fixture.hook) = Box::new(move |name| {
        let _ = replaced.send(name.to_owned());
    });
    let kept = TopicSettings::default().history(1);
    let new = vec![("b".into(), kept.history(5)), ("?".into(), kept)];
    fixture.hub.set_topics(new).expect("the settings are valid");
    assert_eq!(all_replaced.try_iter().collect::<Vec<_>>(), ["b"]);
    assert_eq!(topics.map(|topic| history_of(&topic)), [1, 5]);
}

#[test]
fn new_soft_limit_makes_the_hub_sweep_its_topics() {
    let fixture = Fixture::new();
    assert!(!fixture.hub.sweeps_all.load(Ordering::SeqCst));
    let policy = "disconnect:80%:10s".parse().expect("a policy");
    let settings = TopicSettings::default().policy(policy);
    let set = fixture.hub.set_topics(vec![("x".into(), settings)]);
    set.expect("the settings are valid");
    assert!(fixture.hub.sweeps_all.load(Ordering::SeqCst));
}

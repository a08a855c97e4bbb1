//! [`LinkThread`]: thread `sp-redis-link`, which connects, lets the topics join, and starts again when the link is lost.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use ::redis::{Value, cmd};
use crossbeam_channel::Receiver;

use super::backoff::Backoff;
use super::candidate::{Candidate, address};
use super::connection::{
    Commands, Mastership, ServerConnection, ServerError, bytes, elements, time,
};
use super::figures::Figures;
use super::interval::Interval;
use super::join::{Joining, MAX_TOGETHER};
use super::link::Link;
use super::mirror::Mirror;
use super::pending::{PendingPublish, Stage};
use super::presence::{self, PresenceWriter};
use super::publish::settle_locally;
use super::publisher::Publisher;
use super::status::LinkState;
use super::subscriber::Subscriber;

/// The script that publishes.
const PUBLISH: &str = include_str!("publish.lua");
/// The script that opens a topic.
const OPEN: &str = include_str!("open.lua");

/// The longest time that connecting may take, for each step.
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a failing attempt is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

pub(super) struct LinkThread {
    pub(super) link: Arc<Link>,
    /// The servers of which the master is used.
    pub(super) candidates: Vec<Candidate>,
    /// Wakes this thread.
    pub(super) events: Receiver<()>,
    /// The epoch of the connection before.
    epoch: Option<String>,
    /// The subscriber thread of the connection before. It ends when its connection does.
    subscriber: Option<JoinHandle<()>>,
    mirror: Mirror,
    /// The index of the candidate that was connected last.
    candidate: usize,
    logged_at: Option<Instant>,
}

/// Connections to a master, before any topic has joined.
struct Connected {
    sending: ServerConnection,
    subscribing: ServerConnection,
    asking: ServerConnection,
    mastership: Mastership,
    publish_script: String,
    open_script: String,
    presence_script: String,
}

/// The threads of a connection.
struct Threads {
    number: u64,
    publisher: JoinHandle<Vec<Arc<PendingPublish>>>,
}

impl LinkThread {
    pub(super) fn new(
        link: Arc<Link>,
        candidates: Vec<Candidate>,
        events: Receiver<()>,
    ) -> LinkThread {
        LinkThread {
            link,
            candidates,
            events,
            epoch: None,
            subscriber: None,
            mirror: Mirror::default(),
            candidate: 0,
            logged_at: None,
        }
    }

    /// Keeps the link up until the hub shuts down.
    ///
    /// # Blocking
    /// While the link is up, woken by its threads, and by the moment at which it would be isolated. Connecting has time
    /// limits. Pauses end early at the shutdown.
    pub(super) fn run(mut self) {
        let mut backoff = Backoff::new();
        while !self.link.is_stopped() {
            match self.connect_and_join() {
                Ok(threads) => {
                    backoff = Backoff::new();
                    self.logged_at = None;
                    self.watch(threads);
                }
                Err(error) => {
                    self.log_failure(&error);
                    self.link.state();
                    // This thread may have woken itself. A shutdown sets its flag before it wakes this thread.
                    let _ = self.events.try_recv();
                    if !self.link.is_stopped() {
                        let _ = self.events.recv_timeout(backoff.pause());
                    }
                }
            }
        }
        self.shut_down();
    }

    fn log_failure(&mut self, error: &ServerError) {
        let now = Instant::now();
        if self
            .logged_at
            .is_none_or(|before| now >= before + LOG_INTERVAL)
        {
            self.logged_at = Some(now);
            log::warn!("redis {}: not connected: {error}", self.link.address());
        }
    }

    fn connect_and_join(&mut self) -> Result<Threads, ServerError> {
        let mut connected = self.connect()?;
        self.end_old_subscriber(&mut connected);
        let channels = self.link.topics.subscribe_all();
        self.subscribe(&mut connected.subscribing, channels)?;
        let (state, number) = self.begin_rejoining();
        log::debug!("redis {}: joining, was {state}", self.link.address());
        match self.join_all(connected, number + 1) {
            Ok((publisher, subscriber)) => self.start(publisher, subscriber, number),
            Err(error) => {
                let back = match state {
                    LinkState::Isolated => LinkState::Isolated,
                    _ => LinkState::Suspect,
                };
                let rejoining = (LinkState::Rejoining, number);
                self.link.word.change(rejoining, (back, number));
                self.link.wake_all();
                Err(error)
            }
        }
    }

    /// Connects to the first candidate that is a master, beginning with the one that was used last.
    fn connect(&mut self) -> Result<Connected, ServerError> {
        let (first, count) = (self.candidate, self.candidates.len());
        let mut last_error = None;
        for candidate in (0..count).map(|n| (first + n) % count) {
            if self.link.is_stopped() {
                break;
            }
            match self.connect_to(candidate) {
                Ok(connected) => {
                    self.candidate = candidate;
                    return Ok(connected);
                }
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or_else(|| ServerError::Broken("shutting down".into())))
    }

    fn connect_to(&mut self, candidate: usize) -> Result<Connected, ServerError> {
        let candidate = &self.candidates[candidate];
        let timeout = self.link.timeout.min(MAX_CONNECT_TIMEOUT);
        self.link.set_address(&address(&candidate.info));
        let mut sending = ServerConnection::open(candidate, timeout)?;
        let deadline = || Instant::now() + timeout;
        let mastership = sending.mastership(deadline())?;
        if !mastership.is_master {
            return Err(ServerError::Broken("it is not a master".into()));
        }
        let mut subscribing = ServerConnection::open(candidate, timeout)?;
        let mut asking = ServerConnection::open(candidate, timeout)?;
        for connection in [&mut subscribing, &mut asking] {
            if connection.mastership(deadline())? != mastership {
                return Err(ServerError::Broken("another server has answered".into()));
            }
        }
        let publish_script = sending.load(PUBLISH, deadline())?;
        let open_script = asking.load(OPEN, deadline())?;
        let presence_script = sending.load(presence::SCRIPT, deadline())?;
        self.link.clock.forget();
        let sent_at = Instant::now();
        let now = sending.call_one(&cmd("TIME"), deadline())?;
        if let Some(now) = time(&now) {
            self.link.measure(now, sent_at);
        }
        Ok(Connected {
            sending,
            subscribing,
            asking,
            mastership,
            publish_script,
            open_script,
            presence_script,
        })
    }

    /// Waits for the end of the subscriber thread before, so that it changes no topic any more. If its connection is still
    /// there, a message to this hub's own channel wakes it.
    fn end_old_subscriber(&mut self, connected: &mut Connected) {
        let Some(subscriber) = self.subscriber.take() else {
            return;
        };
        let mut publish = cmd("PUBLISH");
        publish.arg(self.link.keys.own_channel()).arg("w");
        // After an error the connection before is broken too, and the thread ends by its time limit.
        let deadline = Instant::now() + self.link.timeout;
        let _ = connected.asking.call_one(&publish, deadline);
        end(subscriber);
    }

    /// Subscribes to the channels, and waits until the server has confirmed all. Messages are ignored, because the topics
    /// will have positions after them.
    fn subscribe(
        &self,
        connection: &mut ServerConnection,
        mut channels: Vec<String>,
    ) -> Result<(), ServerError> {
        channels.extend([self.link.keys.own_channel(), self.link.keys.users_channel()]);
        for channels in channels.chunks(MAX_TOGETHER) {
            let mut commands = Commands::default();
            commands.add(cmd("SUBSCRIBE").arg(channels));
            connection.send(&commands)?;
            let mut unconfirmed = channels.len();
            let deadline = Instant::now() + self.link.timeout;
            while unconfirmed > 0 {
                let reply = connection.receive(deadline)?;
                let kind = elements(&reply).and_then(<[Value]>::first).and_then(bytes);
                if kind == Some(b"subscribe") {
                    unconfirmed -= 1;
                }
                if Instant::now() > deadline {
                    return Err(ServerError::Broken("too many messages".into()));
                }
            }
        }
        Ok(())
    }

    /// Changes the state to `Rejoining`. Returns the state and the connection before.
    fn begin_rejoining(&self) -> (LinkState, u64) {
        loop {
            let before = self.link.word.get();
            let after = (LinkState::Rejoining, before.1);
            if self.link.word.change(before, after) {
                return before;
            }
        }
    }

    /// Decides what becomes of the publishes in doubt, and lets all topics join.
    fn join_all(
        &mut self,
        connected: Connected,
        number: u64,
    ) -> Result<(Publisher, Subscriber), ServerError> {
        let link = &self.link;
        let epoch = connected.mastership.epoch;
        // No publisher thread runs now, so no reply will come to what was sent.
        let mut in_doubt = link.all_pending();
        in_doubt.retain(|publish| {
            publish.lose_reply();
            publish.is_in_doubt()
        });
        if self.epoch.as_ref().is_some_and(|before| *before != epoch) {
            self.mirror.set_incomplete();
            // Other hubs may have received the publishes from the server before, so they must not be sent again.
            for publish in in_doubt.drain(..) {
                settle_locally(link, &publish);
            }
        }
        let mut joining = Joining {
            link: Arc::clone(link),
            connection: connected.asking,
            epoch: epoch.clone(),
            script: connected.open_script,
            mirror: self.mirror,
            refusals: Interval::default(),
        };
        let topics = link.topics.all_subscribing();
        joining.join(&topics, &in_doubt)?;
        for publish in &in_doubt {
            // The messages of such a topic do not come back to this hub.
            if !link
                .topics
                .is_joined(&link.keys.channel(publish.topic.name()))
            {
                publish.set_unprovable();
            }
        }
        self.epoch = Some(epoch.clone());
        let publisher = Publisher::new(
            Arc::clone(link),
            connected.sending,
            number,
            (epoch, connected.publish_script),
            in_doubt,
            PresenceWriter::new(Arc::clone(link), connected.presence_script),
        );
        let subscriber = Subscriber {
            link: Arc::clone(link),
            connection: connected.subscribing,
            joining,
            number,
            unconfirmed: HashSet::new(),
            confirmed: Vec::new(),
            refusals: Interval::default(),
        };
        Ok((publisher, subscriber))
    }

    /// Starts the threads. From now on the link is up.
    fn start(
        &mut self,
        publisher: Publisher,
        subscriber: Subscriber,
        number: u64,
    ) -> Result<Threads, ServerError> {
        let (link, up) = (&self.link, (LinkState::Up, number + 1));
        link.set_received();
        if !link.word.change((LinkState::Rejoining, number), up) {
            return Err(ServerError::Broken("the state has changed".into()));
        }
        link.end_isolation();
        let not_started = |error: io::Error| {
            let error = ServerError::Broken(format!("no thread: {error}"));
            link.set_lost(number + 1, &error.to_string());
            error
        };
        let subscriber = Builder::new()
            .name("sp-redis-sub".into())
            .spawn(move || subscriber.run())
            .map_err(not_started)?;
        self.subscriber = Some(subscriber);
        let publisher = Builder::new()
            .name("sp-redis-pub".into())
            .spawn(move || publisher.run())
            .map_err(not_started)?;
        log::info!(
            "redis {}: connected, {} topics",
            link.address(),
            link.topics.len()
        );
        link.wake_all();
        Ok(Threads {
            number: number + 1,
            publisher,
        })
    }

    /// Waits until the link is lost, and for the end of the publisher thread.
    fn watch(&mut self, threads: Threads) {
        while self.link.is_current(threads.number) && !self.link.is_stopped() {
            // Woken by a lost connection, or at the moment at which the link would be isolated.
            let _ = self.events.recv_deadline(self.link.isolation());
        }
        Figures::add(&self.link.figures.links_lost, 1);
        self.link.queue.call();
        let in_doubt = threads.publisher.join().unwrap_or_default();
        in_doubt.iter().for_each(|publish| publish.lose_reply());
        self.link.state();
    }

    /// Ends the link for ever: no publish waits any more, and no thread is left.
    fn shut_down(mut self) {
        for publish in self.link.queue.close() {
            publish.settle(Stage::Refused("the server is shutting down".into()));
        }
        // The others were sent, so the server may have executed them, or may do so until their deadline.
        for publish in self.link.all_pending() {
            publish.lose_reply();
            publish.settle(Stage::Unknown);
        }
        self.link.wake_all();
        if let Some(subscriber) = self.subscriber.take() {
            end(subscriber);
        }
    }
}

/// Waits for the end of a thread.
fn end(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        log::error!("a thread of the redis link panicked");
    }
}

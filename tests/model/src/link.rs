//! A link between a hub and the server through which it shares one topic: `src/redis/link_word.rs`, `publish.rs`,
//! `join.rs`, `subscriber.rs` and `link_thread.rs`, and the publish token of the topic (`src/hub/sequence.rs`).
//!
//! What the network does is one step here. What is explored is which thread moves the topic's position.

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};

/// A fault that the model can contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkMutant {
    /// A local publish does not look at the state again while it holds the token.
    LocalPublishChecksOnce,
    /// The link thread reads the position without the token.
    JoinHasNoBarrier,
    /// The state and the number of the connection are two words.
    TwoWords,
    /// Joining does not raise the counter above a local sequence.
    JoinDoesNotRaise,
    /// The link is up before the topic has joined.
    UpBeforeJoin,
}

const UP: usize = 1;
const ISOLATED: usize = 2;
const REJOINING: usize = 3;

/// The server's time, which is above all ids that it assigns.
const NOW: u64 = 100;

/// The position of the topic on this hub. The mutex is the publish token.
#[derive(Debug)]
pub struct Position {
    /// The last id.
    pub last_id: u64,
    is_local: bool,
}

/// The link, its topic on this hub, and the topic on the server.
#[derive(Debug)]
pub struct Link {
    mutant: Option<LinkMutant>,
    word: AtomicUsize,
    /// Only with [`LinkMutant::TwoWords`].
    connection: AtomicUsize,
    position: Mutex<Position>,
    counter: Mutex<u64>,
}

impl Link {
    /// A link whose first connection is up, and a topic that has its position.
    pub fn new(mutant: Option<LinkMutant>) -> Link {
        Link {
            mutant,
            word: AtomicUsize::new(1 << 3 | UP),
            connection: AtomicUsize::new(1),
            position: Mutex::new(Position {
                last_id: 10,
                is_local: false,
            }),
            counter: Mutex::new(10),
        }
    }

    fn has(&self, mutant: LinkMutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn state(&self) -> usize {
        self.word.load(Ordering::SeqCst) & 7
    }

    /// `LinkWord::change`.
    fn change(&self, from: (usize, usize), to: (usize, usize)) -> bool {
        if self.has(LinkMutant::TwoWords) {
            if self.state() != from.0 || self.connection.load(Ordering::SeqCst) != from.1 {
                return false;
            }
            self.word.store(to.0, Ordering::SeqCst);
            self.connection.store(to.1, Ordering::SeqCst);
            return true;
        }
        let (from, to) = (from.1 << 3 | from.0, to.1 << 3 | to.0);
        let order = Ordering::SeqCst;
        self.word.compare_exchange(from, to, order, order).is_ok()
    }

    /// `Link::state`, called when connection `number` has been silent for too long.
    pub fn become_isolated(&self, number: usize) {
        self.change((UP, number), (ISOLATED, number));
    }

    /// `Link::publish_local` and `Topic::publish_local`. Returns whether a local message was published.
    pub fn publish_locally(&self) -> bool {
        if self.state() != ISOLATED {
            return false;
        }
        let mut position = self.position.lock().expect("no thread panics");
        if !self.has(LinkMutant::LocalPublishChecksOnce) && self.state() != ISOLATED {
            return false;
        }
        let continues = position.is_local;
        let first = if continues { 0 } else { NOW };
        position.last_id = (position.last_id + 1).max(first);
        position.is_local = true;
        true
    }

    /// `LinkThread::connect_and_join`, after the link has become isolated: everything from `Rejoining` to `Up`.
    pub fn rejoin(&self) {
        if !self.change((ISOLATED, 1), (REJOINING, 1)) {
            return;
        }
        if self.has(LinkMutant::UpBeforeJoin) {
            self.change((REJOINING, 1), (UP, 2));
        }
        let (floor, is_local) = if self.has(LinkMutant::JoinHasNoBarrier) {
            (10, false)
        } else {
            let position = self.position.lock().expect("no thread panics");
            (position.last_id, position.is_local)
        };
        let top = {
            let mut counter = self.counter.lock().expect("no thread panics");
            let raises = is_local || floor > *counter;
            if raises && !self.has(LinkMutant::JoinDoesNotRaise) {
                *counter = (*counter).max(floor).max(NOW + 10);
            }
            *counter
        };
        {
            let mut position = self.position.lock().expect("no thread panics");
            position.last_id = position.last_id.max(top);
            position.is_local = false;
        }
        self.change((REJOINING, 1), (UP, 2));
    }

    /// The script that publishes, called by another hub. Returns the id.
    pub fn publish_elsewhere(&self) -> u64 {
        let mut counter = self.counter.lock().expect("no thread panics");
        *counter += 1;
        *counter
    }

    /// `Topic::receive` with a message that was published when the link was up. Returns whether members get it.
    pub fn receive(&self, id: u64) -> bool {
        let mut position = self.position.lock().expect("no thread panics");
        let is_new = id > position.last_id;
        position.last_id = position.last_id.max(id);
        is_new
    }

    /// Returns whether the link is up on its second connection.
    pub fn is_up_again(&self) -> bool {
        let connection = if self.has(LinkMutant::TwoWords) {
            self.connection.load(Ordering::SeqCst)
        } else {
            self.word.load(Ordering::SeqCst) >> 3
        };
        self.state() == UP && connection == 2
    }
}

//! Standpipe's rule of *who may write* (`src/ARCHITECTURE.md`), as a model that loom runs in every order of its steps.
//!
//! It is the protocol copied out by hand, step by step, with loom's locks and atomics; whoever changes the one changes
//! the other.
//!
//! | here | there, in `src/connection/` |
//! |---|---|
//! | [`Client::send`] | `outbox.rs`: `push`: `go_straight`, or else `queue.rs`: `push`, then `client.rs`: `flush` |
//! | `go_straight` | `straight.rs`: borrow, look at hand, queue and slot, write, give back, *then* look, ring |
//! | [`Client::close`] | `client.rs`: `post`: slot, then `queue.shut`, then `flush` |
//! | `flush` | `client.rs`: `flush` with `early_flush`: borrow, one `step`, give back, *then* look, ring |
//! | [`Client::write`], `write_all` | `writer.rs`: `run`, `write_all`; at its end `wire.rs`: `Lent::end` |
//! | `borrow`, `give_back`, `end` | `wire.rs`: `Lent` |
//! | `step`, `wait`, `fill`, `take_batch`, `wrote`, `over` | `wire.rs`: `Wire`, the same names |
//! | `post`, `take`, `take_last` | `control.rs`: `close`, `take`, `take_last`, with `filled` outside the lock |
//! | `Bell` | the channel of one: a flag and a condition variable |
//!
//! A message is two bytes, so that a refusal can cut it in the middle. What the socket takes at once is a script: the
//! n-th write that does not wait takes so many bytes, and whatever comes after the script is taken whole. The queue's
//! length is a *relaxed* counter, weaker than crossbeam's, so what holds here leans on the wire's lock alone.
//!
//! **What it does not see.** Sockets that block, or fail; time, and so every clock and the watchdog; the inside of
//! crossbeam's channels (a queue is a locked list here) and waiting for room in them; tickets, lanes and owed lanes; pings
//! and pongs; the cork; several messages that go straight together (here one stands for them); more than three threads;
//! more preemptions in one run than `PREEMPTIONS`, beyond the switches where a thread waits. That writes cannot interleave it takes from the type: there is one [`Client`], one wire in it,
//! and it is moved.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex as Plain, PoisonError};

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex, MutexGuard};

/// Messages a batch has at most; two, so that three do not fit.
const BATCH: usize = 2;

/// Bytes of a message, and of a Close.
const BYTES: usize = 2;

/// The Close, among what is written.
pub const CLOSE: u8 = b'!';

/// How the model is made wrong, to see that it can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the product does it.
    Right,
    /// Looks first, gives back then.
    LooksTooEarly,
    /// As `LooksTooEarly`, but only the writer does it.
    WriterLooksTooEarly,
    /// A helper whose write was refused does not ring.
    KeepsRefusalsToItself,
    /// Asks for the polite Close only after the queue was found empty.
    AsksForTheCloseTooLate,
    /// Goes straight although something is queued.
    PassesTheQueue,
    /// Goes not straight, is refused by the queue, and does not flush what it kept the wire from.
    IsRefusedAndLeaves,
    /// Goes straight although something is in hand.
    PassesTheHand,
}

/// When a Close goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After what is queued.
    Queued,
    /// After the message in progress.
    Now,
}

/// What can be said afterwards. It is no part of the protocol: a plain lock, which loom does not see.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The messages, in the order in which the queue took them.
    pub queued: Vec<u8>,
    /// The bytes the socket took.
    pub written: Vec<u8>,
    /// Messages that were queued and will not be sent.
    pub discarded: Vec<u8>,
}

/// What is shared by a client's threads.
#[derive(Debug)]
pub struct Client {
    order: Order,
    place: Mutex<Place>,
    items: Mutex<VecDeque<u8>>,
    length: AtomicUsize,
    shut: AtomicBool,
    ended: AtomicBool,
    slot: Mutex<Slot>,
    filled: AtomicBool,
    over: AtomicBool,
    bell: Mutex<Bell>,
    rings: Condvar,
    record: Plain<Record>,
}

#[derive(Debug)]
enum Place {
    Here(Wire),
    Lent,
    Gone,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Open,
    Posted(When),
    Over,
}

#[derive(Debug, Default)]
struct Bell {
    rung: bool,
    /// The test's own: nobody will ring any more, and a writer that is not rung may go.
    last: bool,
}

#[derive(Debug, Default)]
struct Wire {
    in_hand: VecDeque<u8>,
    taken: usize,
    blocked: bool,
    closing: bool,
    script: VecDeque<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Took,
    Refused,
    Over,
}

impl Client {
    /// A client whose socket takes what `script` says, and then everything.
    pub fn new(order: Order, script: &[usize]) -> Client {
        let wire = Wire {
            script: script.iter().copied().collect(),
            ..Wire::default()
        };
        Client {
            order,
            place: Mutex::new(Place::Here(wire)),
            items: Mutex::default(),
            length: AtomicUsize::new(0),
            shut: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            slot: Mutex::default(),
            filled: AtomicBool::new(false),
            over: AtomicBool::new(false),
            bell: Mutex::default(),
            rings: Condvar::new(),
            record: Plain::default(),
        }
    }

    /// Queues `message` and sends it on its way. False: the queue is shut.
    pub fn send(&self, message: u8) -> bool {
        if self.go_straight(message) {
            return true;
        }
        let pushed = self.push(message);
        // Refused too: who looked with the wire in hand may have kept it from another who had something to write.
        if pushed || self.order != Order::IsRefusedAndLeaves {
            self.flush();
        }
        pushed
    }

    /// [`send`](Self::send) while the sender's cork holds: queued only.
    pub fn hold_back(&self, message: u8) -> bool {
        self.push(message)
    }

    /// The cork holds no more.
    pub fn release(&self) {
        self.flush();
    }

    /// Posts a Close and sends it on its way. False: another one stands.
    pub fn close(&self, when: When) -> bool {
        let taken = self.post(when);
        self.shut.store(true, Ordering::SeqCst);
        if taken {
            self.flush();
        }
        taken
    }

    /// The writer's thread.
    pub fn write(&self) {
        while self.listen() {
            if self.write_all() == Step::Over {
                break;
            }
        }
        if self.over.load(Ordering::SeqCst) {
            self.end();
        }
    }

    /// No thread will ring any more: the writer does what it has been rung for, and ends.
    pub fn let_the_writer_go(&self) {
        lock(&self.bell).last = true;
        self.rings.notify_one();
    }

    /// What came of it.
    pub fn record(&self) -> Record {
        self.note(|record| record.clone())
    }

    fn note<T>(&self, note: impl FnOnce(&mut Record) -> T) -> T {
        note(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `straight.rs`.
impl Client {
    /// False: it is to be queued, and flushed.
    fn go_straight(&self, message: u8) -> bool {
        let Some(mut wire) = self.borrow() else {
            return false;
        };
        let before_it = match self.order {
            Order::PassesTheQueue => !wire.in_hand.is_empty(),
            Order::PassesTheHand => self.has_work(),
            _ => !wire.in_hand.is_empty() || self.has_work(),
        };
        let went = !before_it && self.note_in_order(message);
        let step = went.then(|| {
            let written = wire.script.pop_front().unwrap_or(BYTES).min(BYTES);
            if written == BYTES {
                self.note(|record| record.written.extend([message; BYTES]));
                return Step::Took;
            }
            wire.in_hand.push_back(message);
            wire.wrote(written, BYTES, self)
        });
        let early = self.order == Order::LooksTooEarly && self.has_work();
        self.give_back(wire);
        let more = match self.order {
            Order::LooksTooEarly => early,
            _ => self.has_work(),
        };
        let refused = step == Some(Step::Refused) && self.order != Order::KeepsRefusalsToItself;
        if refused || (went && more) {
            self.ring();
        }
        went
    }

    /// Notes it among what was queued. Whoever queued since the look is behind it, and for the record it would stand
    /// before it: then it is queued too, as if the look had come later.
    fn note_in_order(&self, message: u8) -> bool {
        let items = lock(&self.items);
        let first = items.is_empty() || self.order == Order::PassesTheQueue;
        if first {
            self.note(|record| record.queued.push(message));
        }
        first
    }
}

/// `client.rs` and `writer.rs`.
impl Client {
    fn flush(&self) {
        let Some(mut wire) = self.borrow() else {
            return;
        };
        let step = wire.step(self);
        let early = self.order == Order::LooksTooEarly && self.has_work();
        self.give_back(wire);
        let more = match self.order {
            Order::LooksTooEarly => early,
            _ => self.has_work(),
        };
        let refused = step == Step::Refused && self.order != Order::KeepsRefusalsToItself;
        if refused || step == Step::Over || more {
            self.ring();
        }
    }

    fn write_all(&self) -> Step {
        while let Some(mut wire) = self.borrow() {
            let step = loop {
                match wire.step(self) {
                    Step::Took => {}
                    Step::Refused => {
                        if wire.wait(self) == Step::Over {
                            break Step::Over;
                        }
                    }
                    end => break end,
                }
            };
            if step == Step::Over {
                return Step::Over;
            }
            let too_early = matches!(
                self.order,
                Order::LooksTooEarly | Order::WriterLooksTooEarly
            );
            let early = too_early && self.has_work();
            self.give_back(wire);
            let more = if too_early { early } else { self.has_work() };
            if !more {
                break;
            }
        }
        if self.over.load(Ordering::SeqCst) {
            return Step::Over;
        }
        Step::Idle
    }

    fn has_work(&self) -> bool {
        self.length.load(Ordering::Relaxed) > 0
            || self.filled.load(Ordering::Acquire)
            || self.over.load(Ordering::SeqCst)
    }

    fn ring(&self) {
        lock(&self.bell).rung = true;
        self.rings.notify_one();
    }

    /// False: the bell will not ring again.
    fn listen(&self) -> bool {
        let mut bell = lock(&self.bell);
        while !bell.rung && !bell.last {
            bell = self.rings.wait(bell).expect("no thread panics here");
        }
        mem::take(&mut bell.rung)
    }

    fn end_of_writing(&self) {
        self.over.store(true, Ordering::SeqCst);
        {
            let mut slot = lock(&self.slot);
            *slot = Slot::Over;
            self.filled.store(false, Ordering::Release);
        }
        self.shut.store(true, Ordering::SeqCst);
        self.ended.store(true, Ordering::SeqCst);
        self.drain();
        self.ring();
    }
}

/// `queue.rs`.
impl Client {
    fn push(&self, message: u8) -> bool {
        if self.shut.load(Ordering::SeqCst) {
            return false;
        }
        {
            let mut items = lock(&self.items);
            items.push_back(message);
            self.note(|record| record.queued.push(message));
            self.length.fetch_add(1, Ordering::Relaxed);
        }
        if self.ended.load(Ordering::SeqCst) {
            self.drain();
        }
        true
    }

    fn pop(&self) -> Option<u8> {
        let mut items = lock(&self.items);
        let message = items.pop_front()?;
        self.length.fetch_sub(1, Ordering::Relaxed);
        Some(message)
    }

    fn drain(&self) {
        while let Some(message) = self.pop() {
            self.discard(message);
        }
    }

    fn discard(&self, message: u8) {
        self.note(|record| record.discarded.push(message));
    }
}

/// `control.rs`.
impl Client {
    fn post(&self, when: When) -> bool {
        let mut slot = lock(&self.slot);
        let stands = match *slot {
            Slot::Open => false,
            Slot::Posted(When::Queued) => when == When::Queued,
            Slot::Posted(When::Now) | Slot::Over => true,
        };
        if !stands {
            *slot = Slot::Posted(when);
            self.filled.store(true, Ordering::Release);
        }
        !stands
    }

    /// Whether a Close goes now, and whether one waits for the queue.
    fn take(&self) -> (bool, bool) {
        if !self.filled.load(Ordering::Acquire) {
            return (false, false);
        }
        let mut slot = lock(&self.slot);
        let now = matches!(*slot, Slot::Posted(When::Now));
        if now {
            *slot = Slot::Over;
        }
        let waits = matches!(*slot, Slot::Posted(_));
        self.filled.store(waits, Ordering::Release);
        (now, waits)
    }

    fn take_last(&self) -> bool {
        if !self.filled.load(Ordering::Acquire) {
            return false;
        }
        let mut slot = lock(&self.slot);
        let posted = matches!(*slot, Slot::Posted(_));
        if posted {
            *slot = Slot::Over;
            self.filled.store(false, Ordering::Release);
        }
        posted
    }
}

/// `wire.rs`: `Lent`.
impl Client {
    fn borrow(&self) -> Option<Wire> {
        let mut place = lock(&self.place);
        match mem::replace(&mut *place, Place::Lent) {
            Place::Here(wire) => Some(wire),
            other => {
                *place = other;
                None
            }
        }
    }

    fn give_back(&self, mut wire: Wire) {
        let mut place = lock(&self.place);
        if matches!(*place, Place::Gone) {
            drop(place);
            wire.over(self);
        } else {
            *place = Place::Here(wire);
        }
    }

    fn end(&self) {
        let place = mem::replace(&mut *lock(&self.place), Place::Gone);
        if let Place::Here(mut wire) = place {
            wire.over(self);
        }
    }
}

/// `wire.rs`: `Wire`.
impl Wire {
    fn step(&mut self, client: &Client) -> Step {
        if !self.fill(client) {
            return self.over(client);
        }
        if self.in_hand.is_empty() {
            self.blocked = false;
            return Step::Idle;
        }
        let offered = self.in_hand.len() * BYTES - self.taken;
        let written = self.script.pop_front().unwrap_or(offered).min(offered);
        self.wrote(written, offered, client)
    }

    /// Waits for the socket, which takes the message in progress in the end.
    fn wait(&mut self, client: &Client) -> Step {
        if self.in_hand.is_empty() {
            return Step::Took;
        }
        self.wrote(BYTES - self.taken, usize::MAX, client)
    }

    fn fill(&mut self, client: &Client) -> bool {
        if client.over.load(Ordering::SeqCst) {
            return false;
        }
        if self.closing {
            return true;
        }
        let (now, waits) = client.take();
        if now {
            let next = usize::from(self.taken > 0);
            for message in self.in_hand.drain(next..) {
                client.discard(message);
            }
            client.drain();
            self.close();
            return true;
        }
        if self.in_hand.is_empty() {
            self.take_batch(client);
        }
        let ask = waits || client.order == Order::AsksForTheCloseTooLate;
        if self.in_hand.is_empty() && ask && client.take_last() {
            self.close();
        }
        true
    }

    fn take_batch(&mut self, client: &Client) {
        let most = if self.blocked { 1 } else { BATCH };
        while self.in_hand.len() < most {
            let Some(message) = client.pop() else {
                break;
            };
            self.in_hand.push_back(message);
        }
    }

    fn close(&mut self) {
        self.closing = true;
        self.in_hand.push_back(CLOSE);
    }

    fn wrote(&mut self, written: usize, offered: usize, client: &Client) -> Step {
        // Byte by byte, so that what is written twice or cut short is seen.
        for at in self.taken..self.taken + written {
            let byte = self.in_hand[at / BYTES];
            client.note(|record| record.written.push(byte));
        }
        self.taken += written;
        while self.taken >= BYTES {
            self.taken -= BYTES;
            if self.in_hand.pop_front() == Some(CLOSE) {
                return self.over(client);
            }
        }
        self.blocked = written != offered;
        if self.blocked {
            Step::Refused
        } else {
            Step::Took
        }
    }

    fn over(&mut self, client: &Client) -> Step {
        for message in self.in_hand.drain(..) {
            if message != CLOSE {
                client.discard(message);
            }
        }
        client.end_of_writing();
        Step::Over
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics here")
}

//! [`HandedQueue`]: the connections that were accepted elsewhere and wait for the acceptor. [`HandedConnections`]: the
//! receiving end, which the acceptor treats like a listening socket.
//!
//! The queue is bounded, and stands for the backlog of a listening socket. When the receiving end is dropped, it answers
//! 503 to the connections that are left, and no other can be queued afterwards. So no connection that was handed over is
//! closed without an answer. (A channel of crossbeam would keep entries that are queued while its receiver ends.)

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender};

use super::arrived::{self, Arrived};
use super::shutdown_signal::ShutdownSignal;
use crate::connection::socket::reset_options;
use crate::sync::{lock, wait};

/// Why a connection was not queued.
#[derive(Debug)]
pub(super) enum NotQueued {
    Full,
    Ended,
}

/// The queue, as its senders see it.
pub(super) struct HandedQueue {
    capacity: usize,
    state: Mutex<State>,
    /// Notified when a connection is taken out, and at the end.
    room: Condvar,
    /// Has one entry if the acceptor must look at the queue. The queue holds the sender, so the channel never disconnects.
    notify: Sender<()>,
}

struct State {
    waiting: VecDeque<Arrived>,
    has_ended: bool,
}

impl HandedQueue {
    /// Returns an empty queue, and its receiving end.
    pub(super) fn channel(capacity: usize) -> (Arc<HandedQueue>, HandedConnections) {
        let (notify, notified) = crossbeam_channel::bounded(1);
        let queue = Arc::new(HandedQueue {
            capacity: capacity.max(1),
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                has_ended: false,
            }),
            room: Condvar::new(),
            notify,
        });
        let connections = HandedConnections {
            queue: Arc::clone(&queue),
            notified,
        };
        (queue, connections)
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Queues a connection. Waits for room, up to `limit` if there is one.
    ///
    /// # Blocking
    /// Woken when the acceptor takes a connection out, and at the end.
    pub(super) fn push(
        &self,
        arrived: Arrived,
        limit: Option<Duration>,
    ) -> Result<(), (Arrived, NotQueued)> {
        // A limit that is too long for an `Instant` is no limit.
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = lock(&self.state);
        loop {
            if state.has_ended {
                return Err((arrived, NotQueued::Ended));
            }
            if state.waiting.len() < self.capacity {
                break;
            }
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err((arrived, NotQueued::Full));
            }
            state = wait(&self.room, state, left);
        }
        state.waiting.push_back(arrived);
        // If it is full, the acceptor has been notified.
        let _ = self.notify.try_send(());
        Ok(())
    }
}

/// The receiving end, which belongs to the listener.
pub(super) struct HandedConnections {
    queue: Arc<HandedQueue>,
    notified: Receiver<()>,
}

impl HandedConnections {
    /// Waits until a connection can be accepted, or until the server stops accepting.
    ///
    /// # Blocking
    /// Woken by a sender, or when the server stops accepting.
    pub(super) fn wait(&self, shutdown: &ShutdownSignal) {
        let mut select = Select::new();
        select.recv(&self.notified);
        select.recv(shutdown.closing());
        select.ready();
    }

    /// Takes the next connection out of the queue, or fails with `WouldBlock` if there is none.
    pub(super) fn accept(&self) -> io::Result<Arrived> {
        let _ = self.notified.try_recv();
        let mut state = lock(&self.queue.state);
        let arrived = state.waiting.pop_front();
        if !state.waiting.is_empty() {
            let _ = self.queue.notify.try_send(());
        }
        drop(state);
        let arrived = arrived.ok_or(io::ErrorKind::WouldBlock)?;
        self.queue.room.notify_one();
        reset_options(&arrived.socket);
        Ok(arrived)
    }
}

impl Drop for HandedConnections {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        state.has_ended = true;
        let left = std::mem::take(&mut state.waiting);
        drop(state);
        self.queue.room.notify_all();
        for arrived in left {
            arrived::refuse(&arrived.socket);
        }
    }
}

impl fmt::Debug for HandedConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedConnections").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use socket2::Socket;

    use super::*;

    #[test]
    fn acceptor_is_woken_by_each_connection_and_the_stop() {
        let (sender, connections) = HandedQueue::channel(2);
        let (shutdown, _wake_up) = ShutdownSignal::new(Duration::ZERO).expect("a socket pair");
        let (woken, wakes) = crossbeam_channel::bounded(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    connections.wait(&shutdown);
                    let accepted = connections.accept().is_ok();
                    woken.send(accepted).expect("the test waits");
                }
            });
            let limit = Duration::from_secs(20);
            let (first, second) = UnixStream::pair().expect("a socket pair");
            for socket in [first, second] {
                let socket = Socket::from(socket);
                let peer = socket.peer_addr().expect("it is connected");
                let arrived = Arrived::new(socket, &peer, Vec::new());
                sender.push(arrived, None).expect("there is room");
            }
            for _ in 0..2 {
                assert_eq!(wakes.recv_timeout(limit), Ok(true));
            }
            // No sender is left, so nothing but the stop can wake the acceptor.
            drop(sender);
            let early = wakes.recv_timeout(Duration::from_millis(50));
            assert!(early.is_err(), "the acceptor would not wait");
            shutdown.begin(Duration::ZERO);
            assert_eq!(wakes.recv_timeout(limit), Ok(false));
        });
    }
}

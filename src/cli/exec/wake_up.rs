//! The wake-up of the thread `sp-exec`: the end of a process, the end of its output, and the end of the server.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::SigId;
use signal_hook::consts::SIGCHLD;
use signal_hook::low_level::{pipe, unregister};

/// Returns the two ends of a wake-up. SIGCHLD uses it too.
pub(super) fn wake_up() -> io::Result<(Stop, Waiter)> {
    let (woken, waker) = UnixStream::pair()?;
    woken.set_nonblocking(true)?;
    waker.set_nonblocking(true)?;
    let signal = pipe::register(SIGCHLD, waker.try_clone()?)?;
    let stop = Stop {
        is_requested: Arc::default(),
        waker: Waker(Arc::new(waker)),
    };
    let waiter = Waiter {
        woken,
        stop: stop.clone(),
        signal,
    };
    Ok((stop, waiter))
}

/// Wakes the thread. A wake-up while the thread does not wait is kept for its next wait.
#[derive(Clone)]
pub(super) struct Waker(Arc<UnixStream>);

impl Waker {
    pub(super) fn wake(&self) {
        // If the socket is full, the thread is woken anyway.
        let _ = (&*self.0).write(&[0]);
    }
}

/// The request to end the command for good.
#[derive(Clone)]
pub(super) struct Stop {
    is_requested: Arc<AtomicBool>,
    waker: Waker,
}

impl Stop {
    pub(super) fn request(&self) {
        self.is_requested.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::Acquire)
    }
}

/// The end of the thread that is woken.
pub(super) struct Waiter {
    woken: UnixStream,
    pub(super) stop: Stop,
    signal: SigId,
}

impl Waiter {
    pub(super) fn waker(&self) -> Waker {
        self.stop.waker.clone()
    }

    /// Waits until `holds` returns true, for at most `limit` if there is one. Returns whether it holds.
    ///
    /// # Blocking
    /// Code that changes the result of `holds` must wake the thread afterwards.
    pub(super) fn wait(&self, limit: Option<Duration>, mut holds: impl FnMut() -> bool) -> bool {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            // Before the look, so that a wake-up between the look and the wait is not lost.
            self.forget();
            if holds() {
                return true;
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            poll_for(&mut [PollFd::new(&self.woken, PollFlags::IN)], left);
        }
    }

    /// Forgets the wake-ups so far.
    fn forget(&self) {
        let mut bytes = [0; 64];
        while (&self.woken).read(&mut bytes).is_ok_and(|read| read > 0) {}
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        unregister(self.signal);
    }
}

/// Waits until one of the descriptors is ready, for at most `limit` if there is one. A signal may end the wait early.
pub(super) fn poll_for(descriptors: &mut [PollFd<'_>], limit: Option<Duration>) {
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    // Every caller looks again. An error other than EINTR cannot happen with valid descriptors.
    let _ = poll(descriptors, limit.as_ref());
}

/// Returns whether a descriptor can be read without waiting. The end of a stream counts.
pub(super) fn is_readable(descriptor: &impl AsFd) -> bool {
    let mut descriptors = [PollFd::new(descriptor, PollFlags::IN)];
    poll_for(&mut descriptors, Some(Duration::ZERO));
    !descriptors[0].revents().is_empty()
}

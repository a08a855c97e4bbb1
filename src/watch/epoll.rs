//! [`Poller`] for Linux: epoll(7), in which each descriptor is disabled after an event.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use super::interest::Interest;

/// The number of the wake-up descriptor, which ends the thread.
const WAKE_UP: u64 = u64::MAX;

/// The maximum number of events that one call returns.
const EVENTS: usize = 64;

#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    wake_up: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake_up = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let data = EventData::new_u64(WAKE_UP);
        epoll::add(&epoll, &wake_up, data, EventFlags::IN)?;
        Ok(Poller { epoll, wake_up })
    }

    pub(super) fn add(&self, id: u64, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let data = EventData::new_u64(id);
        // Without events, a hangup or an error would be reported, but only once.
        Ok(epoll::add(
            &self.epoll,
            descriptor,
            data,
            EventFlags::ONESHOT,
        )?)
    }

    pub(super) fn arm(
        &self,
        id: u64,
        descriptor: BorrowedFd<'_>,
        interest: Interest,
    ) -> io::Result<()> {
        let mut events = EventFlags::ONESHOT;
        events.set(EventFlags::IN | EventFlags::RDHUP, interest.read);
        events.set(EventFlags::OUT, interest.write);
        Ok(epoll::modify(
            &self.epoll,
            descriptor,
            EventData::new_u64(id),
            events,
        )?)
    }

    pub(super) fn remove(&self, _id: u64, descriptor: BorrowedFd<'_>) {
        if let Err(error) = epoll::delete(&self.epoll, descriptor) {
            log::debug!("could not remove a watched descriptor: {error}");
        }
    }

    /// Waits for events, and stores the numbers of the descriptors that are ready. Returns false after
    /// [`stop`](Self::stop).
    pub(super) fn wait(&self, ready: &mut Vec<u64>) -> bool {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => unreachable!("epoll_wait failed: {error}"),
        }
        // An event is packed, so its data is copied.
        ready.extend(events.iter().map(|event| { event.data }.u64()));
        !ready.contains(&WAKE_UP)
    }

    pub(super) fn stop(&self) {
        // The counter of the descriptor is 0, so this never fails.
        let _ = rustix::io::write(&self.wake_up, &1_u64.to_ne_bytes());
    }
}

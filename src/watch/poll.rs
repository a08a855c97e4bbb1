//! [`Poller`] for systems other than Linux: poll(2), with a list that is made anew for each call.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, poll};

use super::interest::Interest;
use crate::sync::lock;

#[derive(Debug)]
pub(super) struct Poller {
    /// `None` after [`stop`](Self::stop).
    descriptors: Mutex<Option<HashMap<u64, Watched>>>,
    /// A byte here makes the thread look at `descriptors` again.
    wake_up: UnixStream,
    woken: UnixStream,
}

#[derive(Debug)]
struct Watched {
    /// A duplicate, because the thread may poll it while its owner drops the original.
    descriptor: Arc<OwnedFd>,
    events: Option<PollFlags>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        let (wake_up, woken) = UnixStream::pair()?;
        wake_up.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok(Poller {
            descriptors: Mutex::new(Some(HashMap::new())),
            wake_up,
            woken,
        })
    }

    pub(super) fn add(&self, id: u64, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let watched = Watched {
            descriptor: Arc::new(descriptor.try_clone_to_owned()?),
            events: None,
        };
        if let Some(descriptors) = &mut *lock(&self.descriptors) {
            descriptors.insert(id, watched);
        }
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, reason = "the other poller can fail")]
    pub(super) fn arm(
        &self,
        id: u64,
        _descriptor: BorrowedFd<'_>,
        interest: Interest,
    ) -> io::Result<()> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, interest.read);
        events.set(PollFlags::OUT, interest.write);
        if let Some(watched) = lock(&self.descriptors)
            .as_mut()
            .and_then(|all| all.get_mut(&id))
        {
            watched.events = Some(events);
        }
        self.wake();
        Ok(())
    }

    pub(super) fn remove(&self, id: u64, _descriptor: BorrowedFd<'_>) {
        if let Some(descriptors) = &mut *lock(&self.descriptors) {
            descriptors.remove(&id);
        }
        self.wake();
    }

    /// Waits for events, and stores the numbers of the descriptors that are ready. Returns false after
    /// [`stop`](Self::stop).
    pub(super) fn wait(&self, ready: &mut Vec<u64>) -> bool {
        let armed: Vec<(u64, Arc<OwnedFd>, PollFlags)> = match &*lock(&self.descriptors) {
            None => return false,
            Some(all) => all
                .iter()
                .filter_map(|(id, watched)| {
                    Some((*id, Arc::clone(&watched.descriptor), watched.events?))
                })
                .collect(),
        };
        let mut polled = vec![PollFd::new(&self.woken, PollFlags::IN)];
        polled.extend(
            armed
                .iter()
                .map(|(_, descriptor, events)| PollFd::new(descriptor, *events)),
        );
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return true,
            Err(error) => unreachable!("poll failed: {error}"),
        }
        if !polled[0].revents().is_empty() {
            // One byte stands for many.
            let _ = (&self.woken).read(&mut [0; 64]);
        }
        let found = armed.iter().zip(&polled[1..]);
        let found = found.filter(|(_, polled)| !polled.revents().is_empty());
        for ((id, ..), _) in found {
            let mut descriptors = lock(&self.descriptors);
            if let Some(watched) = descriptors.as_mut().and_then(|all| all.get_mut(id)) {
                watched.events = None;
                ready.push(*id);
            }
        }
        true
    }

    pub(super) fn stop(&self) {
        *lock(&self.descriptors) = None;
        self.wake();
    }

    fn wake(&self) {
        // If the socket is full, the thread has not read the earlier bytes.
        let _ = (&self.wake_up).write(&[1]);
    }
}

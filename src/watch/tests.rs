//! Both pollers, the thread, and the watches.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::super::Watch;
use super::*;

/// Far longer than anything here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

fn pair() -> (UnixStream, UnixStream) {
    let (here, there) = UnixStream::pair().expect("a descriptor is free");
    for stream in [&here, &there] {
        stream.set_nonblocking(true).expect("the stream is open");
    }
    (here, there)
}

/// Tests a poller without the thread.
macro_rules! poller_tests {
    ($($poller:ident: $type:ty),*) => {
        $(mod $poller {
            use super::*;

            fn wait(poller: &$type) -> (bool, Vec<u64>) {
                let mut ready = Vec::new();
                let mut goes_on = true;
                // The wake-up of a change may return before an event.
                while goes_on && ready.is_empty() {
                    goes_on = poller.wait(&mut ready);
                }
                (goes_on, ready)
            }

            #[test]
            fn descriptor_is_reported_once_after_each_arm() {
                let poller = <$type>::new().expect("a descriptor is free");
                let (mut here, there) = pair();
                poller.add(7, there.as_fd()).expect("a descriptor is free");
                here.write_all(b"x").expect("the stream is open");
                for interest in [Interest::READ, Interest::WRITE] {
                    poller.arm(7, there.as_fd(), interest).expect("it was added");
                    assert_eq!(wait(&poller), (true, vec![7]), "{interest:?}");
                }
                // It is ready still, but nobody waits for it.
                poller.stop();
                let (goes_on, ready) = wait(&poller);
                assert!(!goes_on && !ready.contains(&7));
            }

            #[test]
            fn only_the_named_events_and_the_end_are_reported() {
                let poller = <$type>::new().expect("a descriptor is free");
                let (here, there) = pair();
                let (other, mut sender) = pair();
                for (id, stream) in [(1, &there), (2, &other)] {
                    poller.add(id, stream.as_fd()).expect("a descriptor is free");
                }
                // `there` is writable, but not readable.
                poller.arm(1, there.as_fd(), Interest::READ).expect("it was added");
                poller.arm(2, other.as_fd(), Interest::READ).expect("it was added");
                sender.write_all(b"x").expect("the stream is open");
                assert_eq!(wait(&poller), (true, vec![2]));
                let nothing = Interest { read: false, write: false };
                poller.arm(1, there.as_fd(), nothing).expect("it was added");
                poller.arm(2, other.as_fd(), nothing).expect("it was added");
                drop(here);
                assert_eq!(wait(&poller), (true, vec![1]));
                poller.remove(1, there.as_fd());
                poller.remove(2, other.as_fd());
            }
        })*
    };
}

#[cfg(target_os = "linux")]
poller_tests!(with_epoll: super::super::super::epoll::Poller, with_poll: super::super::super::poll::Poller);
#[cfg(not(target_os = "linux"))]
poller_tests!(with_poll: super::super::super::poll::Poller);

#[test]
fn watch_reports_what_is_ready_and_what_becomes_ready() {
    let (mut here, there) = pair();
    let mut watch = Watch::new(&there).expect("a descriptor is free");
    for _ in 0..3 {
        let ready = watch.ready(Interest::READ).expect("the thread runs");
        let early = ready.recv_timeout(Duration::from_millis(5));
        assert!(early.is_err(), "nothing can be read");
        here.write_all(b"x").expect("the stream is open");
        ready.recv_timeout(DEADLINE).expect("a byte can be read");
        // The byte has not been read, so the next wait does not last.
        let ready = watch.ready(Interest::READ).expect("the thread runs");
        ready
            .recv_timeout(DEADLINE)
            .expect("a byte can still be read");
        let read = (&there).read(&mut [0; 8]).expect("a byte can be read");
        assert_eq!(read, 1);
    }
    let second = Watch::new(&there).map(drop);
    assert_eq!(
        second.is_err(),
        cfg!(target_os = "linux"),
        "it is watched already"
    );
    let both = Interest {
        read: true,
        write: true,
    };
    let ready = watch.ready(both).expect("the thread runs");
    ready.recv_timeout(DEADLINE).expect("it is writable");
}

#[test]
fn dropping_the_last_watch_joins_the_thread() {
    let service = Arc::new(Service::start().expect("a thread can be started"));
    let (_here, there) = pair();
    let (signal, _receiver) = Signal::new();
    let id = service
        .add(there.as_fd(), Arc::new(signal))
        .expect("a descriptor is free");
    let second = Arc::clone(&service);
    let watched = Arc::downgrade(&service.watched);
    service.remove(id, there.as_fd());
    drop(service);
    assert!(watched.upgrade().is_some(), "a watch is left");
    drop(second);
    // The thread has held it until its end.
    assert!(
        watched.upgrade().is_none(),
        "the thread has not been joined"
    );
}

/// The last watch of some threads is dropped while others make a new one.
#[test]
fn watches_that_come_and_go_lose_no_event() {
    let rounds = |_| {
        for _ in 0..200 {
            let (mut here, there) = pair();
            let mut watch = Watch::new(there).expect("a descriptor is free");
            let ready = watch.ready(Interest::READ).expect("the thread runs");
            here.write_all(b"x").expect("the stream is open");
            ready.recv_timeout(DEADLINE).expect("a byte can be read");
        }
    };
    let threads: Vec<_> = (0..4).map(|n| thread::spawn(move || rounds(n))).collect();
    for thread in threads {
        thread.join().expect("every event arrives in time");
    }
}

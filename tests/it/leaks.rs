//! Threads and descriptors are back at the start after each way in which a client can leave, wherever its handler is.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use standpipe::{Config, Connection, Handler, Message, Outbox};

use crate::support::{
    DEADLINE, Failure, Process, TestClient, TestServer, fill, in_own_process, until,
};

/// How many clients are connected at the same time.
const CLIENTS: usize = 4;

/// The way in which a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// It sends a Close, and ends its stream soon after, as clients do that get no answer.
    Close,
    /// It ends its direction of the stream.
    Fin,
    Reset,
    /// It neither sends nor reads anything more. Its socket stays open.
    Silence,
    /// The server closes it with 4100. It reads and answers the Close.
    Kick,
    /// The server closes it with 4100. It never reads.
    KickUnread,
}

const WAYS: [Leaving; 6] = [
    Leaving::Close,
    Leaving::Fin,
    Leaving::Reset,
    Leaving::Silence,
    Leaving::Kick,
    Leaving::KickUnread,
];

/// Where each handler is when its client leaves.
#[derive(Clone, Copy, Debug)]
enum Place {
    Recv,
    /// In `send`, because the queue and the socket's buffers are full.
    Send,
    /// In code that knows nothing about the connection: it waits for a channel, whose sender an end callback drops.
    Foreign,
}

struct Parked {
    place: Place,
    outboxes: Sender<Outbox>,
}

impl Handler for Parked {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let outbox = conn.outbox();
        match self.place {
            Place::Recv => {
                self.outboxes.send(outbox)?;
                while conn.recv()?.is_some() {}
            }
            Place::Send => {
                fill(&outbox);
                self.outboxes.send(outbox)?;
                conn.send(Message::binary(vec![b'x'; 16 << 10]))?;
                unreachable!("the queue is full, and the client does not read");
            }
            Place::Foreign => {
                let (wakes, foreign) = bounded::<()>(0);
                outbox.on_end(move |_| drop(wakes))?;
                self.outboxes.send(outbox)?;
                let woken = foreign.recv_timeout(2 * DEADLINE);
                assert_eq!(woken, Err(RecvTimeoutError::Disconnected));
            }
        }
        Ok(())
    }
}

/// Short clocks, so that silence ends soon.
fn config() -> Config {
    Config::default()
        .ping_interval(Duration::from_millis(200))
        .ping_timeout(Duration::from_millis(200))
        .write_timeout(Duration::from_secs(2))
        .close_timeout(Duration::from_millis(300))
}

/// Makes `client` leave. Returns what keeps its socket open.
fn leave(client: TestClient, outbox: &Outbox, way: Leaving) -> Option<TestClient> {
    match way {
        Leaving::Close => {
            client.close(1000, "");
            client.end();
        }
        Leaving::Fin => client.end(),
        Leaving::Reset => {
            client.reset();
            return None;
        }
        Leaving::Silence => {}
        Leaving::Kick => {
            outbox.close_now(4100, "kicked");
            let mut client = client;
            client.rest_answering_close();
            return None;
        }
        Leaving::KickUnread => outbox.close_now(4100, "kicked"),
    }
    Some(client)
}

/// Lets clients leave in each way while their handlers are at `place`, and counts after each.
fn nothing_is_left(place: Place) {
    let process = Process::this();
    let before = (process.threads().len(), process.descriptors());
    let (sender, outboxes): (_, Receiver<Outbox>) = unbounded();
    let handler = Parked {
        place,
        outboxes: sender,
    };
    let server = TestServer::start(config(), handler);
    let idle = || (process.threads().len(), process.descriptors());
    // The first client starts what the server starts late.
    let started = idle_after_first_client(&server, &outboxes, idle);
    for way in WAYS {
        let connect = |_| server.client().small_rcvbuf().connect();
        let clients: Vec<TestClient> = (0..CLIENTS).map(connect).collect();
        let parked = |_: &TestClient| outboxes.recv_timeout(DEADLINE).expect("a handler is there");
        let mut parked: Vec<Outbox> = clients.iter().map(parked).collect();
        // The numbers are in the order in which the clients connected.
        parked.sort_by_key(Outbox::number);
        assert_eq!(process.settled_client_threads(), 2 * CLIENTS);
        let clients = clients.into_iter().zip(&parked);
        let left: Vec<_> = clients
            .filter_map(|(client, outbox)| leave(client, outbox, way))
            .collect();
        until(
            &format!("{place:?}, {way:?}: the threads have ended"),
            || process.threads().len() == started.0,
        );
        drop(left);
        until(
            &format!("{place:?}, {way:?}: the descriptors are closed"),
            || idle() == started,
        );
    }
    let report = server.shut_down();
    assert_eq!((report.drained, report.lost), (0, 0));
    until("the server has left nothing", || idle() == before);
}

/// Lets one client come and go, and returns the counts after it.
fn idle_after_first_client(
    server: &TestServer,
    outboxes: &Receiver<Outbox>,
    counts: impl Fn() -> (usize, usize),
) -> (usize, usize) {
    until("no client is left", || {
        server.handle().clients() == 0 && counts().1 > 0
    });
    let client = server.client().small_rcvbuf().connect();
    let outbox = outboxes
        .recv_timeout(DEADLINE)
        .expect("waited for a handler");
    client.reset();
    drop(outbox);
    until("the first client has gone", || {
        server.handle().clients() == 0 && Process::this().client_threads().is_empty()
    });
    counts()
}

#[test]
fn clients_leave_nothing_while_handler_receives() {
    const NAME: &str = "leaks::clients_leave_nothing_while_handler_receives";
    in_own_process(NAME, || nothing_is_left(Place::Recv));
}

#[test]
fn clients_leave_nothing_while_handler_sends() {
    const NAME: &str = "leaks::clients_leave_nothing_while_handler_sends";
    in_own_process(NAME, || nothing_is_left(Place::Send));
}

#[test]
fn clients_leave_nothing_while_handler_is_elsewhere() {
    const NAME: &str = "leaks::clients_leave_nothing_while_handler_is_elsewhere";
    in_own_process(NAME, || nothing_is_left(Place::Foreign));
}

//! The end of a value ends what it started: `ServerThread`, `Events` and `Server::scope`.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::bounded;
use standpipe::{Config, Connection, Event, Handler, Server, ServerThread};

use crate::shutdown::{assert_closed_with_1001, read_to_close, report};
use crate::support::{
    DEADLINE, Failure, Stream, TestClient, echo, until, with_both_flush_modes, within,
};

fn bind(config: Config) -> (Server, SocketAddr) {
    let server = crate::support::bind("127.0.0.1:0", config).expect("a free port");
    let address = server.handle().local_addr().expect("a TCP address");
    (server, address)
}

fn is_refused(address: SocketAddr) -> bool {
    Stream::connect_tcp(address).is_err()
}

#[test]
fn scope_returns_its_result_and_the_report() {
    let (server, address) = bind(Config::default());
    let received = AtomicUsize::new(0);
    let handler = |conn: &mut Connection| {
        while let Some(message) = conn.recv()? {
            received.fetch_add(message.len(), Ordering::SeqCst);
        }
        Ok(())
    };
    let (client, served) = server
        .scope(handler, |handle| {
            let client = TestClient::connect(address, "/");
            client.text("1234");
            until("the message is received", || {
                received.load(Ordering::SeqCst) == 4
            });
            assert_eq!(handle.clients(), 1);
            read_to_close(client)
        })
        .expect("the server does not fail");
    assert_closed_with_1001(client);
    assert_eq!(served, report(1, 0));
    assert!(is_refused(address));
}

#[test]
fn panic_in_a_scope_ends_the_server_first() {
    let (server, address) = bind(Config::default());
    let ended = AtomicUsize::new(0);
    let handler = |conn: &mut Connection| {
        let result = echo(conn);
        ended.fetch_add(1, Ordering::SeqCst);
        result
    };
    let client = Mutex::new(None);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        server.scope(handler, |_| {
            let connected = TestClient::connect(address, "/");
            *client.lock().expect("not poisoned") = Some(read_to_close(connected));
            panic!("an assertion fails");
        })
    }));
    let panic = panic.expect_err("the panic goes on");
    assert_eq!(panic.downcast_ref(), Some(&"an assertion fails"));
    // All of this holds already when the panic arrives.
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    assert!(is_refused(address));
    let client = client.into_inner().expect("not poisoned");
    assert_closed_with_1001(client.expect("a client has connected"));
}

#[test]
fn dropped_thread_ends_its_server() {
    with_both_flush_modes(|config| {
        let (server, address) = bind(config);
        let thread = server.spawn(echo).expect("a thread");
        let client = read_to_close(TestClient::connect(address, "/"));
        within(20, "the server to end", move || drop(thread));
        assert!(is_refused(address));
        assert_closed_with_1001(client);
    });
}

#[test]
fn shutdown_of_a_thread_returns_the_report() {
    let (server, address) = bind(Config::default());
    let thread = server.spawn(echo).expect("a thread");
    let client = read_to_close(TestClient::connect(address, "/"));
    let served = within(20, "the server to end", move || thread.shutdown());
    assert_eq!(served.expect("the server does not fail"), report(1, 0));
    assert_closed_with_1001(client);
}

#[test]
fn detached_server_runs_on() {
    let (server, address) = bind(Config::default());
    let handle = server.spawn(echo).expect("a thread").detach();
    let mut client = TestClient::connect(address, "/");
    client.text("here");
    client.expect_text("here");
    client.leave();
    handle.shutdown();
    until("the listener is closed", || is_refused(address));
}

/// The readers wait for room in the channel, and nobody receives.
#[test]
fn dropped_events_end_their_server() {
    with_both_flush_modes(|config| {
        let (server, address) = bind(config);
        let events = server.events(1).expect("a thread");
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let client = TestClient::connect(address, "/");
                client.text("x");
                read_to_close(client)
            })
            .collect();
        until("the channel is full", || events.receiver().is_full());
        within(20, "the server to end", move || drop(events));
        assert!(is_refused(address));
        for client in clients {
            assert_closed_with_1001(client);
        }
    });
}

#[test]
fn events_report_every_end_of_a_shutdown() {
    let (server, address) = bind(Config::default());
    let events = server.events(1).expect("a thread");
    let clients: Vec<_> = (0..3)
        .map(|_| read_to_close(TestClient::connect(address, "/")))
        .collect();
    until("all clients are upgraded", || {
        events.handle().clients() == 3
    });
    events.handle().shutdown();
    let (mut opened, mut closed) = (0, 0);
    while let Ok(event) = events.receiver().recv_timeout(DEADLINE) {
        match event {
            Event::Opened { .. } => opened += 1,
            Event::Closed { .. } => closed += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!((opened, closed), (3, 3));
    for client in clients {
        assert_closed_with_1001(client);
    }
    events.join().expect("the server does not fail");
}

/// A handler that has its own server's thread, and drops it.
#[test]
fn handler_that_drops_its_server_does_not_wait_for_itself() {
    let (server, address) = bind(Config::default());
    let own: Arc<Mutex<Option<ServerThread>>> = Arc::default();
    let (sender, dropped) = bounded(1);
    let in_handler = Arc::clone(&own);
    let handler = move |conn: &mut Connection| {
        conn.recv()?;
        drop(in_handler.lock().expect("not poisoned").take());
        sender.send(())?;
        echo(conn)
    };
    let thread = server.spawn(handler).expect("a thread");
    *own.lock().expect("not poisoned") = Some(thread);
    let client = TestClient::connect(address, "/");
    client.text("end");
    let client = read_to_close(client);
    let result = dropped.recv_timeout(DEADLINE);
    result.expect("the handler goes on after it has dropped the thread");
    assert_closed_with_1001(client);
}

/// An end callback that has its server's thread, and drops it. The server waits for the thread that calls it.
#[test]
fn end_callback_that_drops_its_server_does_not_wait_for_itself() {
    let (server, address) = bind(Config::default());
    let own: Arc<Mutex<Option<ServerThread>>> = Arc::default();
    let (sender, dropped) = bounded(1);
    let in_callback = Arc::clone(&own);
    let handler = move |conn: &mut Connection| {
        let (own, sender) = (Arc::clone(&in_callback), sender.clone());
        conn.outbox().on_end(move |_| {
            drop(own.lock().expect("not poisoned").take());
            let _ = sender.send(());
        })?;
        echo(conn)
    };
    let thread = server.spawn(handler).expect("a thread");
    *own.lock().expect("not poisoned") = Some(thread);
    TestClient::connect(address, "/").leave();
    let result = dropped.recv_timeout(DEADLINE);
    result.expect("the callback goes on after it has dropped the thread");
    until("the listener is closed", || is_refused(address));
}

#[test]
fn servers_can_share_a_handler() {
    struct Echo;

    impl Handler for Echo {
        fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
            echo(conn)
        }
    }

    let shared: Arc<dyn Handler + Send> = Arc::new(Echo);
    let servers: Vec<_> = (0..2)
        .map(|_| {
            let (server, address) = bind(Config::default());
            let thread = server.spawn(Arc::clone(&shared)).expect("a thread");
            let mut client = TestClient::connect(address, "/");
            client.text("here");
            client.expect_text("here");
            client.leave();
            thread
        })
        .collect();
    within(20, "both servers to end", move || drop(servers));
}

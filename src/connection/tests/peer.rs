//! The end of the peer while nobody reads: what the socket says, and what the connection makes of it.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crossbeam_channel::TryRecvError;
use socket2::{SockRef, Socket};

use super::*;
use crate::connection::activity::Activity;
use crate::connection::lifecycle::Phase;
use crate::connection::socket::{PeerState, Transport};
use crate::error::{RecvError, SendTimeoutError};

fn tcp() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let peer = TcpStream::connect(address).expect("it listens");
    let (accepted, _) = listener.accept().expect("the peer has connected");
    (peer, accepted.into())
}

fn unix() -> (UnixStream, Socket) {
    let (peer, ours) = UnixStream::pair().expect("a pair");
    (peer, ours.into())
}

/// Checks that the socket reaches this state, and that what the peer sent before can still be read.
fn reaches(ours: &Socket, state: PeerState) {
    until("the socket reports the peer", || ours.peer_state() == state);
    let mut read = [0; 8];
    let read_bytes = Transport::read(ours, &mut read).expect("the bytes came before the end");
    assert_eq!(read[..read_bytes], *b"close");
    assert_eq!(ours.peer_state(), state, "looking again changes nothing");
}

#[test]
fn socket_tells_how_its_peer_has_ended() {
    let (mut peer, ours) = tcp();
    peer.write_all(b"close").expect("the stream is open");
    assert_eq!(ours.peer_state(), PeerState::Present, "unread bytes");
    peer.shutdown(Shutdown::Write).expect("the stream is open");
    reaches(&ours, PeerState::EndedStream);

    let (mut peer, ours) = tcp();
    peer.write_all(b"close").expect("the stream is open");
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("a TCP socket");
    drop(peer);
    reaches(&ours, PeerState::Reset);

    let (mut peer, ours) = unix();
    assert_eq!(ours.peer_state(), PeerState::Present);
    peer.write_all(b"close").expect("the stream is open");
    drop(peer);
    reaches(&ours, PeerState::EndedStream);

    // The peer has not read what was sent to it.
    let (mut peer, ours) = unix();
    peer.write_all(b"close").expect("the stream is open");
    Transport::write(&ours, b"unread").expect("the peer is there");
    drop(peer);
    reaches(&ours, PeerState::Reset);
}

fn has_fired(client: &TestClient) -> bool {
    client.outbox.closed().try_recv() == Err(TryRecvError::Disconnected)
}

#[test]
fn end_of_stream_is_announced_while_the_handler_runs() {
    let client = TestClient::new(Config::default());
    client.shared.reader.set(Activity::InHandler);
    client.shared.look_for_peer();
    assert!(!has_fired(&client), "the peer is present");
    client.socket.send(from_client(0x81, b"arrived"));
    client.socket.hang_up();
    for (activity, fires) in [
        // The reader is about to see the end itself.
        (Activity::Reading, false),
        (Activity::Closing, false),
        (Activity::WaitingForRoom(9), true),
    ] {
        client.shared.reader.set(activity);
        client.shared.look_for_peer();
        assert_eq!(has_fired(&client), fires, "{activity}");
    }
    // Nothing else has changed: sends are accepted, also those that wait, and what has arrived is received.
    assert_eq!(client.shared.lifecycle().phase(), Phase::Open);
    client.outbox.send(text("answer")).expect("still open");
    client.socket.until_written(8);
    let mut reader = client.reader(&[]);
    assert_eq!(reader.recv().expect("arrived"), Some(text("arrived")));
    assert!(matches!(reader.recv(), Err(RecvError::Gone)));
    assert_eq!(client.shared.lifecycle().cause(), Some(CloseCause::Gone));
    client.end();
}

#[test]
fn sends_wait_for_room_after_the_end_of_stream() {
    let client = TestClient::held(Config::default().queue(1), 1);
    client.shared.reader.set(Activity::InHandler);
    client.socket.hang_up();
    client.shared.look_for_peer();
    assert!(has_fired(&client));
    client
        .outbox
        .try_send(text("queued"))
        .expect("room for one");
    let refused = client
        .outbox
        .send_timeout(text("waits"), Duration::from_millis(10));
    assert!(
        matches!(refused, Err(SendTimeoutError::Timeout(_))),
        "{refused:?}"
    );
    client.socket.accept_all();
    client.outbox.send(text("waits")).expect("still open");
    client.socket.until_written(6 + 8 + 7);
    client.end();
}

#[test]
fn reset_ends_the_connection_while_the_handler_runs() {
    let client = TestClient::held(Config::default().queue(1), 1);
    client.shared.reader.set(Activity::InHandler);
    client
        .outbox
        .try_send(text("queued"))
        .expect("room for one");
    let outbox = client.outbox.clone();
    let sender = thread::spawn(move || outbox.send(text("waits")));
    client.socket.send(from_client(0x81, b"arrived"));
    client.socket.break_after(1);
    client.shared.look_for_peer();
    assert!(has_fired(&client));
    assert_eq!(client.shared.lifecycle().phase(), Phase::Finished);
    assert_eq!(client.shared.lifecycle().cause(), Some(CloseCause::Gone));
    let sent = within("the sender is woken", || sender.join());
    assert_eq!(sent.expect("no panic").expect_err("ended").0, text("waits"));
    let mut reader = client.reader(&[]);
    assert_eq!(reader.recv().expect("arrived"), Some(text("arrived")));
    assert!(matches!(reader.recv(), Err(RecvError::Gone)));
    let counts = client.end();
    assert_eq!((counts.delivered, counts.discarded), (0, 2));
}

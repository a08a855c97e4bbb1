//! Servers on unix sockets, and what becomes of the paths: replaced if stale, removed by the server that bound them,
//! with the permissions that were asked for.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use standpipe::{Config, Connection, Listener, Server};

use crate::support::{Connect, TestServer, echo, within};

/// A directory that is removed with everything in it.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let name = format!("standpipe-unix-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("ws.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn server_on(path: &Path, config: Config) -> TestServer {
    let listeners = vec![Listener::unix(path).unwrap()];
    TestServer::of(Server::from_listeners(listeners, config).unwrap(), echo)
}

fn assert_served(path: &Path) {
    let mut client = Connect::to_unix(path).connect();
    client.text("here");
    client.expect_text("here");
    client.leave();
}

/// Binds the path and closes the socket, as a killed server does.
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

#[test]
fn unix_socket_is_served() {
    let directory = Directory::new("served");
    let path = directory.socket();
    let listeners = vec![Listener::unix(&path).unwrap()];
    let server = Server::from_listeners(listeners, Config::default()).unwrap();
    let server = TestServer::of(server, |conn: &mut Connection| {
        let peer = format!("{:?}", conn.peer());
        conn.send(standpipe::Message::text(peer))?;
        echo(conn)
    });
    let mut client = Connect::to_unix(&path).connect();
    client.expect_text("Unix");
    let large = "x".repeat(60_000);
    client.text(&large);
    client.expect_text(&large);
    client.leave();
    let mut last = Connect::to_unix(&path).connect();
    last.expect_text("Unix");
    server.handle().shutdown();
    last.expect_close(1001);
    last.close(1001, "");
    let report = server.report();
    assert_eq!((report.drained, report.lost), (1, 0));
    assert!(!path.exists());
}

#[test]
fn removed_unix_socket_path_does_not_prevent_shutdown() {
    let directory = Directory::new("gone");
    let path = directory.socket();
    let listener = UnixListener::bind(&path).unwrap();
    let listeners = vec![listener.try_into().unwrap()];
    let server = Server::from_listeners(listeners, Config::default()).unwrap();
    let server = TestServer::of(server, echo);
    fs::remove_file(&path).unwrap();
    server.shut_down();
}

#[test]
fn draining_server_frees_its_path_for_the_successor() {
    let directory = Directory::new("successor");
    let path = directory.socket();
    let hour = Duration::from_secs(3600);
    let patient = Config::default().shutdown_timeout(hour).close_timeout(hour);
    let old = server_on(&path, patient);
    let mut silent = Connect::to_unix(&path).connect();
    old.handle().shutdown();
    silent.expect_close(1001);
    assert!(!path.exists(), "the path was not removed");
    let successor = server_on(&path, Config::default());
    assert_served(&path);
    silent.close(1001, "");
    old.report();
    // The old server has ended, and the path is still the socket of the successor.
    assert_served(&path);
    successor.shut_down();
    assert!(!path.exists());
}

#[test]
fn socket_of_another_server_is_left_in_place() {
    let directory = Directory::new("other");
    let path = directory.socket();
    let old = server_on(&path, Config::default());
    // What `rm -f` before the start of a new server does.
    fs::remove_file(&path).unwrap();
    let successor = server_on(&path, Config::default());
    old.shut_down();
    assert_served(&path);
    successor.shut_down();
    assert!(!path.exists());
}

#[test]
fn listener_that_never_serves_removes_its_path() {
    let directory = Directory::new("unserved");
    let path = directory.socket();
    drop(Listener::unix(&path).unwrap());
    assert!(!path.exists());
    let server = Server::from_listeners(
        vec![Listener::unix(&path).unwrap()],
        // The pattern is invalid, so the server is not made.
        Config::default().origin(vec!["https://a b".into()]),
    );
    assert!(server.is_err() && !path.exists());
}

#[test]
fn stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = Directory::new("stale");
    let path = directory.socket();
    leave_stale(&path);
    let server = server_on(&path, Config::default());
    let taken = Listener::unix(&path).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    assert_served(&path);
    server.shut_down();
}

#[test]
fn full_backlog_does_not_look_stale() {
    let directory = Directory::new("full");
    let path = directory.socket();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    socket.listen(0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let at = path.clone();
    let taken = within(20, "the second start to fail", move || Listener::unix(&at));
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
    assert!(path.exists());
}

#[test]
fn file_that_is_no_socket_is_never_replaced() {
    let directory = Directory::new("file");
    let path = directory.socket();
    fs::write(&path, "precious").unwrap();
    let taken = Listener::unix(&path).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    let mut kept = String::new();
    File::open(&path)
        .unwrap()
        .read_to_string(&mut kept)
        .unwrap();
    assert_eq!(kept, "precious");
}

#[test]
fn one_of_many_starts_replaces_a_stale_socket() {
    let directory = Directory::new("race");
    let path = directory.socket();
    for _ in 0..50 {
        leave_stale(&path);
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                thread::spawn(move || Listener::unix(path))
            })
            .collect();
        let started = starts.into_iter().map(|start| start.join().unwrap());
        let (bound, failed): (Vec<_>, Vec<_>) = started.partition(Result::is_ok);
        assert_eq!(bound.len(), 1, "{failed:?}");
        for failure in failed {
            assert_eq!(failure.unwrap_err().kind(), ErrorKind::AddrInUse);
        }
        UnixStream::connect(&path).expect("the socket that was bound is reachable");
        drop(bound);
        assert!(!path.exists());
    }
}

#[test]
fn path_has_the_permissions_that_were_asked_for() {
    let directory = Directory::new("mode");
    let path = directory.socket();
    for mode in [0o600, 0o660, 0o666, 0o777] {
        let _listener = Listener::unix_with_mode(&path, mode).unwrap();
        let permissions = fs::metadata(&path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o7777, mode);
    }
}

#[test]
fn locked_directory_fails_after_a_second() {
    use rustix::fs::{FlockOperation, flock};
    let directory = Directory::new("locked");
    let path = directory.socket();
    let file = File::open(&directory.0).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let at = path.clone();
    let locked = within(20, "the bind to fail", move || Listener::unix(at));
    assert_eq!(locked.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(!path.exists());
    drop(file);
    drop(Listener::unix(&path).unwrap());
}

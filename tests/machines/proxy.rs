//! [`Proxy`]: stands between a hub and its Redis server, and can cut the hub off.
//!
//! While it is cut, it accepts connections and reads everything, and passes nothing on. When it is joined again, it
//! delivers what it has read, also from connections whose sender has given up meanwhile. A network that lost its way for a
//! while does the same.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

/// How many reads a direction of a connection holds while it is cut.
const HELD: usize = 4096;

pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_cut: Mutex<bool>,
    joined: Condvar,
    has_ended: AtomicBool,
    /// All sockets, so that the end of the proxy ends their threads.
    sockets: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Passes connections to the server on `port`.
    pub(crate) fn start(port: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let own = listener.local_addr().expect("the listener is bound").port();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, port, &of_thread));
        Proxy {
            port: own,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on, nothing is passed on.
    pub(crate) fn cut(&self) {
        *lock(&self.shared.is_cut) = true;
    }

    /// Passes on what was held, and everything that comes from now on.
    pub(crate) fn join(&self) {
        *lock(&self.shared.is_cut) = false;
        self.shared.joined.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        self.join();
        for socket in lock(&self.shared.sockets).iter() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until the end. Then waits for the threads of all connections.
fn accept(listener: &TcpListener, port: u16, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for client in listener.incoming() {
        if shared.has_ended.load(Ordering::SeqCst) {
            break;
        }
        let Ok(client) = client else { continue };
        // A server that is away refuses the connection, and so does the proxy.
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            continue;
        };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let _ = from.set_nodelay(true);
            let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone())
            else {
                continue;
            };
            lock(&shared.sockets).push(kept);
            let (held, holding) = bounded(HELD);
            threads.push(std::thread::spawn(move || read(from, &held)));
            let shared = Arc::clone(shared);
            threads.push(std::thread::spawn(move || write(to, &holding, &shared)));
        }
        if shared.has_ended.load(Ordering::SeqCst) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn read(mut from: TcpStream, held: &Sender<Vec<u8>>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if held.send(bytes[..count].to_vec()).is_err() {
            break;
        }
    }
}

/// Also passes on the end of the other side, after the bytes before it.
fn write(mut to: TcpStream, holding: &Receiver<Vec<u8>>, shared: &Shared) {
    loop {
        let bytes = holding.recv();
        let mut is_cut = lock(&shared.is_cut);
        while *is_cut && !shared.has_ended.load(Ordering::SeqCst) {
            is_cut = shared
                .joined
                .wait(is_cut)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(is_cut);
        match bytes {
            Ok(bytes) if to.write_all(&bytes).is_ok() => {}
            // The other side has ended, or this one has.
            _ => break,
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn cut_proxy_delivers_old_bytes_later() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::start(server.local_addr().unwrap().port());
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
    let (mut at_server, _) = server.accept().unwrap();
    at_server
        .set_read_timeout(Some(crate::wait::DEADLINE))
        .unwrap();
    let mut bytes = [0; 6];
    client.write_all(b"before").unwrap();
    at_server.read_exact(&mut bytes).unwrap();

    proxy.cut();
    client.write_all(b"during").unwrap();
    drop(client);
    let moment = std::time::Duration::from_millis(50);
    at_server.set_read_timeout(Some(moment)).unwrap();
    at_server.read(&mut bytes).unwrap_err();

    proxy.join();
    at_server
        .set_read_timeout(Some(crate::wait::DEADLINE))
        .unwrap();
    at_server.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"during");
    assert_eq!(at_server.read(&mut bytes).unwrap(), 0);
}

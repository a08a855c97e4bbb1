//! Wrong: one WebSocket in a mutex, shared by the thread that reads and all threads that write.
//! Result: the reader holds the mutex while it is blocked in `read`. No thread can write until the client sends.
//! Where it happened: meow-rs #278 (one mutex held across a blocking read), rust-native-tls #276, kubestellar #7957.
//! Right: two halves. The read half (`src/connection/read/read_half.rs`) belongs to the reader thread. The write half
//! (`src/connection/write/write_path.rs`) is held by one thread at a time, and never while that thread waits in `read`.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::bounded;
use tungstenite::Message;

use crate::{Outcome, within};

pub(crate) fn run() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (connected, server) = bounded(1);
    thread::Builder::new().spawn(move || {
        let (stream, _) = listener.accept().ok()?;
        let socket = Arc::new(Mutex::new(tungstenite::accept(stream).ok()?));
        let _ = connected.send(Arc::clone(&socket));
        let (starting, started) = bounded::<()>(1);
        let for_reader = Arc::clone(&socket);
        let reader = thread::Builder::new().spawn(move || {
            let mut socket = for_reader.lock().unwrap_or_else(PoisonError::into_inner);
            drop(starting);
            socket.read() // Blocks until the client sends, and holds the mutex.
        });
        let _ = started.recv();
        reader.ok()?.join().ok()?.ok()
    })?;
    let stream = TcpStream::connect(address)?;
    let (mut client, _) =
        tungstenite::client("ws://localhost/", stream).map_err(|error| error.to_string())?;
    let server = server.recv()?;

    // The reader takes the mutex first, as in a real server, where it reads from the moment the client is connected.
    while server.try_lock().is_ok() {
        thread::yield_now();
    }
    let for_writer = Arc::clone(&server);
    let pushed = within(move || {
        let mut socket = for_writer.lock().unwrap_or_else(PoisonError::into_inner);
        socket.send(Message::text("news")).is_ok()
    })?;
    println!("pushed within a second: {}", pushed.is_some());

    // The client only waits for news. When it sends something, the reader releases the mutex, and the news is sent.
    client.send(Message::text("anything new?"))?;
    println!("after the client spoke: {}", client.read()?);
    Ok(())
}

//! Wrong: `try_clone` the socket; one WebSocket reads and answers pings, the other sends.
//! What happens: a frame is several writes. A pong that falls between two of them lands in the middle of the message.
//! Where it happened: hew-lang/hew #1632 (this very design), http4s #7882, gorilla/websocket panics to prevent it (#390).
//! Right: there is one wire, lent to one thread at a time (`src/connection/wire.rs`); a pong waits in a slot for the
//! frame in progress (`src/connection/control.rs`).

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;

use crossbeam_channel::bounded;
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

use crate::Outcome;

pub(crate) fn run() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    let mut other = server.try_clone()?;
    let (unlucky, moment) = bounded::<()>(0);
    let (answered, go_on) = bounded::<()>(0);

    thread::scope(|scope| -> Outcome {
        // The reader: tungstenite answers a ping from inside `read`.
        let reader = thread::Builder::new().name("reader".into());
        reader.spawn_scoped(scope, move || {
            let mut socket = WebSocket::from_raw_socket(&server, Role::Server, None);
            let _ = moment.recv();
            let _ = socket.read(); // The ping.
            let _ = socket.flush(); // Its pong, which the next `read` would write as well.
            let _ = answered.send(());
        })?;
        // The writer: `write_all` is many writes whenever the socket is full. Here it is two, and the moment between
        // them is sure to come; in life it comes when there is much to do.
        let writer = thread::Builder::new().name("writer".into());
        writer.spawn_scoped(scope, move || -> std::io::Result<()> {
            other.write_all(&[0x81, 100])?; // FIN and text; a hundred bytes.
            other.write_all(&[b'a'; 50])?;
            let _ = unlucky.send(());
            let _ = go_on.recv();
            other.write_all(&[b'a'; 50])
        })?;
        let mut socket = WebSocket::from_raw_socket(&client, Role::Client, None);
        socket.send(Message::Ping("ping".into()))?;
        match socket.read() {
            Ok(message) => println!("the client got {message}"),
            Err(error) => println!("the client got no message, but: {error}"),
        }
        Ok(())
    })
}

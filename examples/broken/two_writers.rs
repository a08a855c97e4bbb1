//! Wrong: duplicate the socket with `try_clone`. One WebSocket reads and answers pings, another one sends.
//! Result: writing a frame takes several writes. A pong between two of them lands in the middle of the message.
//! Where it happened: hew-lang/hew #1632 (this very design), http4s #7882; gorilla/websocket panics to prevent it
//! (#390).
//! Right: there is one write half, held by one thread at a time (`src/connection/write/write_path.rs`). A pong waits in
//! a slot until the frame in progress is written (`src/connection/write/control_slot.rs`).

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
    let mut write_side = server.try_clone()?;
    let (half_written, may_answer) = bounded::<()>(0);
    let (answered, may_finish) = bounded::<()>(0);

    thread::scope(|scope| -> Outcome {
        // The reader. tungstenite answers a ping from inside `read`.
        let reader = thread::Builder::new().name("reader".into());
        reader.spawn_scoped(scope, move || {
            let mut socket = WebSocket::from_raw_socket(&server, Role::Server, None);
            let _ = may_answer.recv();
            let _ = socket.read(); // The ping.
            let _ = socket.flush(); // Writes the pong. The next `read` would write it too.
            let _ = answered.send(());
        })?;
        // The writer. `write_all` makes several writes when the socket is full. Here there are always two, and the pong
        // always falls between them. In a real server that happens only under load.
        let writer = thread::Builder::new().name("writer".into());
        writer.spawn_scoped(scope, move || -> std::io::Result<()> {
            write_side.write_all(&[0x81, 100])?; // FIN, opcode text, 100 bytes of payload.
            write_side.write_all(&[b'a'; 50])?;
            let _ = half_written.send(());
            let _ = may_finish.recv();
            write_side.write_all(&[b'a'; 50])
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

//! Wrong: the queue between the two threads is unbounded, so that `send` never waits.
//! Result: a client stops reading, and every message for it stays in memory. One client exhausts the memory of
//! the process.
//! Where it happened: the `ws` crate, CVE-2020-35896 (RUSTSEC-2020-0043, ws-rs #291): its outgoing buffer had no limit.
//! Right: a limit in messages *and* in bytes, as in `src/connection/queue/send_queue.rs`.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, bounded, unbounded};

use crate::Outcome;

const MESSAGE: usize = 4096;
/// Bounds this demonstration. The design itself has no bound.
const MESSAGES: usize = 10_000;

pub(crate) fn run() -> Outcome {
    thread::scope(|scope| -> Outcome {
        for (name, (queue, queued)) in [("unbounded", unbounded()), ("bounded(64)", bounded(64))] {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let client = TcpStream::connect(listener.local_addr()?)?; // It never reads.
            let (server, _) = listener.accept()?;
            let socket = server.try_clone()?;
            let writer = thread::Builder::new().name("writer".into());
            writer.spawn_scoped(scope, move || write_pump(server, queued))?;
            let mut sent = 0;
            while sent < MESSAGES {
                match queue.send_timeout(vec![0; MESSAGE], Duration::from_millis(200)) {
                    Ok(()) => sent += 1,
                    Err(SendTimeoutError::Timeout(_)) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            let held = (queue.len() * MESSAGE) >> 10;
            let waits = if sent < MESSAGES {
                "waits"
            } else {
                "has never waited"
            };
            println!("{name}: after {sent} messages, send {waits}; the queue holds {held} KiB");
            // Wakes the writer, which is blocked in `write`.
            socket.shutdown(Shutdown::Both)?;
            drop(client);
        }
        Ok(())
    })
}

fn write_pump(mut socket: TcpStream, queued: Receiver<Vec<u8>>) {
    for bytes in queued {
        if socket.write_all(&bytes).is_err() {
            break;
        }
    }
}

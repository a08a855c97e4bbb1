//! [`SlowLink`]: stands between a hub and its Redis server, and passes everything on after a delay, as a long line does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::Failure;

/// The reads that may be on their way in one direction.
const ON_THE_WAY: usize = 4096;

/// Its threads end with the connections that they serve.
pub(crate) struct SlowLink {
    port: u16,
    has_ended: Arc<AtomicBool>,
}

impl SlowLink {
    /// Passes connections to the server on `port`. `delay` is for one direction.
    pub(crate) fn start(port: u16, delay: Duration) -> Result<SlowLink, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let link = SlowLink {
            port: listener.local_addr()?.port(),
            has_ended: Arc::default(),
        };
        let has_ended = Arc::clone(&link.has_ended);
        thread::spawn(move || {
            for hub in listener.incoming().map_while(Result::ok) {
                if has_ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
                    continue;
                };
                // Dropping both ends the connection, which the hub notices.
                let _ = connect(&hub, &server, delay).and_then(|()| connect(&server, &hub, delay));
            }
        });
        Ok(link)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Starts the two threads of one direction.
fn connect(from: &TcpStream, to: &TcpStream, delay: Duration) -> std::io::Result<()> {
    let (from, to) = (from.try_clone()?, to.try_clone()?);
    to.set_nodelay(true)?;
    let (sender, receiver) = bounded(ON_THE_WAY);
    thread::spawn(move || read(from, &sender, delay));
    thread::spawn(move || write(to, &receiver));
    Ok(())
}

fn read(mut from: TcpStream, on_the_way: &Sender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let arrives = Instant::now() + delay;
        if on_the_way
            .send((arrives, buffer[..count].to_vec()))
            .is_err()
        {
            return;
        }
    }
}

fn write(mut to: TcpStream, on_the_way: &Receiver<(Instant, Vec<u8>)>) {
    for (arrives, bytes) in on_the_way {
        // The time itself is what is waited for.
        thread::sleep(arrives.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

//! `sp-send-N`: the thread that writes to the socket after the opening handshake.

use std::io::{self, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::progress::Progress;
use super::socket::Entry;
use crate::cli::stream::Stream;
use crate::cli::throttle::Throttle;

/// A server that sends nothing for this time after our Close will not answer it.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes what is queued, until [`Entry::End`] comes or the socket fails, or the server sends nothing for
/// `answer_timeout` after our Close. When this returns, the queue is disconnected, so nobody waits for room in it.
pub(super) fn write(
    mut stream: Stream,
    queued: Receiver<Entry>,
    progress: &Progress,
    throttle: &Throttle,
    answer_timeout: Duration,
) {
    // Set once our Close has been written: the number of bytes received until then.
    let mut closing = None;
    loop {
        let entry = match closing {
            None => queued.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => queued.recv_timeout(answer_timeout),
        };
        let written = match entry {
            Ok(Entry::Line(number, bytes)) => {
                let written = stream.write_all(&bytes);
                if written.is_ok() {
                    progress.written(number);
                }
                written
            }
            Ok(Entry::Control(bytes)) => stream.write_all(&bytes),
            Ok(Entry::Close(bytes)) => {
                closing = Some(throttle.bytes_read());
                stream.write_all(&bytes)
            }
            Ok(Entry::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let received = throttle.bytes_read();
                // A client that reads slowly on purpose cannot tell whether the server has answered.
                if closing != Some(received) || throttle.rate().is_some() {
                    closing = Some(received);
                    continue;
                }
                progress.unanswered();
                Err(io::ErrorKind::TimedOut.into())
            }
        };
        if written.is_err() {
            // The reading thread sees the end of the connection and reports it.
            stream.shutdown();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use crossbeam_channel::bounded;

    use super::*;

    /// Writes `entries` to a server that sends nothing. Returns what the server received.
    fn write_to_silent_server(entries: Vec<Entry>, progress: &Progress) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).expect("a connection");
        let (mut server, _) = listener.accept().expect("the client's connection");
        let (queue, queued) = bounded(entries.len());
        for entry in entries {
            queue.send(entry).expect("the queue has room");
        }
        let throttle = Throttle::new(None);
        write(
            client.into(),
            queued,
            progress,
            &throttle,
            Duration::from_millis(20),
        );
        assert!(queue.is_empty() && queue.send(Entry::End).is_err());
        let mut received = Vec::new();
        server
            .read_to_end(&mut received)
            .expect("the connection was shut down");
        received
    }

    #[test]
    fn close_that_is_not_answered_ends_the_connection() {
        let progress = Progress::default();
        progress.sending(1, 4);
        let entries = vec![
            Entry::Line(1, b"line".to_vec()),
            Entry::Close(b"close".to_vec()),
        ];
        let received = write_to_silent_server(entries, &progress);
        assert_eq!(received, b"lineclose");
        assert!(progress.is_unanswered());
        assert_eq!(progress.losses(true), [""; 0]);
    }

    #[test]
    fn end_stops_the_thread() {
        let progress = Progress::default();
        let entries = vec![Entry::Control(b"pong".to_vec()), Entry::End];
        assert_eq!(write_to_silent_server(entries, &progress), b"pong");
        assert!(!progress.is_unanswered());
    }
}

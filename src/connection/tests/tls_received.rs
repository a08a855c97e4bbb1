//! Bytes that a peer sends over TLS arrive unchanged.

use super::tls::TlsClient;
use super::*;
use crate::connection::socket::Transport;

/// Reads everything that the peer has sent, with buffers of several sizes.
fn read_all(client: &TlsClient, waits: bool) -> Vec<u8> {
    let (mut received, mut dice) = (Vec::new(), Dice::new(1));
    loop {
        if waits {
            let deadline = Instant::now() + DEADLINE;
            while !(client.transport.wait_readable(std::time::Duration::ZERO))
                .expect("the session is valid")
            {
                assert!(Instant::now() < deadline, "timed out waiting for the end");
            }
        }
        let size = [1, 5, 1000, 20_000, 100_000][dice.below(5)];
        let mut buffer = vec![0; size];
        match client.transport.read(&mut buffer) {
            Ok(0) => return received,
            Ok(count) => received.extend(&buffer[..count]),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn received_bytes_are_unchanged_however_records_are_cut() {
    for piece in [1, 7, 100, 5_000, 100_000] {
        for waits in [false, true] {
            let mut client = TlsClient::new(Config::default());
            let (mut records, mut sent, mut dice) = (Vec::new(), Vec::new(), Dice::new(piece));
            for n in 0..20 {
                let bytes = vec![n; 1 + [10, 100, 3_000, 40_000][dice.below(4)]];
                records.extend(client.peer.seal(&bytes));
                sent.extend(bytes);
                if n % 3 == 0 {
                    records.extend(client.peer.update_keys());
                }
            }
            for part in records.chunks(usize::try_from(piece).expect("a small number")) {
                if waits {
                    client.socket.pause();
                }
                client.socket.send(part);
            }
            client.socket.hang_up();
            let received = read_all(&client, waits);
            assert!(received == sent, "pieces of {piece} bytes, waits: {waits}");
            client.end();
        }
    }
}

/// A signal may arrive while a part of a record is waited for.
#[test]
fn interrupted_reads_lose_nothing() {
    let mut client = TlsClient::new(Config::default());
    let records = client.peer.seal(b"interrupted");
    for part in records.chunks(9) {
        client.socket.fail_read(std::io::ErrorKind::Interrupted);
        client.socket.send(part);
    }
    client.socket.hang_up();
    let (mut received, mut interrupted, mut buffer) = (Vec::<u8>::new(), 0, [0; 4]);
    loop {
        match client.transport.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => received.extend(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => interrupted += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(received, b"interrupted");
    assert_eq!(interrupted, records.chunks(9).count());
    client.end();
}

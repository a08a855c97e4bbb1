//! The target `tls`: received bytes of a TLS session, which the input damages, cuts and mixes.

use std::sync::Arc;
use std::time::Duration;

use super::Choices;
use crate::connection::socket::Transport;
use crate::connection::testing::scripted_socket::ScriptedSocket;
use crate::connection::testing::tls_peer::{TlsPeer, TlsSetup};
use crate::connection::tls::handshake::{HandshakeError, accept};

/// The most bytes that an input sends.
const MOST_INPUT: usize = 4096;

/// Sends a server the input itself, instead of a handshake. Then runs a handshake, and a session in which the input
/// chooses what arrives: valid records, key updates, damaged records, or bytes of its own.
///
/// The received bytes are always the beginning of the plaintext that was sent. The first error stays.
pub fn tls(data: &[u8]) {
    handshake(&data[..data.len().min(MOST_INPUT)]);
    session(data);
}

fn handshake(data: &[u8]) {
    let socket = Arc::new(ScriptedSocket::default());
    socket.send(data);
    socket.hang_up();
    let config = TlsSetup::usual().server();
    let first = data.first().copied();
    let result = accept(socket.clone(), config, Vec::new());
    let is_letter = first.is_some_and(|first| first.is_ascii_alphabetic());
    match result {
        Ok(_) => panic!("a handshake with a key that the input cannot know"),
        Err(HandshakeError::PlainHttp) => assert!(is_letter && socket.written().is_empty()),
        Err(_) => assert!(!is_letter),
    }
}

fn session(data: &[u8]) {
    let socket = Arc::new(ScriptedSocket::default());
    let (mut peer, transport) = TlsPeer::connect(TlsSetup::usual(), &socket);
    let mut choices = Choices(data);
    let (mut sent, mut stream): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    let piece = 1 + 37 * usize::from(choices.byte());
    while !choices.is_empty() && stream.len() < 64 * MOST_INPUT {
        let (step, argument) = (choices.byte(), usize::from(choices.byte()));
        match step % 8 {
            0..=2 => {
                let bytes = vec![step; argument * argument / 2];
                stream.extend(peer.seal(&bytes));
                sent.extend(bytes);
            }
            3 => stream.extend(peer.update_keys()),
            4 => {
                // A damaged record ends the session, except if only the version in its header is damaged: TLS ignores it.
                let bytes = [step; 20];
                let mut record = peer.seal(&bytes);
                let at = argument % record.len();
                record[at] ^= 1 << (step >> 5);
                stream.extend(record);
                sent.extend(bytes);
                break;
            }
            5 => {
                peer.session.send_close_notify();
                stream.extend(peer.seal(&[]));
                break;
            }
            6 => stream.extend(choices.bytes(argument)),
            _ => {}
        }
    }
    for part in stream.chunks(piece) {
        if data.len().is_multiple_of(2) {
            socket.pause();
        }
        socket.send(part);
    }
    socket.hang_up();
    let mut received = Vec::new();
    let mut sizes = data.iter().cycle();
    let ended = loop {
        let mut buffer = vec![0; 1 + 37 * usize::from(*sizes.next().unwrap_or(&9))];
        // A pause makes the first look find nothing.
        let looked = transport.wait_readable(Duration::ZERO);
        looked.expect("the socket does not fail");
        match transport.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(count) => received.extend(&buffer[..count]),
            Err(error) => break Err(error.to_string()),
        }
    };
    assert!(
        sent.starts_with(&received),
        "other bytes were received than sent"
    );
    let again = transport.read(&mut [0; 10]);
    let again = again.map(drop).map_err(|error| error.to_string());
    assert_eq!(again, ended, "the end stays");
    // The records that the session has produced by itself leave without a panic.
    transport.shutdown(std::net::Shutdown::Write);
    let _: Result<&[u8], _> = peer.open(&socket.written());
}

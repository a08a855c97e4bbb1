//! The memory that one client with TLS can occupy is measured and compared with the formula in `SECURITY.md`.

use std::io::Write;

use standpipe::Config;

use super::super::memory::{assert_documented, documented_maximum};
use super::resident_kib;
use crate::support::tls_peer::{TLS_1_2, TLS_1_3, tls_client, tls_server};
use crate::support::{Frame, TlsPeer, echo, in_own_process, op, until};

/// The memory that TLS adds to the maximum of a client: received bytes, an incomplete message of the handshake, sealed records,
/// plaintext, output, and the session.
const TLS_KIB: usize = 64 + 64 + 64 + 16 + 16 + 8;

/// The clients are in the same process, so that the memory of their sessions counts too.
#[test]
fn t37_client_that_never_reads_stays_within_documented_memory() {
    const NAME: &str =
        "threats::tls::memory::t37_client_that_never_reads_stays_within_documented_memory";
    const CLIENTS: usize = 10;
    in_own_process(NAME, || {
        let config = Config::default().sndbuf(Some(16 << 10)).unsent(16 << 10);
        let frame = Frame::new(op::BINARY, vec![7; config.max_message]).bytes();
        let documented = (documented_maximum(&config) >> 10) + TLS_KIB;
        for versions in [TLS_1_2, TLS_1_3] {
            let server = tls_server(config.clone(), echo);
            TlsPeer::connect_with(server.addr(), tls_client(versions)).leave();
            let base = resident_kib();
            let mut clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let peer = TlsPeer::connect_with(server.addr(), tls_client(versions));
                    peer.socket.set_nonblocking(true).expect("a socket");
                    (peer, Vec::new(), 0)
                })
                .collect();
            until("every queue is full and every handler waits", || {
                for (peer, records, sent) in &mut clients {
                    loop {
                        if *sent == records.len() {
                            (*records, *sent) = (peer.seal(&frame), 0);
                        }
                        match (&peer.socket).write(&records[*sent..]) {
                            Ok(count) => *sent += count,
                            Err(_) => break,
                        }
                    }
                }
                let states = server.handle().client_states();
                let waiting = states.iter().filter(|state| {
                    state
                        .reader
                        .activity
                        .to_string()
                        .starts_with("waiting for room")
                });
                waiting.count() == CLIENTS
            });
            let measured = resident_kib().saturating_sub(base) as usize / CLIENTS;
            eprintln!("{versions:?}: {measured} KiB per client; documented: {documented} KiB");
            assert_documented(measured, documented, &config);
            drop(clients);
        }
    });
}

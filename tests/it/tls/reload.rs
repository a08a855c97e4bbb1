//! `TlsConfig::reload`: open connections go on, and the next one has the new certificate.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use standpipe::rustls;
use standpipe::{Config, TlsConfig, TlsConfigError};

use crate::support::tls_peer::{TLS_1_3, key_file, tls_client, tls_config, tls_server_of};
use crate::support::{TlsPeer, echo};

/// Returns whether the server showed this certificate.
fn has_certificate(peer: &TlsPeer, name: &str) -> bool {
    let expected = CertificateDer::from_pem_file(key_file(name)).expect("a certificate");
    let shown = peer
        .session
        .peer_certificates()
        .expect("a finished handshake");
    shown.first() == Some(&expected)
}

fn renewed() -> Result<TlsConfig, TlsConfigError> {
    TlsConfig::from_pem_files(key_file("renewed.pem"), key_file("renewed.key"))
}

#[test]
fn reload_keeps_connections_and_shows_the_new_certificate() {
    let tls = tls_config();
    let server = tls_server_of(tls.clone(), Config::default(), echo);
    let mut clients: Vec<_> = (0..20).map(|_| TlsPeer::connect(server.addr())).collect();
    // A handshake that has begun goes on with the configuration that it has begun with.
    let mut halfway = TlsPeer::open(server.addr(), tls_client(TLS_1_3));
    let hello = halfway.flight();
    halfway.bytes(hello);
    assert_eq!(halfway.receive(), Ok(()));
    tls.reload(renewed().expect("a certificate"));
    for client in &mut clients {
        assert!(has_certificate(client, "server.pem"));
        client.text("still connected");
        client.expect_text("still connected");
    }
    halfway.upgraded("/").leave();
    let later = TlsPeer::connect(server.addr());
    assert!(has_certificate(&later, "renewed.pem"));
    later.leave();
    for client in clients {
        client.leave();
    }
}

#[test]
fn files_that_cannot_be_used_change_nothing() {
    let tls = tls_config();
    let server = tls_server_of(tls.clone(), Config::default(), echo);
    let directory = std::env::temp_dir().join(format!("standpipe-reload-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let certificate = std::fs::read(key_file("renewed.pem")).expect("a certificate");
    let truncated = directory.join("truncated.pem");
    std::fs::write(&truncated, &certificate[..certificate.len() / 3]).expect("a file");
    let empty = directory.join("empty.pem");
    std::fs::write(&empty, "").expect("a file");
    for (certificate, key, expected) in [
        (truncated, key_file("renewed.key"), "truncated.pem"),
        (
            empty,
            key_file("renewed.key"),
            "empty.pem has no certificate",
        ),
        (
            key_file("renewed.pem"),
            key_file("missing.key"),
            "cannot read",
        ),
        (
            key_file("renewed.pem"),
            key_file("renewed.pem"),
            "has no private key",
        ),
        // The key of another certificate.
        (
            key_file("renewed.pem"),
            key_file("server.key"),
            "cannot be used together",
        ),
    ] {
        let read = TlsConfig::from_pem_files(&certificate, &key);
        let error = read.map(|new| tls.reload(new)).expect_err("a broken file");
        assert!(error.to_string().contains(expected), "{error}");
        let client = TlsPeer::connect(server.addr());
        assert!(has_certificate(&client, "server.pem"), "{error}");
        client.leave();
    }
    std::fs::remove_dir_all(directory).expect("a directory");
}

/// A server is reloaded again and again while clients connect.
#[test]
fn reload_disturbs_no_handshake() {
    let tls = tls_config();
    let server = tls_server_of(tls.clone(), Config::default(), echo);
    let address = server.addr();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..25 {
                    TlsPeer::connect(address).leave();
                }
            })
        })
        .collect();
    let mut reloads = 0;
    while !clients.iter().all(std::thread::JoinHandle::is_finished) {
        tls.reload(if reloads % 2 == 0 {
            renewed().expect("a certificate")
        } else {
            tls_config()
        });
        reloads += 1;
    }
    assert!(reloads > 0);
    for client in clients {
        client.join().expect("every client was served");
    }
}

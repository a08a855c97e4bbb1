//! SIGHUP: the certificate, its key and the authorities of clients are read again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// Clients that are connected while the certificate changes.
const CLIENTS: usize = 200;
/// More messages would not fit into the sockets of clients that do not read.
const MOST_MESSAGES: usize = 1000;

/// A server whose certificate lies in files of its own.
struct Renewed {
    hub: Hub,
    files: Files,
}

impl Renewed {
    #[track_caller]
    fn start(test: &str, flags: &[&str]) -> Renewed {
        let files = Files::new(test);
        files.copy("server.pem", "cert.pem");
        files.copy("server.key", "key.pem");
        let (certificate, private) = (files.path("cert.pem"), files.path("key.pem"));
        let mut all = vec!["--tls-cert", &certificate, "--tls-key", &private];
        all.extend(["--listen", "127.0.0.1:0", "--admin-open"]);
        all.extend(flags);
        let hub = Hub::of(standpipe(&all));
        Renewed { hub, files }
    }

    /// Replaces both files, and reloads. Returns the lines of the log.
    #[track_caller]
    fn replace(&self, name: &str) -> String {
        self.files.copy(&format!("{name}.pem"), "cert.pem");
        self.files.copy(&format!("{name}.key"), "key.pem");
        self.hub.reload()
    }

    #[track_caller]
    fn assert_certificate(&self, name: &str) {
        let client = self.hub.connect("/echo");
        let expected = &certificates(name)[0];
        assert!(client.certificate() == *expected, "it is not {name}.pem");
        client.leave();
    }
}

#[test]
fn reload_under_load_cuts_no_connection() {
    let server = Renewed::start("load", &[]);
    let hub = &server.hub;
    let config = trusting();
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| Client::connect(hub.address, "/ws/load", &config))
        .collect();
    server.assert_certificate("server");
    let mut publisher = Client::connect(hub.address, "/ws/load?echo=false", &config);
    let mut first = clients.swap_remove(0);
    let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let published = scope.spawn(|| {
            for number in 0..MOST_MESSAGES {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                publisher.text(&number.to_string());
                first.expect(&number.to_string());
                sent.store(number + 1, Ordering::Relaxed);
            }
        });
        let messages_flow = || {
            let before = sent.load(Ordering::Relaxed);
            until("messages flow", || {
                sent.load(Ordering::Relaxed) > before + 5
            });
        };
        // Also when a check fails, so that the thread ends.
        let _end = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        messages_flow();
        let log = server.replace("renewed");
        assert!(log.contains("certificate read from"), "{log}");
        server.assert_certificate("renewed");
        messages_flow();

        std::fs::write(server.files.path("cert.pem"), "nothing\n").expect("a file");
        let log = hub.reload();
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!(errors.len(), 1, "{log}");
        assert!(errors[0].contains("--tls-cert: "), "{log}");
        assert!(errors[0].contains(&server.files.path("cert.pem")), "{log}");
        server.assert_certificate("renewed");

        // A certificate with the key of another one.
        server.files.copy("server.pem", "cert.pem");
        let log = hub.reload();
        assert!(
            log.contains("ERROR") && log.contains("cannot be used together"),
            "{log}"
        );
        server.assert_certificate("renewed");

        let log = server.replace("server");
        assert!(!log.contains("ERROR"), "{log}");
        server.assert_certificate("server");
        messages_flow();
        is_over.store(true, Ordering::Relaxed);
        published.join().expect("messages arrive in order");
    });
    let sent = sent.into_inner();
    for client in &mut clients {
        for number in 0..sent {
            client.expect(&number.to_string());
        }
    }
    // Also in the other direction.
    for client in &mut clients {
        client.text("last");
    }
    for _ in 0..clients.len() {
        first.expect("last");
    }
    let shown = hub.get("/debug/clients").body;
    let shown: Vec<serde_json::Value> = serde_json::from_str(&shown).expect("JSON");
    // With the publisher.
    assert_eq!(shown.len(), CLIENTS + 1);
}

/// Calls a function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn client_of_an_authority_is_refused_after_a_reload_without_it() {
    for version in [&TLS12, &TLS13] {
        let name = format!("tickets-{:?}", version.version);
        let files = Files::new(&name);
        files.copy("ca.pem", "clients.pem");
        let authorities = files.path("clients.pem");
        let hub = Hub::start(&["--tls-client-ca", &authorities]);
        let config = client_config(&[version], Some("client"));
        let connect = || {
            let tls = handshake(tcp(hub.address), &config)?;
            let resumed = tls.conn.handshake_kind() == Some(HandshakeKind::Resumed);
            // In TLS 1.3, the tickets and the alert about a certificate follow the handshake.
            let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            exchange(tls, request).map(|answer| (answer.status, resumed))
        };
        assert_eq!(connect().expect("the first session"), (200, false));
        assert_eq!(connect().expect("a second session"), (200, false));

        files.copy("other_ca.pem", "clients.pem");
        let log = hub.reload();
        assert!(!log.contains("ERROR"), "{log}");
        let refused = connect();
        assert!(refused.is_err(), "{version:?}: {refused:?}");

        files.copy("ca.pem", "clients.pem");
        hub.reload();
        assert_eq!(connect().expect("a new session"), (200, false));
    }
}

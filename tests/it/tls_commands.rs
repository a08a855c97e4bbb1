//! `standpipe client`, `pub`, `top` and `bench` over TLS and over unix sockets, against servers in the process of the test.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use standpipe::rustls::{ServerConfig, ServerConnection, StreamOwned};
use standpipe::{
    Config, Connection, Handler, HandlerResult, Listener, Reply, Request, Server, TlsConfig,
};

use crate::binary::Binary;
use crate::binary_client::{command, end, feed, run};
use crate::secrets::File;
use crate::support::tls_peer::{key_file, played_server, tls_config, tls_config_with_client_ca};
use crate::support::{DEADLINE, TestServer, echo, within};

/// Sends messages back, and accepts publishes.
#[derive(Clone, Default)]
struct Hub {
    /// The requests.
    requests: Arc<AtomicUsize>,
    /// The connections that published.
    publishers: Arc<Mutex<HashSet<String>>>,
}

impl Handler for Hub {
    fn request(&self, request: &mut Request) -> Reply {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if request.path().starts_with("/publish/") {
            let peer = request.peer().to_string();
            self.publishers.lock().expect("no panic").insert(peer);
            return match request.read_body(1 << 20) {
                Ok(body) => Reply::text(202, format!("{{\"bytes\":{}}}", body.len())),
                Err(reply) => reply,
            };
        }
        Reply::upgrade()
    }

    fn run(&self, conn: &mut Connection) -> HandlerResult {
        echo(conn)
    }
}

struct Secured {
    server: TestServer,
    hub: Hub,
}

impl Secured {
    fn start(address: &str, tls: TlsConfig) -> Secured {
        let listener = Listener::bind(address).expect("a free port").tls(tls);
        let config = Config::default().max_message(4 << 20);
        let server = Server::from_listeners(vec![listener], config);
        let hub = Hub::default();
        let server = TestServer::of(server.expect("a valid configuration"), hub.clone());
        Secured { server, hub }
    }

    fn address(&self) -> SocketAddr {
        self.server.addr()
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://localhost:{}{path}", self.address().port())
    }

    fn requests(&self) -> usize {
        self.hub.requests.load(Ordering::Relaxed)
    }
}

fn secured() -> Secured {
    Secured::start("127.0.0.1:0", tls_config())
}

fn path(name: &str) -> String {
    key_file(name).display().to_string()
}

type Ended = (Option<i32>, String, String);

#[test]
fn client_sends_and_receives_over_tls() {
    let server = secured();
    let url = server.url("wss", "/echo");
    let ca = path("ca.pem");
    let sent = run(
        &["client", &url, "--ca", &ca, "--count", "2", "--send", "-"],
        "a\nb\n",
    );
    assert_eq!((sent.0, &*sent.1), (Some(0), "a\nb\n"), "{}", sent.2);
    // By the variable, and by the authorities of the system.
    for name in ["STANDPIPE_CA", "SSL_CERT_FILE"] {
        let mut client = command(&["client", &url, "--count", "1", "--send", "-"]);
        let client = client
            .env_remove("STANDPIPE_CA")
            .env(name, &ca)
            .spawn()
            .expect("the program starts");
        let (code, out, err) = end(feed(client, b"c\n"));
        assert_eq!((code, &*out), (Some(0), "c\n"), "{name}: {err}");
    }
}

#[test]
fn certificate_that_is_not_trusted_ends_a_command_before_its_token() {
    let server = secured();
    let elsewhere = Secured::start("127.0.0.2:0", tls_config());
    let token = File::new("tls-token", "secret\n");
    let (ca, other) = (path("ca.pem"), path("other_ca.pem"));
    let url = server.url("wss", "/echo");
    let https = server.url("https", "");
    let wrong = format!("wss://{}/echo", elsewhere.address());
    let check = |(code, out, err): Ended, reason: &str| {
        assert_eq!((code, &*out), (Some(1), ""), "{err}");
        assert!(err.contains(reason), "{err}");
    };
    let unknown = "no authority that is trusted here has signed it (--ca FILE names";
    let with_token = ["client", &url, "--ca", &other, "--token-file", token.path()];
    check(run(&with_token, ""), unknown);
    let published = [
        "pub",
        "a",
        "b",
        "--url",
        &https,
        "--ca",
        &other,
        "--key-file",
        token.path(),
    ];
    check(run(&published, ""), unknown);
    let top = ["top", &https, "--ca", &other, "--key-file", token.path()];
    check(run(&top, ""), unknown);
    check(run(&["bench", &url, "--ca", &other], ""), unknown);
    check(
        run(&["client", &wrong, "--ca", &ca], ""),
        "it is for other names (the host of the URL must be one of them)",
    );
    assert_eq!((server.requests(), elsewhere.requests()), (0, 0));
}

#[test]
fn system_without_authorities_and_unusable_files_are_reported() {
    let server = secured();
    let url = server.url("wss", "/echo");
    let mut client = command(&["client", &url]);
    let client = client.env_remove("STANDPIPE_CA");
    let client = client.env("SSL_CERT_FILE", "/dev/null");
    let (code, _, err) = end(client.spawn().expect("the program starts"));
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.starts_with("the system has no trusted certificates") && err.contains("--ca FILE"),
        "{err}"
    );
    for (file, reason) in [
        ("/nonexistent.pem", "cannot read /nonexistent.pem: "),
        (&*path("server.key"), "has no certificate in the PEM format"),
    ] {
        let (code, _, err) = run(&["client", &url, "--ca", file], "");
        assert!(code == Some(1) && err.contains(reason), "{file}: {err}");
    }
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = File::new("tls-encrypted", encrypted);
    let (ca, cert) = (path("ca.pem"), path("client.pem"));
    for (private, reason) in [
        (encrypted.path(), "is encrypted; `openssl pkey -in"),
        (&*ca, "has no private key in the PEM format"),
        (
            &*path("other_client.key"),
            "the key does not belong to the certificate",
        ),
    ] {
        let identity = ["--client-cert", &*cert, "--client-key", private];
        let flags = [&["client", &url, "--ca", &ca][..], &identity].concat();
        let (code, _, err) = run(&flags, "");
        assert!(code == Some(1) && err.contains(reason), "{private}: {err}");
    }
}

/// The certificate that one `openssl req -x509` makes is that of an authority.
#[test]
fn certificate_of_an_authority_is_explained() {
    let tls = TlsConfig::from_pem_files(path("ca.pem"), path("ca.key")).expect("the test's files");
    let server = Secured::start("127.0.0.1:0", tls);
    let url = server.url("wss", "/echo");
    let (code, _, err) = run(&["client", &url, "--ca", &path("ca.pem")], "");
    assert!(
        code == Some(1) && err.contains("it is the certificate of an authority (CA:TRUE)"),
        "{err}"
    );
}

#[test]
fn insecure_accepts_any_certificate_with_a_warning() {
    let server = Secured::start("127.0.0.2:0", tls_config());
    let url = format!("wss://{}/echo", server.address());
    let flags = [
        "client",
        &url,
        "--insecure",
        "--clients",
        "3",
        "--count",
        "1",
    ];
    let messages = File::new("tls-insecure", "x\n");
    let flags = [&flags[..], &["--send", messages.path()]].concat();
    let (code, out, err) = run(&flags, "");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.matches("x\n").count(), 3, "{out}");
    assert_eq!(err.matches("warning: --insecure: ").count(), 1, "{err}");
    // A plain connection has no certificate.
    let plain = TestServer::plain(Config::default(), echo);
    let url = format!("ws://{}/", plain.addr());
    let (_, _, err) = run(&["client", &url, "--insecure"], "");
    assert!(!err.contains("warning"), "{err}");
}

#[test]
fn server_that_requires_a_certificate_gets_one() {
    let tls = tls_config_with_client_ca("ca.pem");
    let server = Secured::start("127.0.0.1:0", tls);
    let url = server.url("wss", "/echo");
    let (ca, cert, private) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let plain = ["client", &url, "--ca", &ca, "--count", "1", "--send", "-"];
    let with = [
        &plain[..],
        &["--client-cert", &cert, "--client-key", &private],
    ]
    .concat();
    let (code, out, err) = run(&with, "hello\n");
    assert_eq!((code, &*out), (Some(0), "hello\n"), "{err}");
    let (code, _, err) = run(&plain, "hello\n");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("--client-cert"), "{err}");
    let (other, other_key) = (path("other_client.pem"), path("other_client.key"));
    let foreign = ["--client-cert", &other, "--client-key", &other_key];
    let (code, _, err) = run(&[&plain[..], &foreign].concat(), "hello\n");
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("it does not accept the certificate of --client-cert"),
        "{err}"
    );
    let half = [&plain[..], &["--client-cert", &cert]].concat();
    let (code, _, err) = run(&half, "");
    assert!(code == Some(2) && err.contains("--client-key"), "{err}");
}

/// Both directions are full at the same time. A client that reads only when it does not write would end this by a
/// timeout.
#[test]
fn both_directions_are_full_at_once() {
    let server = secured();
    let url = server.url("wss", "/echo");
    let lines: Vec<String> = (0..40)
        .map(|n| format!("{n}:") + &"x".repeat(1 << 20))
        .collect();
    let text = lines.join("\n") + "\n";
    let file = File::new("tls-both", &text);
    let ca = path("ca.pem");
    let flags = [
        "client",
        &url,
        "--ca",
        &ca,
        "--send",
        file.path(),
        "--count",
        "40",
    ];
    let (code, out, err) = run(&flags, "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out == text, "{} of {} bytes", out.len(), text.len());
}

#[test]
fn publishes_share_a_connection_over_tls() {
    let server = secured();
    let https = server.url("https", "");
    let ca = path("ca.pem");
    let (code, out, err) = run(&["pub", "a", "--url", &https, "--ca", &ca], "one\nthree\n");
    assert_eq!(
        (code, &*out),
        (Some(0), "{\"bytes\":3}\n{\"bytes\":5}\n"),
        "{err}"
    );
    let publishers = server.hub.publishers.lock().expect("no panic");
    assert_eq!(publishers.len(), 1, "{publishers:?}");
}

type PeerStream = StreamOwned<ServerConnection, TcpStream>;

/// A server with TLS that the test plays itself.
struct Peer {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Peer {
    fn new() -> Peer {
        Peer {
            listener: TcpListener::bind("127.0.0.1:0").expect("a free port"),
            config: Arc::new(played_server()),
        }
    }

    /// Starts `pub` without a message.
    fn publish(&self) -> Child {
        let address = self.listener.local_addr().expect("an address");
        let url = format!("https://{address}");
        let child = command(&["pub", "a", "--url", &url, "--ca", &path("ca.pem")]).spawn();
        child.expect("the program starts")
    }

    fn accept(&self) -> PeerStream {
        let listener = self.listener.try_clone().expect("a descriptor");
        let accepted = within(20, "a connection", move || listener.accept());
        let (socket, _) = accepted.expect("a connection");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        // Otherwise a record may wait in the kernel until the command has acknowledged the one before.
        socket.set_nodelay(true).expect("an option of TCP");
        let session = ServerConnection::new(Arc::clone(&self.config)).expect("a session");
        StreamOwned::new(session, socket)
    }
}

/// Reads a request whose body is one byte, and answers it.
fn answer(stream: &mut PeerStream, response: &str) {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a request");
        request.push(byte[0]);
    }
    stream.read_exact(&mut byte).expect("a body");
    stream
        .write_all(response.as_bytes())
        .expect("the command reads");
    stream.flush().expect("the command reads");
}

const PUBLISHED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";

/// Without a length, the end of the stream is the end of the response. Somebody on the way could cut it off.
#[test]
fn response_that_is_cut_off_is_no_response() {
    let peer = Peer::new();
    let child = feed(peer.publish(), b"1\n");
    let mut stream = peer.accept();
    answer(&mut stream, "HTTP/1.1 202 Accepted\r\n\r\n{");
    stream.sock.shutdown(Shutdown::Write).expect("connected");
    let (code, out, err) = end(child);
    assert_eq!((code, &*out), (Some(1), ""), "{err}");
    assert!(err.contains("may be published or not"), "{err}");
    assert!(err.contains("in the middle"), "{err}");
    // With the announcement, it is whole.
    let child = feed(peer.publish(), b"1\n");
    let mut stream = peer.accept();
    answer(&mut stream, "HTTP/1.1 202 Accepted\r\n\r\n{}");
    stream.conn.send_close_notify();
    stream.flush().expect("the command reads");
    let (code, out, err) = end(child);
    assert_eq!((code, &*out), (Some(0), "{}\n"), "{err}");
}

/// Starts `pub` with one line, whose answer has arrived.
fn published_once(peer: &Peer) -> (Child, PeerStream) {
    let mut child = peer.publish();
    let input = child.stdin.as_mut().expect("a pipe");
    input.write_all(b"1\n").expect("the command reads");
    let mut stream = peer.accept();
    answer(&mut stream, PUBLISHED);
    let mut printed = [0; 3];
    let output = child.stdout.as_mut().expect("a pipe");
    output.read_exact(&mut printed).expect("an answer");
    assert_eq!(&printed, b"{}\n");
    (child, stream)
}

#[test]
fn kept_connection_with_news_of_its_session_is_used() {
    let peer = Peer::new();
    let (child, mut stream) = published_once(&peer);
    stream.conn.refresh_traffic_keys().expect("TLS 1.3");
    stream.flush().expect("room");
    let child = feed(child, b"2\n");
    answer(&mut stream, PUBLISHED);
    let (code, out, err) = end(child);
    assert_eq!((code, &*out), (Some(0), "{}\n"), "{err}");
}

#[test]
fn kept_connection_that_the_server_ends_is_not_used() {
    let peer = Peer::new();
    let (child, mut stream) = published_once(&peer);
    stream.conn.send_close_notify();
    stream.flush().expect("room");
    let child = feed(child, b"2\n");
    let mut second = peer.accept();
    answer(&mut second, PUBLISHED);
    let (code, out, err) = end(child);
    assert_eq!((code, &*out), (Some(0), "{}\n"), "{err}");
    // The command has told this connection that it will not be used again.
    assert_eq!(stream.read(&mut [0; 1]).expect("a close_notify"), 0);
}

#[test]
fn wrong_scheme_is_explained() {
    let server = secured();
    let http = server.url("http", "");
    let (code, out, err) = run(&["pub", "a", "--url", &http], "one\ntwo\n");
    assert_eq!((code, &*out), (Some(1), ""), "{err}");
    assert!(
        err.contains("speaks HTTPS") && err.contains("line 1"),
        "{err}"
    );
    assert!(!err.contains("line 2"), "{err}");
    let (_, _, err) = run(&["top", &http], "");
    assert!(err.contains("This port speaks HTTPS"), "{err}");
    let (_, _, err) = run(&["client", &server.url("ws", "/echo")], "");
    assert!(err.contains("Use https:// or wss://"), "{err}");
    // The commands expect TLS, and the server has none.
    let plain = TestServer::plain(Config::default(), echo);
    let ca = path("ca.pem");
    let url = format!("wss://{}/", plain.addr());
    let (code, _, err) = run(&["client", &url, "--ca", &ca], "");
    assert_eq!(code, Some(1));
    assert!(err.contains("does not speak TLS here; use ws://"), "{err}");
}

#[test]
fn benchmark_runs_over_tls() {
    let server = secured();
    let ca = path("ca.pem");
    let url = server.url("wss", "/echo");
    let flags = [
        "bench", &url, "--ca", &ca, "--time", "300ms", "--window", "8", "--size", "10KiB",
    ];
    let (code, out, err) = run(&flags, "");
    assert_eq!((code, &*err), (Some(0), ""), "{out}");
    assert!(out.contains("messages received"), "{out}");
}

/// The binary with TLS, whose key is in a directory of its own. It is killed when this is dropped.
struct HubProcess {
    child: Child,
    home: PathBuf,
    url: String,
}

impl HubProcess {
    fn start() -> HubProcess {
        let home = std::env::temp_dir().join(format!("standpipe-home-{}", std::process::id()));
        std::fs::create_dir_all(&home).expect("a directory");
        let (certificate, private) = (path("server.pem"), path("server.key"));
        let flags = [
            "--listen",
            "127.0.0.1:0",
            "--tls-cert",
            &certificate,
            "--tls-key",
            &private,
        ];
        let mut command = command(&flags);
        let child = command.env("HOME", &home).stderr(Stdio::null()).spawn();
        let mut hub = HubProcess {
            child: child.expect("the program starts"),
            home,
            url: String::new(),
        };
        let printed = hub.child.stdout.take().expect("a pipe");
        hub.url = within(20, "the hub to print where it listens", || {
            let mut lines = BufReader::new(printed).lines().map_while(Result::ok);
            let first = lines.next().expect("a first line");
            // The key has been stored when this line is printed.
            lines.find(|line| line.starts_with("publish: "));
            first
        });
        let url = hub.url.strip_prefix("standpipe listening on ");
        hub.url = url.expect("where it listens").to_owned();
        hub
    }

    /// Runs a command with the home directory of the hub.
    fn run(&self, arguments: &[&str]) -> Ended {
        let ca = path("ca.pem");
        let arguments = [arguments, &["--ca", &ca]].concat();
        let child = command(&arguments).env("HOME", &self.home).spawn();
        end(feed(child.expect("the program starts"), b""))
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

#[test]
fn key_of_a_server_on_this_machine_is_found_for_https() {
    let hub = HubProcess::start();
    assert!(hub.url.starts_with("https://127.0.0.1:"), "{}", hub.url);
    let (code, out, err) = hub.run(&["pub", "a", "hello", "--url", &hub.url]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\"receivers\":0"), "{out}");
    let (code, out, err) = hub.run(&["top", &hub.url, "--once"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("standpipe: "), "{out}");
    // Another home has no key.
    let ca = path("ca.pem");
    let (code, _, err) = run(&["pub", "a", "b", "--url", &hub.url, "--ca", &ca], "");
    assert!(code == Some(1) && err.contains("401"), "{err}");
}

#[test]
fn commands_reach_a_unix_socket() {
    let directory = std::env::temp_dir().join(format!("standpipe-unix-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let socket = directory.join("hub.sock");
    let listen = format!("unix:{}", socket.display());
    let keys = File::new("unix-key", "a-long-enough-key-of-the-test\n");
    let binary = Binary::start(&["--listen", &listen, "--publish-key-file", keys.path()]);
    let url = format!("{listen}:/echo");
    let (code, out, err) = run(&["client", &url, "--count", "1", "--send", "-"], "x\n");
    assert_eq!((code, &*out), (Some(0), "x\n"), "{err}");
    let publish = [
        "pub",
        "a",
        "hello",
        "--url",
        &listen,
        "--key-file",
        keys.path(),
    ];
    let (code, out, err) = run(&publish, "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\"receivers\":0"), "{out}");
    let top = ["top", &listen, "--once", "--key-file", keys.path()];
    let (code, out, err) = run(&top, "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("standpipe: "), "{out}");
    let (code, _, err) = run(&["bench", &url, "--time", "100ms"], "");
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = run(&["client", "unix:/nonexistent.sock"], "");
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with("cannot connect to unix:/nonexistent.sock: "),
        "{err}"
    );
    drop(binary);
    let _ = std::fs::remove_dir_all(&directory);
}

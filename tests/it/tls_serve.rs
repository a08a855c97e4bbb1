//! The binary with TLS: its listeners and what it prints, its flags, the reload of its files, and its counts.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::unbounded;
use standpipe::rustls::client::Resumption;
use standpipe::rustls::crypto::ring;
use standpipe::rustls::pki_types::{CertificateDer, ServerName};
use standpipe::rustls::version::{TLS12, TLS13};
use standpipe::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use standpipe::tungstenite::{self, Message, WebSocket};

use crate::support::tls_peer::{certificates, tls_client_with};
use crate::support::{Answer, DEADLINE, command_with_signals, until};

mod counts;
mod flags;
mod listeners;
mod reload;

/// Returns the path of a file of `tests/keys/tls`.
fn key(name: &str) -> String {
    format!("{}/tests/keys/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A directory for the files of one server. It is removed when this is dropped.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Files {
        let name = format!("standpipe-tls-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory in the temporary directory");
        Files(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Copies a file of `tests/keys/tls`.
    fn copy(&self, from: &str, to: &str) {
        fs::copy(key(from), self.path(to)).expect("a copy of a test key");
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The flags of a server with the certificate of the tests.
fn tls_flags() -> Vec<String> {
    let (certificate, private) = (key("server.pem"), key("server.key"));
    ["--tls-cert", &certificate, "--tls-key", &private]
        .map(str::to_owned)
        .to_vec()
}

/// Returns the command `standpipe` with an empty environment.
fn standpipe(flags: &[&str]) -> Command {
    let mut command = command_with_signals(env!("CARGO_BIN_EXE_standpipe"));
    command.args(flags).env_clear().stdin(Stdio::null());
    command
}

/// A running server, with TLS on a free port. It is killed when this is dropped.
struct Hub {
    child: Child,
    address: SocketAddr,
    announced: Vec<String>,
    log: Arc<Mutex<Vec<u8>>>,
}

impl Hub {
    #[track_caller]
    fn start(flags: &[&str]) -> Hub {
        let tls = tls_flags();
        let mut all: Vec<&str> = tls.iter().map(String::as_str).collect();
        all.extend(["--listen", "127.0.0.1:0", "--admin-open"]);
        all.extend(flags);
        Hub::of(standpipe(&all))
    }

    #[track_caller]
    fn of(command: Command) -> Hub {
        Hub::announced_as(command, "/")
    }

    /// As [`of`](Self::of), for a server whose clients come through a proxy.
    #[track_caller]
    fn with_proxy_header(command: Command) -> Hub {
        Hub::announced_as(command, "/ (PROXY protocol)")
    }

    /// Starts the server, and takes its address from the line that ends with `end`.
    #[track_caller]
    fn announced_as(mut command: Command, end: &str) -> Hub {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (print, printed) = unbounded();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = print.send(line);
            }
        });
        let mut stderr = child.stderr.take().expect("a pipe");
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut chunk) {
                kept.lock()
                    .expect("no thread panics with the lock")
                    .extend_from_slice(&chunk[..read]);
            }
        });
        // Made before the first wait, because its end kills the process.
        let mut hub = Hub {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            announced: Vec::new(),
            log,
        };
        while !(hub.announced.iter()).any(|line| line.starts_with("publish: ")) {
            let line = printed.recv_timeout(DEADLINE);
            hub.announced.push(line.unwrap_or_else(|_| {
                panic!("the server did not print where it listens: {}", hub.log())
            }));
        }
        hub.address = hub.announced_address("standpipe listening on https://", end);
        hub
    }

    /// Returns the address between `before` and `after` in the first line that has both.
    #[track_caller]
    fn announced_address(&self, before: &str, after: &str) -> SocketAddr {
        let of = |line: &String| line.strip_prefix(before)?.strip_suffix(after)?.parse().ok();
        let found = self.announced.iter().find_map(of);
        found.unwrap_or_else(|| panic!("no {before}…{after}: {:?}", self.announced))
    }

    fn log(&self) -> String {
        let log = self.log.lock().expect("no thread panics with the lock");
        String::from_utf8_lossy(&log).into_owned()
    }

    #[track_caller]
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill runs").success(), "{name}");
    }

    /// Sends SIGHUP, and waits until the log says what became of it. Returns the lines since then.
    #[track_caller]
    fn reload(&self) -> String {
        let before = self.log().len();
        self.signal("HUP");
        until("the reload is logged", || {
            self.log()[before..].contains("SIGHUP: ")
        });
        self.log()[before..].to_owned()
    }

    /// Connects to a path of the server, as a client that trusts the authority of the tests.
    #[track_caller]
    fn connect(&self, path: &str) -> Client {
        Client::connect(self.address, path, &trusting())
    }

    #[track_caller]
    fn get(&self, path: &str) -> Answer {
        get(self.address, path, "")
    }

    /// Returns the value of a metric with these labels.
    #[track_caller]
    fn metric(&self, name: &str) -> f64 {
        let body = self.get("/metrics").body;
        let line = body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("{name} in {body}"))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log:\n{}", self.log());
        }
        // An error means that the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the configuration of a client that trusts the authority of the tests.
fn trusting() -> Arc<ClientConfig> {
    client_config(&[&TLS13, &TLS12], None)
}

/// As [`trusting`], with these versions and the certificate of this name.
fn client_config(
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<&str>,
) -> Arc<ClientConfig> {
    let mut config = tls_client_with(versions, certificate);
    // As most clients: no protocol is named, and sessions are resumed.
    config.alpn_protocols = Vec::new();
    config.resumption = Resumption::default();
    Arc::new(config)
}

/// A TLS connection.
type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Connects without sending anything.
#[track_caller]
fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).expect("the server listens");
    tcp.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    tcp.set_write_timeout(Some(DEADLINE)).expect("a time limit");
    tcp
}

/// Connects, and completes the TLS handshake.
fn handshake(tcp: TcpStream, config: &Arc<ClientConfig>) -> Result<Tls, std::io::Error> {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::clone(config), name).expect("a session");
    let mut tls = StreamOwned::new(session, tcp);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    Ok(tls)
}

/// Sends `request` over TLS and reads the answer to the end of the stream.
fn exchange(mut tls: Tls, request: &str) -> Result<Answer, std::io::Error> {
    tls.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match tls.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            // The server may end the connection while it has not read everything.
            Err(error)
                if !bytes.is_empty() && error.kind() == std::io::ErrorKind::UnexpectedEof =>
            {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Answer::parse(&bytes))
}

/// Sends `GET path` over TLS with the lines in `headers`, each of which ends with CRLF.
#[track_caller]
fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let tls = handshake(tcp(address), &trusting()).expect("a TLS handshake");
    let host = match headers.contains("Host: ") {
        true => String::new(),
        false => format!("Host: {address}\r\n"),
    };
    let request = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n");
    exchange(tls, &request).expect("an answer")
}

/// A WebSocket over TLS.
struct Client(WebSocket<Tls>);

impl Client {
    #[track_caller]
    fn connect(address: SocketAddr, path: &str, config: &Arc<ClientConfig>) -> Client {
        let tls = handshake(tcp(address), config).expect("a TLS handshake");
        Client::upgrade(tls, &format!("wss://localhost:{}{path}", address.port()))
    }

    #[track_caller]
    fn upgrade(tls: Tls, url: &str) -> Client {
        let connected = tungstenite::client(url, tls);
        Client(connected.expect("an upgrade").0)
    }

    #[track_caller]
    fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).expect("a message is sent");
    }

    /// Returns the next message with data.
    #[track_caller]
    fn read(&mut self) -> String {
        loop {
            match self.0.read().expect("a message before the deadline") {
                Message::Text(text) => return text.as_str().to_owned(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, text: &str) {
        assert_eq!(self.read(), text);
    }

    /// Closes the connection, and waits for its end.
    fn leave(mut self) {
        let _ = self.0.close(None);
        while self.0.read().is_ok() {}
    }

    fn session(&self) -> &ClientConnection {
        &self.0.get_ref().conn
    }

    fn kind(&self) -> Option<HandshakeKind> {
        self.session().handshake_kind()
    }

    /// Returns the certificate of the server.
    fn certificate(&self) -> CertificateDer<'static> {
        let chain = self.session().peer_certificates();
        chain.expect("the server has a certificate")[0].clone()
    }
}
